//! A preset that runs: its own two files, with a test's addresses, folder and stores.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::{Connection, types::Value as Cell};
use serde_json::{Value, json};
use tollgate_testkit::{BOUND, Gateway, Origin, Postgres, Redis, Response, Wire, eventually};

use crate::{
    scene::{assert_refusal, head, number},
    support::gateway,
};

pub(super) const NAMES: [&str; 5] = ["ops-center", "phase-12", "fernando", "plantintel", "cantonesescribe"];

/// Of a service that reports; 24 characters or more.
const TOKEN: &str = "presets-service-token-of-a-test";

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) user: &'a str,
    pub(super) org: Option<&'a str>,
    pub(super) tier: Option<&'a str>,
}

impl<'a> Who<'a> {
    /// A user, and the tier that the trusted peer says.
    pub(super) fn on(user: &'a str, tier: &'a str) -> Self {
        Self { user, org: None, tier: Some(tier) }
    }

    /// A user of an organisation, and the tier that the trusted peer says.
    pub(super) fn of(user: &'a str, org: &'a str, tier: &'a str) -> Self {
        Self { user, org: Some(org), tier: Some(tier) }
    }

    fn headers(self) -> Vec<(&'a str, &'a str)> {
        let org = self.org.map(|org| ("X-Org-Id", org));
        let tier = self.tier.map(|tier| ("X-User-Tier", tier));
        [Some(("X-User-Id", self.user)), org, tier].into_iter().flatten().collect()
    }
}

/// One limit of a table, whose last unit is used and nothing after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit<'a> {
    pub(super) meter: &'a str,
    pub(super) window: &'a str,
    pub(super) limit: i64,
}

/// A running preset and its stores.
pub(super) struct Preset {
    pub(super) gateway: Gateway,
    pub(super) redis: Option<Redis>,
    pub(super) postgres: Option<Postgres>,
}

/// The folder of a preset.
pub(super) fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/presets").join(name)
}

