//! Lines as binary COPY wants them.

use std::{iter, ops::Range};

use bytes::Bytes;
use tollgate_core::{Charge, Event, RequestKey, Settlement, UnixMillis};

use super::types::{At, stored, stored_json};
use crate::LedgerEvent;

/// The columns, in the order of `Lines::row`.
macro_rules! columns {
    () => {
        "id, at, user_id, org_id, tier, meter, amount, estimated, route, method, status, duration_ms, \
         request_id, resource, metadata"
    };
}
pub(super) use columns;
const COLUMN_COUNT: i16 = 15;

/// Before all rows: the signature, no flags, no extension.
const FRONT: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Behind them.
const END: &[u8] = &[0xff, 0xff];
/// Of jsonb's binary form.
const JSONB_VERSION: u8 = 1;

/// Sent at once: the server works on it while the next one is put together. More than the server takes in
/// during a turn of whoever else is busy on this thread.
const CHUNK_BYTES: usize = 256 * 1024;

/// Rows, encoded.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where in `bytes` the rows of each settlement are.
    settlements: Vec<(RequestKey, Range<usize>)>,
}

impl Lines {
    /// Appends the rows of the settlement's events. No two settlements may have the same key.
    pub(super) fn push(&mut self, settlement: &Settlement<'_>) {
        let start = self.bytes.len();
        for event in settlement.events() {
            self.row(&event);
        }
        if self.bytes.len() > start {
            self.settlements.push((settlement.key, start..self.bytes.len()));
        }
    }

    /// Puts them in the order of their ids.
    pub(super) fn sort(&mut self) {
        self.settlements.sort_unstable_by_key(|(key, _)| *key);
    }

    /// Whose they are, in the order in which they are sent.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = RequestKey> {
        self.settlements.iter().map(|(key, _)| *key)
    }

    /// All rows in their order, with what COPY wants before and behind them.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Bytes> {
        let mut settlements = self.settlements.iter();
        let rows = iter::from_fn(move || {
            // The last settlement that goes in may go beyond.
            let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
            while chunk.len() < CHUNK_BYTES
                && let Some((_, rows)) = settlements.next()
            {
                chunk.extend_from_slice(&self.bytes[rows.clone()]);
            }
            (!chunk.is_empty()).then(|| Bytes::from(chunk))
        });
        iter::once(Bytes::from_static(FRONT)).chain(rows).chain(iter::once(Bytes::from_static(END)))
    }

    fn row(&mut self, event: &Event<'_>) {
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
            metadata: _,
            settled_by: _,
            charges: _,
        } = settlement;
        self.bytes.extend(COLUMN_COUNT.to_be_bytes());
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
        match event.metadata() {
            Some(metadata) => {
                let json = stored_json(&metadata);
                self.length(json.len() + 1);
                self.bytes.push(JSONB_VERSION);
                self.bytes.extend(json.as_bytes());
            }
            None => self.text(None),
        }
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.value(stored(text).as_bytes()),
            None => self.bytes.extend((-1i32).to_be_bytes()),
        }
    }

    fn value(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend(bytes);
    }

    fn length(&mut self, bytes: usize) {
        // A record has some KiB at most.
        self.bytes.extend(i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes());
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
