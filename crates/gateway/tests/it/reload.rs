//! Configuration that changes while requests pass: whole or not at all, at once, and with nobody noticing.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tollgate_testkit::{
    BOUND, Client, Ending, Gateway, GatewayBuilder, Origin, Response, Wire, eventually, tls::Authority,
};

use crate::{
    load::{Call, Connections, Load, once},
    support,
};

const RELOADS: usize = 1000;

/// `tiers` is what gateway.toml calls the tiers file.
fn config(origin: &Origin, tiers: &str) -> String {
    format!(
        r#"
tiers = "{tiers}"
data_dir = "@DATA@"
workers = 2
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[upstreams.up]
urls = ["http://{}"]
[[routes]]
path = "/call/"
upstream = "up"
charge = [{{ meter = "calls" }}]
[[routes]]
path = "/both/"
upstream = "up"
charge = [{{ meter = "calls" }}, {{ meter = "things", amount = 2 }}]
[[routes]]
path = "/large/"
upstream = "up"
charge = [{{ meter = "things", amount = 100_000_000 }}]
"#,
        origin.address()
    )
}

/// Tiers that allow `calls` calls.
fn tiers(calls: usize) -> String {
    versioned(calls, 1000)
}

/// Tiers in which everything says which version they are.
fn versioned(calls: usize, version: usize) -> String {
    format!(
        r#"
default_tier = "free"
upgrade_url = "https://example.com/{version}"
[meters]
calls  = {{ unit = "calls" }}
things = {{ unit = "things" }}
[tiers.free]
max_body = {version}
[tiers.free.limits]
calls  = "{calls}/lifetime"
things = "{version}/lifetime"
"#
    )
}

fn gateway(origin: &Origin) -> GatewayBuilder {
    support::gateway().config(config(origin, "tier-limits.toml")).tiers(tiers(3))
}

/// A call of a user that has nothing to do with other calls; what limit it is told.
fn limit(gateway: &Gateway) -> usize {
    let answer = once(gateway.address(), get("limit", "/call/x")).answer.unwrap();
    answer.header("x-ratelimit-limit").unwrap().parse().unwrap()
}

fn get(user: &str, target: &str) -> Call {
    Call::new("", user, target)
}

fn takes_effect(gateway: &Gateway, calls: usize) -> bool {
    eventually(BOUND, || limit(gateway) == calls)
}

fn reloads(gateway: &Gateway, result: &str) -> usize {
    let count = gateway.metric(&format!("tollgate_config_reloads_total{{result=\"{result}\"}}"));
    format!("{:.0}", count.unwrap_or(0.0)).parse().unwrap()
}

#[test]
fn an_edit_takes_effect_however_the_file_is_changed() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    assert_eq!(limit(&gateway), 3);
    // As vim and sed do it: another file takes its name.
    gateway.write_tiers(&tiers(4));
    assert!(takes_effect(&gateway, 4), "{}", gateway.logs());
    // As nano and a shell do it: the same file is emptied and written.
    fs::write(gateway.tiers_path(), tiers(5)).unwrap();
    assert!(takes_effect(&gateway, 5), "{}", gateway.logs());
    // As a careful deployment does it: nothing there for a moment.
    fs::remove_file(gateway.tiers_path()).unwrap();
    fs::write(gateway.tiers_path(), tiers(6)).unwrap();
    assert!(takes_effect(&gateway, 6), "{}", gateway.logs());
    // The other file, and a new name for the tiers.
    fs::write(gateway.home().join("other.toml"), tiers(7)).unwrap();
    gateway.write_config(&config(&origin, "other.toml"));
    assert!(takes_effect(&gateway, 7), "{}", gateway.logs());
    fs::write(gateway.home().join("other.toml"), tiers(8)).unwrap();
    gateway.hang_up();
    assert!(takes_effect(&gateway, 8), "{}", gateway.logs());
    assert!(gateway.is_ready());
}