/// The text of one of its files.
pub(super) fn file(name: &str, file: &str) -> String {
    let path = dir(name).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of gateway.toml with the lines replaced that a deployment replaces.
pub(super) fn config(name: &str, upstreams: &[(&str, &Origin)]) -> String {
    let mut section = String::new();
    let mut replaced = Vec::new();
    let mut text = String::new();
    for line in file(name, "gateway.toml").lines() {
        if line.starts_with('[') {
            section = line.split(']').next().unwrap().trim_start_matches('[').to_owned();
        }
        let key = line.split('=').next().unwrap().trim();
        let upstream = section.strip_prefix("upstreams.");
        let value = match (&*section, key) {
            ("", "data_dir") => "\"@DATA@\"".to_owned(),
            ("listen", "address") => "\"@LISTEN@\"".to_owned(),
            ("admin", "address") => "\"@ADMIN@\"".to_owned(),
            (_, "urls") => {
                let (_, origin) = upstreams.iter().find(|(name, _)| Some(*name) == upstream).unwrap();
                format!("[\"http://{}\"]", origin.address())
            }
            _ => {
                text += line;
                text.push('\n');
                continue;
            }
        };
        replaced.push(format!("{section}.{key}"));
        writeln!(text, "{key} = {value}").unwrap();
    }
    assert_eq!(replaced.len(), 3 + upstreams.len(), "{replaced:?}");
    text
}

impl Preset {
    /// Starts the preset in front of `upstreams`, with the stores that it names.
    pub(super) fn start(name: &str, upstreams: &[(&str, &Origin)]) -> Self {
        let config = config(name, upstreams);
        let redis = config.contains("\"TOLLGATE_REDIS_URL\"").then(Redis::start);
        let postgres = config.contains("\"TOLLGATE_LEDGER_URL\"").then(Postgres::new);
        let mut builder = gateway().config(config).tiers(file(name, "tier-limits.toml"));
        builder = builder.env("TOLLGATE_SERVICE_TOKENS", TOKEN);
        if let Some(redis) = &redis {
            builder = builder.env("TOLLGATE_REDIS_URL", &redis.url());
        }
        if let Some(postgres) = &postgres {
            builder = builder.env("TOLLGATE_LEDGER_URL", &postgres.url());
        }
        Self { gateway: builder.start(), redis, postgres }
    }

    /// Sends a request with these headers beside who calls; its answer.
    pub(super) fn send(&self, who: Who<'_>, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let (method, target) = line.split_once(' ').expect("a method and a path");
        let headers: Vec<_> = who.headers().into_iter().chain(headers.iter().copied()).collect();
        self.say(method, target, &headers, body)
    }

    /// As [`Self::send`], with JSON and without other headers.
    pub(super) fn call(&self, who: Who<'_>, line: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(who, line, &[("Content-Type", "application/json")], &body)
    }

    /// What a service says to the usage API.
    pub(super) fn serve(&self, line: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let token = format!("Bearer {TOKEN}");
        let mut all = vec![("Authorization", &*token), ("Content-Type", "application/json")];
        all.extend(headers);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.say(method, &format!("/api/v1/usage/{path}"), &all, &body)
    }

    /// Reports what `who` has used, now or at some earlier instant.
    pub(super) fn report(&self, who: Who<'_>, meter: &str, amount: i64, at: Option<Timestamp>) {
        let mut event = json!({ "user_id": who.user, "meter": meter, "amount": amount });
        if let Some(org) = who.org {
            event["org_id"] = json!(org);
        }
        if let Some(tier) = who.tier {
            event["tier"] = json!(tier);
        }
        if let Some(at) = at {
            event["at"] = json!(at.to_string());
        }
        let answer = self.serve("POST track", &[], &event);
        assert_eq!(answer.status, 200, "{event}: {answer:?}");
    }

    fn say(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut wire = Wire::connect(self.gateway.address());
        wire.send(head(method, target, headers, Some(body.len())) + body);
        wire.response(method == "HEAD", BOUND * 4).expect("an answer")
    }

    /// Fails unless the next request of `who` is the last that `limit` admits and the one after is refused with all that
    /// a refusal says; the refusal.
    pub(super) fn last_and_first(
        &self,
        who: Who<'_>,
        limit: Limit<'_>,
        mut send: impl FnMut() -> Response,
    ) -> Value {
        let last = send();
        assert!((200..300).contains(&last.status), "the last that {limit:?} admits: {last:?}");
        self.refused(who, limit, send())
    }

    /// Fails unless `answer` is the refusal of a limit that is used up; the refusal.
    pub(super) fn refused(&self, who: Who<'_>, limit: Limit<'_>, answer: Response) -> Value {
        let Limit { meter, window, limit } = limit;
        let code = match window {
            "minute" | "hour" => "rate_limited",
            _ => "quota_exceeded",
        };
        let refusal = assert_refusal(&answer, 429, code);
        let tier = who.tier.unwrap_or("");
        assert_eq!(refusal["meter"], json!(meter), "{refusal}");
        assert!(tier.is_empty() || refusal["tier"] == json!(tier), "{refusal}");
        assert_eq!(refusal["window"], json!(window), "{refusal}");
        assert_eq!(refusal["used"], json!(limit), "{refusal}");
        assert_eq!(refusal["limit"], json!(limit), "{refusal}");
        assert_eq!(refusal["remaining"], json!(0), "{refusal}");
        assert!(refusal["upgrade_url"].as_str().is_some_and(|url| url.starts_with("https://")), "{refusal}");
        if window == "lifetime" {
            assert_eq!((&refusal["reset_at"], &refusal["retry_after"]), (&Value::Null, &Value::Null));
        } else {
            let reset: Timestamp = refusal["reset_at"].as_str().unwrap().parse().unwrap();
            assert!(reset > Timestamp::now(), "{refusal}");
            assert!(refusal["retry_after"].as_u64().is_some_and(|seconds| seconds > 0), "{refusal}");
            assert_eq!(number(&answer, "x-ratelimit-reset"), reset.as_second(), "{answer:?}");
        }
        assert_eq!(number(&answer, "x-ratelimit-limit"), limit, "{answer:?}");
        assert_eq!(number(&answer, "x-ratelimit-remaining"), 0, "{answer:?}");
        refusal
    }

    /// Edits the table of subjects, and waits until the gateway knows it.
    pub(super) fn set_subjects(&self, values: &str) {
        let columns = "(scope, id, tier, org_id, time_zone, billing_anchor, overrides)";
        let mark = format!("mark-{}", nanos());
        let tier = self.some_tier();
        let values = format!("{values}, ('user', '{mark}', NULL, 'of-{mark}', NULL, NULL, NULL)");
        self.sql(&format!("INSERT INTO subjects {columns} VALUES {values}"));
        let known = eventually(BOUND, || {
            let answer = self.serve(&format!("GET tier?user_id={mark}&tier={tier}"), &[], &Value::Null);
            answer.status == 200 && answer.json()["org_id"] == json!(format!("of-{mark}"))
        });
        assert!(known, "the gateway does not see the table of subjects");
    }

    fn some_tier(&self) -> String {
        let tiers = fs::read_to_string(self.gateway.tiers_path()).unwrap();
        let line = tiers.lines().find(|line| line.starts_with("default_tier")).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    }

    /// Runs SQL in the ledger; what it selects, a line per row, columns separated by `|`.
    pub(super) fn sql(&self, sql: &str) -> String {
        match &self.postgres {
            Some(server) => server.sql("postgres", sql),
            None => sqlite(&self.gateway.data_dir().join("ledger.sqlite3"), sql),
        }
    }

    /// Waits until a query of the ledger gives this.
    pub(super) fn until(&self, sql: &str, wanted: &str) {
        let mut last = String::new();
        let arrived = eventually(BOUND, || {
            last = self.sql(sql);
            last == wanted
        });
        assert!(arrived, "{sql}: {last:?}, not {wanted:?}");
    }
}

fn nanos() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

fn sqlite(path: &Path, sql: &str) -> String {
    let ledger = Connection::open(path).unwrap();
    ledger.busy_timeout(BOUND).unwrap();
    if !sql.starts_with("SELECT") {
        ledger.execute_batch(sql).unwrap();
        return String::new();
    }
    let mut statement = ledger.prepare(sql).unwrap();
    let columns = statement.column_count();
    let text = |cell: Cell| match cell {
        Cell::Null => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Text(text) => text,
        Cell::Real(_) | Cell::Blob(_) => panic!("{cell:?}"),
    };
    let rows = statement.query_map([], |row| {
        let cells = (0..columns).map(|column| Ok(text(row.get(column)?)));
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    rows.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap().join("\n")
}
