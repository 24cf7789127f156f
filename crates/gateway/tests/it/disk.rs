//! No room to write usage down: nothing metered is served, nothing is lost, and it goes on when there is room.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;
use tempfile::TempDir;
use tollgate_testkit::{BOUND, Gateway, GatewayBuilder, Origin, eventually};

use crate::{
    books::{self, Books},
    load::{Call, Outcome, once},
    support,
};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free.limits]
calls = "1000000/lifetime"
"#;
/// More calls than the smallest journal has room for.
const CALLS_MAX: usize = 5000;

fn config(origin: &Origin) -> String {
    format!(
        r#"
data_dir = "@DATA@"
workers = 1
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[journal]
segment_bytes = "64KiB"
bytes_max = "128KiB"
requests_in_flight_max = 16
[upstreams.up]
urls = ["http://{}"]
[[routes]]
path = "/metered/"
upstream = "up"
charge = [{{ meter = "calls" }}]
[[routes]]
path = "/free/"
upstream = "up"
"#,
        origin.address()
    )
}

fn call(gateway: &Gateway, id: &str, path: &str) -> Outcome {
    once(gateway.address(), Call::new(id, "alice", path))
}

/// Calls until usage can no longer be written down; says how many calls were served.
fn call_until_full(gateway: &Gateway) -> usize {
    for number in 0..CALLS_MAX {
        let outcome = call(gateway, &format!("before-{number}"), "/metered/x");
        match outcome.status() {
            Some(200) => {}
            Some(503) => return number,
            other => panic!("{other:?}: {outcome:?}"),
        }
    }
    panic!("{CALLS_MAX} calls went into a small journal");
}

