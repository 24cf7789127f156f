//! The `Date` of answers (RFC 9110, section 6.6.1).

use std::cell::{Cell, RefCell};

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use tollgate_core::UnixMillis;

/// Before any tick.
const NEVER: u64 = u64::MAX;

/// The text of the time, written once a tick: a clock and a calendar for each answer would cost more than
/// the rest of its head.
pub(crate) struct Date {
    tick: Cell<u64>,
    text: RefCell<String>,
}

impl Default for Date {
    fn default() -> Self {
        Self { tick: Cell::new(NEVER), text: RefCell::default() }
    }
}

impl Date {
    /// Appends the time, which was `now` at some time during `tick`; nothing, if no calendar has it.
    pub(crate) fn put(&self, buffer: &mut Vec<u8>, tick: u64, now: impl FnOnce() -> UnixMillis) {
        if self.tick.replace(tick) != tick {
            let text = Timestamp::from_millisecond(now().0)
                .and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time));
            *self.text.borrow_mut() = text.map(|text| format!("date: {text}\r\n")).unwrap_or_default();
        }
        buffer.extend_from_slice(self.text.borrow().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_once_a_tick() {
        let (date, mut buffer) = (Date::default(), Vec::new());
        date.put(&mut buffer, 7, || UnixMillis(784_111_777_999));
        date.put(&mut buffer, 7, || unreachable!("it is known"));
        date.put(&mut buffer, 8, || UnixMillis(784_111_778_000));
        let lines =
            "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".repeat(2) + "date: Sun, 06 Nov 1994 08:49:38 GMT\r\n";
        assert_eq!(String::from_utf8(buffer).unwrap(), lines);
    }
}
