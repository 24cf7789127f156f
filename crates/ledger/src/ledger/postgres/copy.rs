//! Lines as binary COPY wants them.

use tollgate_core::{Charge, Event, Settlement, UnixMillis};

use super::types::{At, stored, stored_json};
use crate::LedgerEvent;

/// The columns, in the order of [`Lines::push`].
macro_rules! columns {
    () => {
        "id, at, user_id, org_id, tier, meter, amount, estimated, route, method, status, duration_ms, \
         request_id, resource, metadata"
    };
}
pub(super) use columns;
const COLUMN_COUNT: i16 = 15;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Of jsonb's binary form.
const JSONB_VERSION: u8 = 1;

/// Rows, encoded.
#[derive(Debug)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    pub(super) fn new() -> Self {
        let mut bytes = SIGNATURE.to_vec();
        // No flags, no extension.
        bytes.extend([0; 8]);
        Self(bytes)
    }

    /// Appends the event's row.
    pub(super) fn push(&mut self, event: &Event<'_>) {
        let Event { id, charge: Charge { meter, amount, estimated }, settlement } = event;
        let Settlement {
            key: _,
            at,
            user_id,
            org_id,
            tier,
            route,
            method,
            status,
            duration_ms,
            request_id,
            resource,
            metadata,
            settled_by: _,
            charges: _,
        } = settlement;
        self.0.extend(COLUMN_COUNT.to_be_bytes());
        self.value(&id.to_bits().to_be_bytes());
        self.value(&At::from(*at).micros().to_be_bytes());
        self.text(Some(user_id));
        self.text(*org_id);
        self.text(Some(tier));
        self.text(Some(meter));
        self.value(&amount.to_be_bytes());
        self.value(&[u8::from(*estimated)]);
        self.text(Some(route));
        self.text(Some(method));
        self.value(&i32::from(*status).to_be_bytes());
        self.value(&i64::try_from(*duration_ms).unwrap_or(i64::MAX).to_be_bytes());
        self.text(Some(request_id));
        self.text(*resource);
        match metadata {
            Some(metadata) => {
                let json = stored_json(metadata);
                self.length(json.len() + 1);
                self.0.push(JSONB_VERSION);
                self.0.extend(json.as_bytes());
            }
            None => self.text(None),
        }
    }

    /// All of it, with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend((-1i16).to_be_bytes());
        self.0
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.value(stored(text).as_bytes()),
            None => self.0.extend((-1i32).to_be_bytes()),
        }
    }

    fn value(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend(bytes);
    }

    fn length(&mut self, bytes: usize) {
        // A record has some KiB at most.
        self.0.extend(i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes());
    }
}

/// The event as it is read back after [`Lines::push`].
pub(crate) fn as_kept(event: LedgerEvent) -> LedgerEvent {
    let text = |text: String| stored(&text).into_owned();
    let At(at) = At::from(event.at).kept();
    LedgerEvent {
        id: event.id,
        at: UnixMillis(at),
        user_id: text(event.user_id),
        org_id: event.org_id.map(text),
        tier: text(event.tier),
        meter: text(event.meter),
        amount: event.amount,
        estimated: event.estimated,
        route: text(event.route),
        method: text(event.method),
        status: event.status,
        duration_ms: event.duration_ms.min(i64::MAX.unsigned_abs()),
        request_id: text(event.request_id),
        resource: event.resource.map(text),
        metadata: event.metadata.map(|metadata| stored_json(&metadata)),
    }
}
