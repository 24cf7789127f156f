//! Where a Postgres database is: a URL, or the environment variable that holds one.

use std::{fmt, path::PathBuf};

use super::{Reader, environment_name, host};
use crate::{report::Flaw, section::Section};

/// Postgres's own.
const PORT_DEFAULT: u16 = 5432;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A Postgres database and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// The server's address.
    pub host: PostgresHost,
    /// Its port; part of the name of a socket, too.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password, if the server asks for one.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// Whether the connection is encrypted, and to whom.
    pub tls: PostgresTls,
    /// Certificate authorities in PEM, instead of the system's.
    pub ca: Option<PathBuf>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresHost {
    /// A name or an address.
    Tcp(String),
    /// The directory of its socket.
    Unix(PathBuf),
}

/// How a connection is encrypted; named as in `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// Not at all.
    Disable,
    /// If the server can. Whoever is between can prevent it.
    Prefer,
    /// Always; the certificate is not looked at.
    Require,
    /// Always, with a certificate for this host from a known authority: `verify-full`.
    Verify,
}

/// A database as `gateway.toml` names it: some of it may be in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresStore {
    /// Its URL, or where that is.
    pub url: PostgresUrl,
    /// The environment variable with the password, which is not in the URL then.
    pub password_env: Option<Box<str>>,
    /// Certificate authorities in PEM.
    pub ca: Option<PathBuf>,
}

/// A URL, or the environment variable that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresUrl {
    /// In the file.
    Here(Box<Postgres>),
    /// In this variable.
    Env(Box<str>),
}

impl PostgresStore {
    /// Reads the table's keys; `url` is what `store` says of it, if a Postgres store is meant and nothing is
    /// wrong with it.
    pub(super) fn read(
        section: &mut Section<'_>,
        reader: Reader<'_>,
        (is_meant, url): (bool, Option<Url>),
    ) -> Option<Self> {
        let stray = |item: &crate::item::Item<'_>| {
            if !is_meant {
                let message = "this goes with a Postgres store";
                item.wrong_key(Flaw::new(message, "remove it, or write store = \"postgres\""));
            }
        };
        let url_env = section.get("url_env");
        let password_env = section.get("password_env");
        let ca = section.get("ca");
        [&url_env, &password_env, &ca].into_iter().flatten().for_each(stray);
        let url = match (url?, &url_env) {
            (Url::Here(_), Some(item)) => {
                item.wrong_key(Flaw::new("the store is a URL already", "write store = \"postgres\""));
                return None;
            }
            (Url::Here(postgres), None) => PostgresUrl::Here(postgres),
            (Url::Elsewhere, Some(item)) => PostgresUrl::Env(environment_name(item)?),
            (Url::Elsewhere, None) => {
                let example = "add url_env = \"TOLLGATE_LEDGER_URL\", or write the URL as store";
                section.wrong(Flaw::new("the URL of the store is missing", example));
                return None;
            }
        };
        let ca_item = ca;
        let password_env = match password_env {
            Some(item) => Some(environment_name(&item)?),
            None => None,
        };
        let ca = ca_item.as_ref().and_then(|item| reader.file(item));
        let store = Self { url, password_env, ca };
        if let (PostgresUrl::Here(postgres), Some(item)) = (&store.url, &ca_item)
            && let Err(flaw) = check_ca(postgres)
        {
            item.wrong_key(flaw);
        }
        Some(store)
    }

    /// The database, with what `variable` gives for the names of environment variables.
    ///
    /// # Errors
    /// What is wrong or missing in the environment; neither URL nor password is in the message.
    pub fn resolve(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Postgres, String> {
        let get = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("the environment variable {name} is not set"))
        };
        let mut postgres = match &self.url {
            PostgresUrl::Here(postgres) => (**postgres).clone(),
            PostgresUrl::Env(name) => {
                let parsed = Postgres::parse(&get(name)?);
                parsed.map_err(|flaw| format!("the environment variable {name}: {}", flaw.message))?
            }
        };
        if let Some(name) = &self.password_env {
            postgres.password = Some(Secret(get(name)?));
        }
        if let Some(ca) = &self.ca {
            check_ca(&postgres).map_err(|flaw| flaw.message)?;
            postgres.tls = PostgresTls::Verify;
            postgres.ca = Some(ca.clone());
        }
        Ok(postgres)
    }
}

/// What `store` says about the URL.
pub(super) enum Url {
    Here(Box<Postgres>),
    /// It is in the environment.
    Elsewhere,
}

/// Authorities are for verifying with.
fn check_ca(postgres: &Postgres) -> Result<(), Flaw> {
    match postgres.tls {
        PostgresTls::Verify | PostgresTls::Prefer => Ok(()),
        PostgresTls::Disable | PostgresTls::Require => Err(Flaw::new(
            "with this sslmode no certificate is verified, so ca has no use",
            "write sslmode=verify-full",
        )),
    }
}

