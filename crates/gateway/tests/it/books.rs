//! The books of a gateway as an outsider reads them: the ledger's lines, its counters, `tollgate audit`.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Output},
};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tollgate_testkit::{BOUND, Gateway, eventually};

/// One line of `usage_ledger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) request_id: String,
    pub(crate) user: String,
    pub(crate) tier: String,
    pub(crate) meter: String,
    pub(crate) amount: i64,
    pub(crate) estimated: bool,
    pub(crate) status: i64,
    pub(crate) metadata: Option<String>,
}

/// What the ledger of a gateway has.
#[derive(Debug)]
pub(crate) struct Books(pub(crate) Vec<Line>);

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Books {
    /// Reads them now.
    pub(crate) fn read(data_dir: &Path) -> Self {
        let path = data_dir.join("ledger.sqlite3");
        let ledger = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        ledger.busy_timeout(BOUND).unwrap();
        let sql = "SELECT id, request_id, user_id, tier, meter, amount, estimated, status, metadata \
                   FROM usage_ledger ORDER BY id";
        let mut lines = ledger.prepare(sql).unwrap();
        let lines = lines.query_map([], |row| {
            Ok(Line {
                id: row.get(0)?,
                request_id: row.get(1)?,
                user: row.get(2)?,
                tier: row.get(3)?,
                meter: row.get(4)?,
                amount: row.get(5)?,
                estimated: row.get(6)?,
                status: row.get(7)?,
                metadata: row.get(8)?,
            })
        });
        Self(lines.unwrap().collect::<Result<_, _>>().unwrap())
    }

    /// Reads them when all that `gateway` has settled is in them.
    pub(crate) fn settled(gateway: &Gateway) -> Self {
        let rest = "which 0 are not shipped yet, 0 requests in flight";
        assert!(eventually(BOUND, || audit(gateway).out.contains(rest)), "not settled: {:?}", audit(gateway));
        Self::read(&gateway.data_dir())
    }

    /// The lines by request id.
    pub(crate) fn by_request(&self) -> HashMap<&str, Vec<&Line>> {
        let mut by_request: HashMap<_, Vec<_>> = HashMap::new();
        for line in &self.0 {
            by_request.entry(&*line.request_id).or_default().push(line);
        }
        by_request
    }

    /// The lines of one request.
    pub(crate) fn of(&self, request_id: &str) -> Vec<&Line> {
        self.0.iter().filter(|line| line.request_id == request_id).collect()
    }

    /// What a user was charged of a meter.
    pub(crate) fn sum(&self, user: &str, meter: &str) -> i64 {
        self.0.iter().filter(|line| line.user == user && line.meter == meter).map(|line| line.amount).sum()
    }
}

/// Runs the binary to its end.
pub(crate) fn tollgate<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    said(&Command::new(env!("CARGO_BIN_EXE_tollgate")).args(arguments).output().unwrap())
}

/// What a finished command said.
pub(crate) fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// `tollgate audit`, of a gateway that runs or does not.
pub(crate) fn audit(gateway: &Gateway) -> Said {
    tollgate([std::ffi::OsStr::new("audit"), gateway.config_path().as_os_str()])
}

/// Fails unless `tollgate audit` finds everything in agreement.
pub(crate) fn assert_clean(gateway: &Gateway) {
    let said = audit(gateway);
    assert!(said.code == Some(0) && said.out.ends_with("\nclean\n"), "{said:?}");
}

/// What `/admin/counters` says is held, all counters together.
pub(crate) fn held(gateway: &Gateway) -> i64 {
    let counters = gateway.admin_get("/admin/counters").json();
    let held = |counter: &Value| counter["held"].as_i64().unwrap();
    counters["counters"].as_array().unwrap().iter().map(held).sum()
}
