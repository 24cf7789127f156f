//! A preset that runs: its own two files, with a test's addresses, folder and stores.

use std::{
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::{Connection, types::Value as Cell};
use serde_json::{Value, json};
use tollgate_testkit::{BOUND, Gateway, Origin, Postgres, Redis, eventually};

use super::calls::TOKEN;
use crate::{
    books::{Said, said},
    support::gateway,
};

pub(super) const NAMES: [&str; 5] = ["ops-center", "phase-12", "fernando", "plantintel", "cantonesescribe"];

/// A running preset and its stores.
pub(super) struct Preset {
    pub(super) gateway: Gateway,
    pub(super) redis: Option<Redis>,
    pub(super) postgres: Option<Postgres>,
    config: String,
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
        let mut builder = gateway().config(&*config).tiers(file(name, "tier-limits.toml"));
        builder = builder.env("TOLLGATE_SERVICE_TOKENS", TOKEN);
        if let Some(redis) = &redis {
            builder = builder.env("TOLLGATE_REDIS_URL", &redis.url());
        }
        if let Some(postgres) = &postgres {
            builder = builder.env("TOLLGATE_LEDGER_URL", &postgres.url());
        }
        let preset = Self { gateway: builder.start(), redis, postgres, config };
        if preset.redis.is_some() {
            let is_counting = || preset.gateway.metric("tollgate_counters_rebuilding") == Some(0.0);
            assert!(eventually(BOUND, is_counting), "counters are in Redis");
        }
        preset
    }

    /// Runs what expects limits to be exact, and runs it again, up to five times, where it failed while a call to Redis
    /// did: these presets allow what cannot be decided in time, which happens on a machine that is busy with others.
    pub(super) fn exactly(&self, test: impl Fn(usize)) {
        let failures = || self.failed_calls();
        for attempt in 0..5 {
            let before = failures();
            match catch_unwind(AssertUnwindSafe(|| test(attempt))) {
                Ok(()) => return,
                Err(failed) if attempt == 4 || failures() <= before => resume_unwind(failed),
                Err(_) => {}
            }
        }
    }

    fn failed_calls(&self) -> f64 {
        self.gateway.metric("tollgate_counters_calls_total{result=\"failed\"}").unwrap_or(0.0)
    }

    /// Its gateway.toml, addresses left open.
    pub(super) fn config(&self) -> &str {
        &self.config
    }

    /// `tollgate audit`, with the stores that the gateway has.
    pub(super) fn audit(&self) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("audit").arg(self.gateway.config_path());
        if let Some(redis) = &self.redis {
            command.env("TOLLGATE_REDIS_URL", redis.url());
        }
        if let Some(postgres) = &self.postgres {
            command.env("TOLLGATE_LEDGER_URL", postgres.url());
        }
        said(&command.output().unwrap())
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

/// As [`Preset::exactly`], for tests that need a world of their own: that one is another one each time.
pub(super) fn decided<W>(start: impl Fn() -> W, preset: impl Fn(&W) -> &Preset, test: impl Fn(&mut W)) {
    for attempt in 0..5 {
        let mut world = start();
        let before = preset(&world).failed_calls();
        match catch_unwind(AssertUnwindSafe(|| test(&mut world))) {
            Ok(()) => return,
            Err(failed) if attempt == 4 || preset(&world).failed_calls() <= before => resume_unwind(failed),
            Err(_) => {}
        }
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
