//! How exchanges end.

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The upstream's answer is whole.
    Answered { status: u16 },
    /// The client went away, and the upstream's answer was read to its end without them.
    ReadOn { status: u16 },
    /// The upstream's answer stopped before its end.
    Cut { status: u16 },
    /// The gateway ended the answer, because a limit was reached.
    Limited { status: u16 },
    /// The gateway ended the answer, because it cannot be told whether a limit is reached.
    Untold { status: u16 },
    /// The client went away, before or after the answer's head.
    ClientGone { status: Option<u16> },
    /// There is no upstream's answer; the client is told `status` by the gateway.
    NoAnswer { status: u16 },
}

impl End {
    /// As in the ledger; 499 is what nginx calls a client that went away before the answer.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Answered { status }
            | Self::ReadOn { status }
            | Self::Cut { status }
            | Self::Limited { status }
            | Self::Untold { status }
            | Self::NoAnswer { status } => status,
            Self::ClientGone { status } => status.unwrap_or(499),
        }
    }

    /// The upstream's status, 0 if there was none.
    pub(crate) fn answered_with(self) -> u16 {
        match self {
            Self::Answered { status }
            | Self::ReadOn { status }
            | Self::Cut { status }
            | Self::Limited { status }
            | Self::Untold { status } => status,
            Self::ClientGone { status } => status.unwrap_or(0),
            Self::NoAnswer { .. } => 0,
        }
    }

    /// As in an event's metadata, unless it is the usual one.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Answered { .. } => None,
            Self::ReadOn { .. } => Some("client_gone_read_on"),
            Self::Cut { .. } => Some("upstream_cut"),
            Self::Limited { .. } => Some("limit"),
            Self::Untold { .. } => Some("store_unavailable"),
            Self::ClientGone { .. } => Some("client_gone"),
            Self::NoAnswer { .. } => Some("no_answer"),
        }
    }

    pub(crate) fn metadata(self) -> Option<&'static str> {
        match self {
            Self::Answered { .. } => None,
            Self::ReadOn { .. } => Some(r#"{"end":"client_gone_read_on"}"#),
            Self::Cut { .. } => Some(r#"{"end":"upstream_cut"}"#),
            Self::Limited { .. } => Some(r#"{"end":"limit"}"#),
            Self::Untold { .. } => Some(r#"{"end":"store_unavailable"}"#),
            Self::ClientGone { .. } => Some(r#"{"end":"client_gone"}"#),
            Self::NoAnswer { .. } => Some(r#"{"end":"no_answer"}"#),
        }
    }
}