/// A folder as Kubernetes mounts a ConfigMap: the file is a link through `..data`, which is swapped.
struct ConfigMap(PathBuf);

impl ConfigMap {
    fn new(folder: &Path, text: &str) -> Self {
        fs::create_dir(folder).unwrap();
        let map = Self(folder.to_owned());
        map.swap("..1", text);
        symlink("..data/tier-limits.toml", folder.join("tier-limits.toml")).unwrap();
        map
    }

    fn swap(&self, version: &str, text: &str) {
        let Self(folder) = self;
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("tier-limits.toml"), text).unwrap();
        symlink(version, folder.join("..data_tmp")).unwrap();
        let before = fs::read_link(folder.join("..data"));
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if let Ok(before) = before {
            fs::remove_dir_all(folder.join(before)).unwrap();
        }
    }
}

#[test]
fn the_swap_of_a_kubernetes_config_map_takes_effect_again_and_again() {
    let origin = Origin::echo();
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    let map = ConfigMap::new(&mount, &tiers(3));
    let named = mount.join("tier-limits.toml").display().to_string();
    let gateway = support::gateway().config(config(&origin, &named)).tiers(tiers(99)).start();
    assert_eq!(limit(&gateway), 3);
    for calls in 4..7 {
        map.swap(&format!("..{calls}"), &tiers(calls));
        assert!(takes_effect(&gateway, calls), "{}", gateway.logs());
    }
}

#[test]
fn a_bad_file_changes_nothing_and_is_seen_in_log_readiness_and_metrics() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let bad = [
        tiers(9).replace("upgrade_url", "upgarde_url"),
        tiers(9)[..60].to_owned(),
        String::new(),
        tiers(9).replace("9/lifetime", "-9/lifetime"),
    ];
    for (number, text) in bad.iter().enumerate() {
        gateway.write_tiers(text);
        assert!(
            eventually(BOUND, || reloads(&gateway, "rejected") == number + 1),
            "{text}: {}",
            gateway.logs()
        );
        assert_eq!(gateway.metric("tollgate_config_valid"), Some(0.0));
        let ready = gateway.admin_get("/readyz");
        assert_eq!(ready.status, 200, "it serves well with what is in force");
        assert!(
            ready.json()["config"]["invalid"].to_string().contains("tier-limits.toml:"),
            "{}",
            ready.text()
        );
        assert!(gateway.logs().contains("configuration not reloaded"));
        assert_eq!(limit(&gateway), 3, "what was in force stays in force");
    }
    assert!(gateway.logs().contains("did you mean"), "the log says how to mend it: {}", gateway.logs());
    // gateway.toml is no different.
    gateway.write_config(&config(&origin, "tier-limits.toml").replace("urls", "ulrs"));
    assert!(eventually(BOUND, || reloads(&gateway, "rejected") == bad.len() + 1));
    gateway.write_config(&config(&origin, "tier-limits.toml"));
    gateway.write_tiers(&tiers(4));
    assert!(takes_effect(&gateway, 4), "{}", gateway.logs());
    assert!(eventually(BOUND, || gateway.metric("tollgate_config_valid") == Some(1.0)));
    assert_eq!(gateway.admin_get("/readyz").json()["config"], "ok");
}

#[test]
fn a_file_that_is_put_back_is_good_again() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    gateway.write_tiers("nonsense");
    assert!(eventually(BOUND, || gateway.metric("tollgate_config_valid") == Some(0.0)));
    gateway.write_tiers(&tiers(3));
    assert!(eventually(BOUND, || gateway.metric("tollgate_config_valid") == Some(1.0)));
    assert_eq!(gateway.admin_get("/readyz").json()["config"], "ok");
}