impl Postgres {
    /// Reads `postgres://user[:password]@host[:port][/database][?sslmode=...]`. No flaw shows any of it: a
    /// password that is not encoded well may seem to be any other part.
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        const EXAMPLE: &str = "write it as in \"postgres://user@host:5432/database\"";
        let flaw = |message: &str| Flaw::new(message, EXAMPLE);
        let scheme =
            ["postgres://", "postgresql://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
        let rest = scheme.ok_or_else(|| flaw("this is not a postgres:// URL"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let Some((login, place)) = authority.rsplit_once('@') else {
            return Err(flaw("the URL names no user"));
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let decoded = |text: &str| decode(text).ok_or_else(|| flaw("the URL is not well encoded"));
        let (user, database) = (decoded(user)?, decoded(database)?);
        if user.is_empty() {
            return Err(flaw("the URL names no user"));
        }
        let (name, port) = host::split_port(place)
            .map_err(|_| Flaw::new("the URL's port is none, or its password is not encoded", EXAMPLE))?;
        let mut postgres = Self {
            host: read_host(&decoded(name)?)?,
            port: port.unwrap_or(PORT_DEFAULT),
            password: password.map(decoded).transpose()?.map(Secret),
            database: if database.is_empty() { user.clone() } else { database },
            user,
            tls: PostgresTls::Prefer,
            ca: None,
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "sslmode" => postgres.tls = read_tls(value)?,
                "host" => postgres.host = read_host(&decoded(value)?)?,
                _ => {
                    let message = "the URL has a parameter that is not known";
                    return Err(Flaw::new(message, "sslmode and host are; is the password encoded?"));
                }
            }
        }
        match &postgres.host {
            PostgresHost::Tcp(name) if name.is_empty() => Err(flaw("the URL names no host")),
            PostgresHost::Tcp(_) | PostgresHost::Unix(_) => Ok(postgres),
        }
    }
}

fn read_host(text: &str) -> Result<PostgresHost, Flaw> {
    if text.starts_with('/') {
        return Ok(PostgresHost::Unix(text.into()));
    }
    if text.is_empty() {
        return Ok(PostgresHost::Tcp(String::new()));
    }
    let host = host::check(text);
    let host = host.map_err(|_| {
        Flaw::new("the URL's host is none, or its password is not encoded", "write @ in a password as %40")
    })?;
    Ok(PostgresHost::Tcp(host.trim_start_matches('[').trim_end_matches(']').to_owned()))
}

fn read_tls(text: &str) -> Result<PostgresTls, Flaw> {
    match text {
        "disable" => Ok(PostgresTls::Disable),
        "prefer" => Ok(PostgresTls::Prefer),
        "require" => Ok(PostgresTls::Require),
        "verify" | "verify-full" => Ok(PostgresTls::Verify),
        _ => {
            Err(Flaw::new("the URL's sslmode is not known", "write disable, prefer, require or verify-full"))
        }
    }
}

/// `text` with `%xx` resolved; none when that is no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit()? * 16 + digit()?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parsed = |text| Postgres::parse(text).unwrap();
        let all = parsed("postgresql://me:p%40ss@db.example.com:6543/usage?sslmode=require");
        let expected = Postgres {
            host: PostgresHost::Tcp("db.example.com".into()),
            port: 6543,
            user: "me".into(),
            password: Some(Secret("p@ss".into())),
            database: "usage".into(),
            tls: PostgresTls::Require,
            ca: None,
        };
        assert_eq!(all, expected);
        let least = parsed("postgres://me@[::1]");
        assert_eq!((least.host, least.port), (PostgresHost::Tcp("::1".into()), 5432));
        assert_eq!((least.database.as_str(), least.password, least.tls), ("me", None, PostgresTls::Prefer));
        for socket in ["postgres://me@/db?host=/run/pg", "postgres://me@%2Frun%2Fpg/db"] {
            assert_eq!(parsed(socket).host, PostgresHost::Unix("/run/pg".into()));
        }
    }

    #[test]
    fn nothing_of_a_wrong_url_is_shown() {
        for text in [
            "postgres://me:canary@host:canary/db",
            "postgres://me:can/ary@host/db",
            "postgres://me:can?ary@host/db",
            "postgres://me:canary",
            "postgres://:canary@host",
            "postgres://me:canary%zz@host",
            "postgres://me:canary@host/db?canary=1",
            "postgres://me:canary@host/db?sslmode=canary",
            "postgres://me:canary@/db",
            "postgres://me:x@canary..y/db",
            "mysql://me:canary@host",
        ] {
            let flaw = Postgres::parse(text).unwrap_err();
            assert!(!format!("{flaw:?}").contains("can"), "{text}: {flaw:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let postgres = Postgres::parse("postgres://me:canary@host/db").unwrap();
        assert!(!format!("{postgres:?}").contains("canary"));
    }
}
