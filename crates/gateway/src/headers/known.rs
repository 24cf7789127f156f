//! Names of fields that the gateway itself looks at.

use crate::names::USAGE_PREFIX;

/// A field's name, as far as it matters to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Known {
    Other,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Host,
    KeepAlive,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    Traceparent,
    Trailer,
    TransferEncoding,
    Upgrade,
    /// Any that says what an upstream used of a meter.
    Usage,
}

impl Known {
    /// Of a name in lower case.
    pub(crate) fn of(name: &[u8]) -> Self {
        // By length first: it rules out most.
        match name.len() {
            2 if name == b"te" => Self::Te,
            4 if name == b"host" => Self::Host,
            4 if name == b"date" => Self::Date,
            6 if name == b"expect" => Self::Expect,
            6 if name == b"cookie" => Self::Cookie,
            7 if name == b"upgrade" => Self::Upgrade,
            7 if name == b"trailer" => Self::Trailer,
            10 if name == b"connection" => Self::Connection,
            10 if name == b"keep-alive" => Self::KeepAlive,
            11 if name == b"traceparent" => Self::Traceparent,
            14 if name == b"content-length" => Self::ContentLength,
            16 if name == b"proxy-connection" => Self::ProxyConnection,
            17 if name == b"transfer-encoding" => Self::TransferEncoding,
            19 if name == b"proxy-authorization" => Self::ProxyAuthorization,
            _ if name.first() == Some(&b'x') && name.starts_with(USAGE_PREFIX.as_bytes()) => Self::Usage,
            _ => Self::Other,
        }
    }

    /// Its bit in a set of names.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}