#[test]
fn a_raised_limit_keeps_what_is_used_and_so_does_a_lowered_one() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let served = |wanted: usize| {
        for _ in 0..wanted {
            assert_eq!(once(gateway.address(), get("alice", "/call/x")).status(), Some(200));
        }
        let refused = once(gateway.address(), get("alice", "/call/x")).answer.unwrap();
        assert_eq!(refused.status, 429);
        refused.json()
    };
    assert_eq!(served(3)["used"], 3);
    gateway.write_tiers(&tiers(5));
    assert!(takes_effect(&gateway, 5));
    assert_eq!(served(2)["used"], 5);
    gateway.write_tiers(&tiers(2));
    assert!(takes_effect(&gateway, 2));
    let refused = served(0);
    assert_eq!(
        (&refused["used"], &refused["limit"], &refused["remaining"]),
        (&5.into(), &2.into(), &0.into())
    );
    let logs = gateway.logs();
    for change in ["free: calls in total 3 → 5 (gains)", "free: calls in total 5 → 2 (loses)"] {
        assert!(logs.contains(change), "the log does not say {change}: {logs}");
    }
}

/// The certificate that a new connection is shown.
async fn shown(gateway: &Gateway, authority: &Authority) -> Vec<u8> {
    let client = Client::tls(gateway.address(), "localhost", authority.client_config(&["h2"])).await.unwrap();
    client.server_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn a_new_certificate_with_the_old_key_changes_nothing_until_its_key_is_there() {
    let (origin, authority) = (Origin::echo(), Authority::new());
    let (old, new) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let dir = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    fs::write(&cert, &old.certificate_pem).unwrap();
    fs::write(&key, &old.key_pem).unwrap();
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}\n[admin]", cert.display(), key.display());
    let config = config(&origin, "tier-limits.toml").replace("[admin]", &tls);
    let gateway = support::gateway().config(config).tiers(tiers(3)).start();
    let before = shown(&gateway, &authority).await;

    fs::write(&cert, &new.certificate_pem).unwrap();
    assert!(eventually(BOUND, || gateway.logs().contains("certificate not reloaded")), "{}", gateway.logs());
    assert_eq!(shown(&gateway, &authority).await, before, "the pair that fits stays in use");
    fs::write(&key, &new.key_pem).unwrap();
    assert!(eventually(BOUND, || gateway.logs().contains("certificate reloaded")), "{}", gateway.logs());
    assert_ne!(shown(&gateway, &authority).await, before);
}

#[test]
fn another_authority_of_an_upstream_takes_effect_without_another_change() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = |authority: &Authority| authority.issue(&["127.0.0.1"]).server_config(&["http/1.1"]);
    let mut origin = Origin::builder().tls(server(&old)).start();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, old.certificate_pem()).unwrap();
    let config = config(&origin, "tier-limits.toml").replace("http://", "https://").replacen(
        "[[routes]]",
        &format!("ca = {ca:?}\neject_after = 1000\neject_for = \"1s\"\n[[routes]]"),
        1,
    );
    let gateway = support::gateway().config(config).tiers(tiers(1000)).start();
    let status = || once(gateway.address(), get("ann", "/call/x")).status();
    assert_eq!(status(), Some(200));

    // The service moves to a certificate of an authority that the gateway does not know yet.
    origin.stop();
    let origin = Origin::builder().tls(server(&new)).at(origin.address()).start();
    assert!(eventually(BOUND, || status() == Some(502)));
    assert_eq!(origin.requests(), 0, "nothing is said to a stranger");
    fs::write(&ca, new.certificate_pem()).unwrap();
    assert!(eventually(BOUND, || status() == Some(200)), "{}", gateway.logs());
}

