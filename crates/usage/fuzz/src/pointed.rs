//! What a pointer means, by a document that is read as a whole.

use serde_json::Value;
use tollgate_core::Pointer;

/// What `document` says at `pointer`: `Err` when it has a fraction there, else an amount or none.
pub fn amount(document: &Value, pointer: &Pointer) -> Result<Option<i64>, f64> {
    let tokens: Vec<&str> = pointer.tokens().collect();
    let mut sum = None;
    for value in values(document, &tokens).into_iter().filter(|value| !value.is_null()) {
        if value.is_f64() {
            return Err(value.as_f64().unwrap_or_default());
        }
        let amount = value.as_i64().filter(|&amount| amount >= 0);
        let Some(more) = amount.and_then(|amount| sum.unwrap_or(0_i64).checked_add(amount)) else {
            // One that is none spoils the sum.
            return Ok(None);
        };
        sum = Some(more);
    }
    Ok(sum)
}

/// All values at `tokens`.
pub fn values<'a>(value: &'a Value, tokens: &[&str]) -> Vec<&'a Value> {
    let Some((token, rest)) = tokens.split_first() else { return vec![value] };
    let below: Vec<&Value> = match value {
        Value::Array(elements) if *token == Pointer::EACH => elements.iter().collect(),
        Value::Array(elements) => {
            let index = Pointer::index(token).and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| elements.get(index)).into_iter().collect()
        }
        Value::Object(fields) if *token != Pointer::EACH => fields.get(*token).into_iter().collect(),
        _ => Vec::new(),
    };
    below.into_iter().flat_map(|value| values(value, rest)).collect()
}
