//! Bodies: the bytes of both directions, passed on as they come and counted.

mod inbound;
mod request;
mod response;

use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;

pub(crate) use inbound::Inbound;
pub(crate) use request::{BodyEnd, Progress, RequestBody};
pub(crate) use response::{Parts as ProxiedParts, Proxied, ResponseBody};

/// The body of a request that is answered already is read to its end if it is at most so long and comes within so much time;
/// then the connection can carry the next request.
pub(crate) const DRAIN_BYTES_MAX: u64 = 64 * 1024;
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_millis(500);

/// Reads away the body of a request that is refused; whether its connection can be used again.
pub(crate) async fn drain(mut body: Inbound) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if body.size_hint().upper().is_none_or(|bytes| bytes > DRAIN_BYTES_MAX) {
        return false;
    }
    let read = async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(DRAIN_TIME_MAX, read).await.unwrap_or(false)
}

/// What ends a body before its end.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