/// What a gateway without room does, and that it goes on once `make_room` has made some. `data` is where this process
/// sees its data folder.
fn assert_refuses_until_there_is_room(
    gateway: &Gateway,
    data: &Path,
    origin: &Origin,
    make_room: impl FnOnce(),
) {
    let (charged, sent) = (copied(data).0.0.len(), origin.requests());
    let served = call_until_full(gateway);
    assert!(served > 10, "the journal had room for {served} calls only");
    for number in 0..5 {
        let refused = call(gateway, &format!("full-{number}"), "/metered/x").answer.unwrap();
        assert_eq!((refused.status, &refused.json()["error"]), (503, &"store_unavailable".into()));
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(origin.requests() - sent, served, "what is refused never reached the upstream");
    assert_eq!(call(gateway, "free", "/free/x").status(), Some(200), "what is not metered goes on");
    let ready = gateway.admin_get("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &false.into()));
    assert!(ready.json()["journal_room"].as_str().unwrap().starts_with("full"), "{}", ready.text());
    // SQLite waits a little for what is in its way before it says so.
    let ledger_fails = || gateway.admin_get("/readyz").json()["ledger"]["failing"].is_string();
    assert!(eventually(BOUND, ledger_fails), "{}", gateway.admin_get("/readyz").text());

    make_room();
    let goes_on = || call(gateway, "after", "/metered/x").status() == Some(200);
    assert!(eventually(BOUND, goes_on), "{}", gateway.admin_get("/readyz").text());
    assert!(eventually(BOUND, || gateway.is_ready()), "{}", gateway.admin_get("/readyz").text());
    assert!(eventually(BOUND, || copied(data).0.0.len() == charged + served + 1), "{:?}", copied(data));
    let (books, copy) = copied(data);
    let by_request = books.by_request();
    for id in (0..served).map(|number| format!("before-{number}")).chain(["after".to_owned()]) {
        let lines = by_request.get(&*id).unwrap_or_else(|| panic!("{id} was served and is not charged"));
        assert_eq!((lines.len(), lines[0].amount), (1, 1), "{lines:?}");
    }
    assert_eq!(origin.requests() - sent, served + 2, "nothing was served unmetered");
    let said = books::tollgate(["audit".as_ref(), "--data-dir".as_ref(), copy.path().as_os_str()]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// The books in a copy of `data`: SQLite would not find its files in another process's mount namespace. Copied by
/// another process, because one that closes a file loses the locks that it has on it.
fn copied(data: &Path) -> (Books, TempDir) {
    let copy = tempfile::tempdir().unwrap();
    // A segment may be deleted in between: what is missing then, the caller sees.
    let _ = Command::new("cp").arg("-rT").arg(data).arg(copy.path()).output().unwrap();
    (Books::read(copy.path()), copy)
}

/// Has the counters loaded before the ledger goes away: only the journal's room is in question.
fn warm_up(gateway: &Gateway) {
    assert_eq!(call(gateway, "warm", "/metered/x").status(), Some(200));
}

#[test]
fn a_journal_that_the_ledger_does_not_take_is_full_at_its_bound_and_drains_afterwards() {
    let origin = Origin::echo();
    let gateway = support::gateway().config(config(&origin)).tiers(TIERS).start();
    warm_up(&gateway);
    drop(Books::settled(&gateway));
    let blocker = Connection::open(gateway.data_dir().join("ledger.sqlite3")).unwrap();
    blocker.busy_timeout(BOUND).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_refuses_until_there_is_room(&gateway, &gateway.data_dir(), &origin, || {
        blocker.execute_batch("ROLLBACK").unwrap();
    });
    books::assert_clean(&gateway);
}

/// A gateway that is started through a shell script: `script` ends with running `"$@"`.
struct Scripted {
    _script: TempDir,
    gateway: Gateway,
}

fn scripted(script: &str, settings: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Scripted {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let binary = env!("CARGO_BIN_EXE_tollgate");
    fs::write(&path, format!("#!/bin/sh\nset -- {binary} \"$@\"\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Scripted { _script: dir, gateway: settings(Gateway::builder(path)).start() }
}

/// Mounts a small file system on the data folder, seen by this process only and gone with it. In a user namespace of
/// its own, because tests need not run as root.
const ON_TMPFS: &str = r#"exec unshare --map-root-user --mount sh -c '
mkdir -p data && mount -t tmpfs -o size=1m tmpfs data && exec "$@"' sh "$@""#;

/// Without it, growing a file beyond its limit ends the process instead of failing.
const WITHOUT_XFSZ: &str = r#"trap '' XFSZ; exec "$@""#;

/// Whether this user may have a file system in a namespace: containers often forbid it, even to root.
fn may_mount() -> bool {
    let mount = "mount -t tmpfs -o size=1m tmpfs /mnt";
    let tried = Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", mount]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Lets no file of the process grow beyond `bytes`: the seam that works for every user, everywhere.
fn limit_file_size(gateway: &Gateway, bytes: &str) {
    let pid = gateway.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
    assert!(limited.unwrap().success());
}

#[test]
fn a_full_disk_refuses_what_is_metered_and_goes_on_when_there_is_room() {
    let origin = Origin::echo();
    if !may_mount() {
        return a_disk_that_takes_nothing_more_refuses_what_is_metered_and_goes_on_afterwards();
    }
    let Scripted { gateway, .. } =
        &scripted(ON_TMPFS, |builder| builder.config(config(&origin)).tiers(TIERS));
    let data = PathBuf::from(format!("/proc/{}/root{}", gateway.pid(), gateway.data_dir().display()));
    warm_up(gateway);
    assert!(eventually(BOUND, || copied(&data).0.0.len() == 1));
    let filler = data.join("filler");
    fill(&filler);
    assert_refuses_until_there_is_room(gateway, &data, &origin, || fs::remove_file(&filler).unwrap());
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
}

#[test]
fn a_disk_that_takes_nothing_more_refuses_what_is_metered_and_goes_on_afterwards() {
    let origin = Origin::echo();
    let Scripted { gateway, .. } =
        &scripted(WITHOUT_XFSZ, |builder| builder.config(config(&origin)).tiers(TIERS));
    warm_up(gateway);
    drop(Books::settled(gateway));
    // Less than any file has already: journal, ledger and log, all of them.
    limit_file_size(gateway, "64");
    assert_refuses_until_there_is_room(gateway, &gateway.data_dir(), &origin, || {
        limit_file_size(gateway, "unlimited");
    });
}