/// The version that an answer on `target` was made with; fails when two parts of it do not agree.
fn version(target: &str, answer: &Response) -> usize {
    let after = |text: &str, mark: &str| -> usize {
        let rest = text.split(mark).nth(1).unwrap_or_else(|| panic!("no {mark} in {answer:?}"));
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().unwrap()
    };
    let (first, second) = match target {
        "/both/x" => {
            assert_eq!(answer.status, 200, "{answer:?}");
            let policy = answer.header("ratelimit-policy").unwrap();
            (after(policy, "\"calls-lifetime\";q=") - CALLS, after(policy, "\"things-lifetime\";q="))
        }
        "/large/x" => {
            assert_eq!(answer.status, 429, "{answer:?}");
            let body = answer.text();
            (after(&body, "\"limit\":"), after(&body, "\"upgrade_url\":\"https://example.com/"))
        }
        _ => {
            assert_eq!(answer.status, 413, "{answer:?}");
            let body = answer.text();
            let bound = after(&body, "larger than the ");
            let unit = body.split(&format!("larger than the {bound}")).nth(1).unwrap();
            let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("kB", 1000), ("MB", 1_000_000), ("B", 1)];
            let (_, bytes) = units.iter().find(|(name, _)| unit.starts_with(name)).unwrap();
            (bound * bytes, after(&body, "https://example.com/"))
        }
    };
    assert_eq!(first, second, "half of one file and half of another: {answer:?}");
    first
}

/// More than the test uses up.
const CALLS: usize = 10_000_000;
const FIRST_VERSION: usize = 1_000_000;

/// Sends bodies that are larger than any version allows, until told to stop; the answers.
fn send_too_large(gateway: &Gateway, stop: &Arc<AtomicBool>) -> thread::JoinHandle<Vec<Response>> {
    let (address, stop) = (gateway.address(), Arc::clone(stop));
    thread::spawn(move || {
        let mut answers = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let mut wire = Wire::connect(address);
            wire.send(
                "POST /both/x HTTP/1.1\r\nHost: h\r\nX-User-Id: large\r\nContent-Length: 9000000\r\n\r\n",
            );
            let answer = wire.response(false, BOUND).filter(|answer| answer.ending == Ending::Complete);
            answers.push(answer.expect("an answer to a body that is too large"));
        }
        answers
    })
}

#[test]
fn a_thousand_reloads_under_load_fail_no_request_and_mix_no_two_versions() {
    let origin = Origin::echo();
    let text = |version| versioned(CALLS + version, version);
    let gateway =
        support::gateway().config(config(&origin, "tier-limits.toml")).tiers(text(FIRST_VERSION)).start();
    let load = Load::start(gateway.address(), 3, Connections::Kept, |client, number| {
        let target = if number.is_multiple_of(2) { "/both/x" } else { "/large/x" };
        Some(Call::new(format!("{client}-{number}"), &format!("user-{client}"), target))
    });
    let stop = Arc::new(AtomicBool::new(false));
    let too_large = send_too_large(&gateway, &stop);

    let mut watching = Wire::connect(gateway.address());
    for version in FIRST_VERSION + 1..=FIRST_VERSION + RELOADS {
        gateway.write_tiers(&text(version));
        gateway.hang_up();
        let applied = eventually(BOUND, || {
            watching.send(get("watcher", "/large/x").bytes());
            self::version("/large/x", &watching.response(false, BOUND).unwrap()) == version
        });
        assert!(applied, "version {version} is not in force: {}", gateway.logs());
    }
    stop.store(true, Ordering::SeqCst);
    let (outcomes, too_large) = (load.stop(), too_large.join().unwrap());

    assert_eq!((reloads(&gateway, "applied"), reloads(&gateway, "rejected")), (RELOADS, 0));
    let mut seen = std::collections::HashSet::new();
    for outcome in &outcomes {
        let answer = outcome.answer.as_ref().unwrap_or_else(|| panic!("failed: {outcome:?}"));
        seen.insert(version(&outcome.call.target, answer));
    }
    for answer in &too_large {
        seen.insert(version("/both/x with a large body", answer));
    }
    assert!(seen.len() > RELOADS / 20, "the load saw only {} versions", seen.len());
}
