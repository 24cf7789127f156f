//! Where the database is and how to reach it.

use std::{fmt, path::PathBuf};

/// A Postgres database. `Debug` does not show the password, and no error has it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The server.
    pub host: PostgresHost,
    /// Its port; part of the name of a socket, too.
    pub port: u16,
    /// The role; it must own the tables.
    pub user: String,
    /// Its password, if the server asks for one.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// How the connection is encrypted; a socket is not.
    pub tls: PostgresTls,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresHost {
    /// A name or an address.
    Tcp(String),
    /// The directory of its socket.
    Unix(PathBuf),
}

/// How a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// Not at all.
    Disable,
    /// If the server can.
    Prefer,
    /// Always, with whatever certificate.
    Require,
    /// Always, with a certificate for the host.
    Verify {
        /// Authorities in PEM; the system's when none.
        ca: Option<PathBuf>,
    },
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, user, password, database, tls } = self;
        f.debug_struct("PostgresOptions")
            .field("host", host)
            .field("port", port)
            .field("user", user)
            .field("password", &password.as_ref().map(|_| "***"))
            .field("database", database)
            .field("tls", tls)
            .finish()
    }
}

impl fmt::Display for PostgresOptions {
    /// The place, without who asks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, database, .. } = self;
        match host {
            PostgresHost::Tcp(host) => write!(f, "{host}:{port}/{database}"),
            PostgresHost::Unix(dir) => write!(f, "{}:{port}/{database}", dir.display()),
        }
    }
}
