//! Amounts as JSON has them: whole numbers, and money as decimal text. Nothing here is a float.

use serde_json::Value;
use tollgate_core::{Meter, Nanos};

use super::input::Field;
use crate::refusal::Refusal;

/// The amount of `meter` that `field` says, of money in billionths.
pub(super) fn read(field: &Field<'_>, meter: &Meter) -> Result<i64, Refusal> {
    let Some(currency) = meter.currency() else {
        return field
            .value()
            .as_i64()
            .ok_or_else(|| field.wrong("must be a whole number that fits into 64 bits"));
    };
    let amount = field.value().as_str().and_then(Nanos::parse);
    amount.map(|Nanos(nanos)| nanos).ok_or_else(|| {
        field
            .wrong(&format!("must be an amount of {currency} as text, such as \"0.05\", of at most 9 places"))
    })
}

/// The amount of `meter` as JSON.
pub(super) fn shown(amount: i64, meter: &Meter) -> Value {
    match meter.currency() {
        Some(_) => Value::String(Nanos(amount).to_string()),
        None => Value::from(amount),
    }
}
