//! What was used, as a service reports or asks it.

use serde_json::Value;
use tollgate_core::{Meter, MeterIndex, MeterKind, UnixMillis};
use tollgate_ledger::{METADATA_BYTES_MAX, RESOURCE_BYTES_MAX};

use super::{
    amount,
    input::{Field, Object, Place},
    speaker::Named,
};
use crate::{live::Live, refusal::Refusal, resources::HOLD};

/// Clocks of services may be so far ahead, in milliseconds; what they report counts as of now.
const SKEW_MS_MAX: i64 = 60_000;
/// Longest name of a meter that is looked up, in bytes; none has more.
const METER_BYTES_MAX: usize = 64;

/// One event, checked but for whose it is.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) meter: MeterIndex,
    /// Where it names the meter.
    pub(super) place: Place,
    pub(super) amount: i64,
    pub(super) at: UnixMillis,
    pub(super) resource: Option<String>,
    /// One JSON object.
    pub(super) metadata: Option<String>,
    pub(super) named: Named,
}

/// When events may have been.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) now: UnixMillis,
    pub(super) late_ms_max: i64,
}

impl Event {
    pub(super) fn read(object: &Object<'_>, live: &Live, times: Times) -> Result<Self, Refusal> {
        object.only(&["meter", "amount", "at", "resource", "metadata", "user_id", "org_id", "tier"])?;
        let (index, meter, place) = meter(object, live)?;
        let field = object.need("amount", "how much was used")?;
        let resource = object.get("resource").map(|field| resource(&field)).transpose()?;
        let amount = amount::read(&field, meter)?;
        check_amount(&field, meter, amount, resource.is_some())?;
        let at = object.get("at").map(|field| times.read(&field)).transpose()?;
        Ok(Self {
            meter: index,
            place,
            amount,
            at: at.unwrap_or(times.now),
            resource,
            metadata: object.get("metadata").map(|field| metadata(&field, METADATA_BYTES_MAX)).transpose()?,
            named: Named::read(object)?,
        })
    }
}

/// The meter that `object` names, and where.
pub(super) fn meter<'l>(
    object: &Object<'_>,
    live: &'l Live,
) -> Result<(MeterIndex, &'l Meter, Place), Refusal> {
    let field = object.need("meter", "the name of a meter")?;
    let name = field.text(METER_BYTES_MAX)?;
    let index = live.plans().meter(name).ok_or_else(|| field.wrong("is no meter of this gateway"))?;
    Ok((index, &live.plans().meters[index.0], field.place().clone()))
}

fn check_amount(field: &Field<'_>, meter: &Meter, amount: i64, is_resource: bool) -> Result<(), Refusal> {
    match (meter.kind, is_resource) {
        (MeterKind::Count, true) => {
            Err(field.wrong("is of a resource, which only a meter of kind \"level\" can have"))
        }
        (MeterKind::Concurrent, _) => {
            Err(field.wrong("is of a meter of what runs now, which is not reported: take a hold instead"))
        }
        (_, true) if amount < 0 => Err(field.wrong("is what the resource has now, which is not negative")),
        (_, true) => Ok(()),
        (MeterKind::Count, false) if amount <= 0 => Err(field.wrong("must be positive")),
        (MeterKind::Level, false) if amount == 0 => Err(field.wrong("must not be zero")),
        (MeterKind::Count | MeterKind::Level, false) => Ok(()),
    }
}

fn resource(field: &Field<'_>) -> Result<String, Refusal> {
    let text = field.text(RESOURCE_BYTES_MAX)?;
    if text.chars().any(char::is_control) {
        return Err(field.wrong("has a control character"));
    }
    if text.starts_with(HOLD) {
        return Err(field.wrong("begins as holds do: name it differently"));
    }
    Ok(text.to_owned())
}

/// An object as the ledger keeps it.
pub(super) fn metadata(field: &Field<'_>, bytes_max: usize) -> Result<String, Refusal> {
    field.object()?;
    let text = Value::to_string(field.value());
    if text.len() > bytes_max {
        return Err(field.wrong(&format!("has more than {bytes_max} bytes")));
    }
    // Postgres keeps no such character in JSON.
    if text.contains("\\u0000") {
        return Err(field.wrong("has a character that is not kept: U+0000"));
    }
    Ok(text)
}

impl Times {
    /// The instant that `field` says: not too long ago, and not in the future.
    fn read(self, field: &Field<'_>) -> Result<UnixMillis, Refusal> {
        let has_time = |text: &&str| text.contains(['T', 't', ' ']);
        let at = field.value().as_str().filter(has_time).and_then(UnixMillis::parse);
        let at = at.ok_or_else(|| {
            field.wrong("must be an instant as in RFC 3339, such as \"2026-01-31T12:00:00Z\"")
        })?;
        let age_ms = self.now.since(at);
        if age_ms < -SKEW_MS_MAX {
            return Err(field.wrong("is in the future"));
        }
        if age_ms > self.late_ms_max {
            let hours = self.late_ms_max / 3_600_000;
            return Err(field.wrong(&format!("is too late: events of the last {hours} hours are taken")));
        }
        Ok(at.min(self.now))
    }
}
