//! Where Redis is: a URL, or the environment variable that holds one.

use super::{Secret, environment_name, host};
use crate::{report::Flaw, section::Section};

/// Sentinel's and Redis's own.
const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6379;
/// A client needs a few to find the others.
const NODES_MAX: usize = 64;

const EXAMPLE: &str = "write \"memory\", \"redis://host:6379\", \"redis+sentinel://host:26379,host:26379/master\" \
    or \"redis+cluster://host:6379,host:6379\"";

/// Redis, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// One server or several.
    pub kind: RedisKind,
    /// A `redis://` or `rediss://` URL for each server, or for each Sentinel. They may hold passwords.
    pub urls: Vec<Secret>,
    /// Of the servers behind Sentinels.
    pub password: Option<Secret>,
}

/// How Redis is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// One server.
    Single,
    /// Sentinels say which server is the master of this name.
    Sentinel {
        /// The name.
        master: String,
        /// Whether the servers are spoken to over TLS, as the Sentinels are.
        tls: bool,
    },
    /// A Cluster.
    Cluster,
}

/// Redis as `gateway.toml` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStore {
    /// Its URL, or where that is.
    pub url: RedisUrl,
}

/// A URL, or the environment variable that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisUrl {
    /// In the file.
    Here(Redis),
    /// In this variable.
    Env(Box<str>),
}

impl RedisStore {
    /// Reads `store` and `url_env` of `[counters]`; none where counters live in the process.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let store = section.get("store");
        let url_env = section.get("url_env");
        let stray = |message: &str| {
            if let Some(item) = &url_env {
                item.wrong_key(Flaw::new(message, "remove it, or write store = \"redis\""));
            }
        };
        let Some(store) = store else {
            stray("this goes with a Redis store");
            return None;
        };
        match (store.string("\"memory\"")?, &url_env) {
            ("memory", _) => {
                stray("this goes with a Redis store");
                None
            }
            ("redis", Some(item)) => Some(Self { url: RedisUrl::Env(environment_name(item)?) }),
            ("redis", None) => {
                let example = "add url_env = \"TOLLGATE_REDIS_URL\", or write the URL as store";
                store.wrong(Flaw::new("the URL of the store is missing", example));
                None
            }
            (text, _) => {
                stray("the store is a URL already");
                store.check(Redis::parse(text)).map(|redis| Self { url: RedisUrl::Here(redis) })
            }
        }
    }

    /// Redis, with what `variable` gives for the names of environment variables.
    ///
    /// # Errors
    /// What is wrong or missing in the environment; the URL is not in the message.
    pub fn resolve(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Redis, String> {
        match &self.url {
            RedisUrl::Here(redis) => Ok(redis.clone()),
            RedisUrl::Env(name) => {
                let value = variable(name).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| format!("the environment variable {name} is not set"))?;
                let parsed = Redis::parse(&value);
                parsed.map_err(|flaw| format!("the environment variable {name}: {}", flaw.message))
            }
        }
    }
}

impl Redis {
    /// Reads a URL. No flaw shows any of it: a password that is not encoded well may seem to be any other
    /// part.
    fn parse(text: &str) -> Result<Self, Flaw> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Flaw::new("this is not a store", EXAMPLE));
        };
        let node = match scheme {
            "redis" | "redis+sentinel" | "redis+cluster" => "redis",
            "rediss" | "rediss+sentinel" | "rediss+cluster" => "rediss",
            _ => return Err(Flaw::new("this is not a store", EXAMPLE)),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, places) = authority.rsplit_once('@').map_or(("", authority), |(login, p)| (login, p));
        let is_sentinel = scheme.ends_with("+sentinel");
        let port = if is_sentinel { SENTINEL_PORT } else { REDIS_PORT };
        let at = if login.is_empty() || is_sentinel { String::new() } else { format!("{login}@") };
        let database = if is_sentinel || path.is_empty() { String::new() } else { read_database(path)? };
        let mut urls = Vec::new();
        for place in places.split(',') {
            let place = read_place(place, port)?;
            urls.push(Secret::new(format!("{node}://{at}{place}/{database}")));
        }
        if urls.len() > NODES_MAX {
            return Err(Flaw::new("the URL names too many hosts", "name a few: they know the others"));
        }
        let password = login.split_once(':').map(|(_, password)| Secret::new(password.to_owned()));
        let kind = if is_sentinel {
            if path.is_empty() || !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
                return Err(Flaw::new("the URL names no master", EXAMPLE));
            }
            RedisKind::Sentinel { master: path.to_owned(), tls: node == "rediss" }
        } else if scheme.ends_with("+cluster") {
            if !database.is_empty() && database != "0" {
                return Err(Flaw::new("a Redis Cluster has one database", "end the URL with the last host"));
            }
            RedisKind::Cluster
        } else if urls.len() > 1 {
            return Err(Flaw::new("the URL names several hosts", EXAMPLE));
        } else {
            RedisKind::Single
        };
        Ok(Self { kind, urls, password: password.filter(|_| is_sentinel) })
    }
}

fn read_database(path: &str) -> Result<String, Flaw> {
    let number = path.parse::<u16>();
    let number = number.map_err(|_| Flaw::new("the URL's database is no number", "end the URL with /0"))?;
    Ok(number.to_string())
}

fn read_place(place: &str, port: u16) -> Result<String, Flaw> {
    let suggestion = "write @, : and / in a password as %40, %3A and %2F";
    let flaw = || Flaw::new("the URL's host is none, or its password is not encoded", suggestion);
    let (name, given) = host::split_port(place).map_err(|_| flaw())?;
    let name = host::check(name).map_err(|_| flaw())?;
    Ok(format!("{name}:{}", given.unwrap_or(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(redis: &Redis) -> Vec<&str> {
        redis.urls.iter().map(Secret::expose).collect()
    }

    #[test]
    fn one_server_sentinels_and_a_cluster() {
        let single = Redis::parse("rediss://me:p%40ss@cache.example.com/2").unwrap();
        assert_eq!(urls(&single), ["rediss://me:p%40ss@cache.example.com:6379/2"]);
        assert_eq!(single.kind, RedisKind::Single);
        let sentinel = Redis::parse("redis+sentinel://:secret@a,b:26380/main").unwrap();
        assert_eq!(urls(&sentinel), ["redis://a:26379/", "redis://b:26380/"]);
        assert_eq!(sentinel.kind, RedisKind::Sentinel { master: "main".into(), tls: false });
        assert_eq!(sentinel.password, Some(Secret::new("secret".into())));
        let cluster = Redis::parse("redis+cluster://me:x@[::1]:7000,b:7001").unwrap();
        assert_eq!(urls(&cluster), ["redis://me:x@[::1]:7000/", "redis://me:x@b:7001/"]);
        assert_eq!(cluster.kind, RedisKind::Cluster);
    }

    #[test]
    fn nothing_of_a_wrong_url_is_shown() {
        for text in [
            "canary",
            "http://:canary@host",
            "redis://me:canary@host:canary",
            "redis://me:can/ary@host",
            "redis://me:canary@",
            "redis://me:canary@a,b",
            "redis+sentinel://:canary@a",
            "redis+cluster://:canary@a/1",
        ] {
            let flaw = Redis::parse(text).unwrap_err();
            assert!(!format!("{flaw:?}").contains("can"), "{text}: {flaw:?}");
        }
        assert!(!format!("{:?}", Redis::parse("redis://me:canary@host").unwrap()).contains("canary"));
    }
}
