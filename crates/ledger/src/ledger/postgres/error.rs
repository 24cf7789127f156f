//! Why Postgres did not do what it was asked.

use std::{error::Error as _, io, path::PathBuf, time::Duration};

use tokio_postgres::error::SqlState;

/// Why Postgres did not do what it was asked. No message shows a password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The server refused, or the connection broke.
    #[error("{}", told(.0))]
    Refused(#[from] tokio_postgres::Error),
    /// The server did not answer in time.
    #[error("no answer within {0:?}")]
    Slow(Duration),
    /// The file of certificate authorities cannot be used.
    #[error("{}: {source}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are no certificate authorities to verify the server with.
    #[error("the system has no certificate authorities (install ca-certificates, or name a file with `ca`)")]
    NoAuthorities,
    /// The encryption cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl PostgresError {
    /// Whether it stays so until somebody changes something: then there is no use in trying again.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Slow(_) => false,
            Self::Authorities { .. } | Self::NoAuthorities | Self::Tls(_) => true,
            Self::Refused(error) => match error.code() {
                Some(code) => is_lasting(code),
                // No certificate that is trusted, no encryption, no password given, none that is right.
                None => ["error performing TLS", "invalid config", "authentication error"]
                    .iter()
                    .any(|kind| error.to_string().starts_with(kind)),
            },
        }
    }
}

/// Wrong login, no such database, no right, wrong tables.
fn is_lasting(code: &SqlState) -> bool {
    ["28", "3D", "3F", "42", "0A"].iter().any(|class| code.code().starts_with(class))
}

/// What the server says, or all causes in a row.
fn told(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code());
    }
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
