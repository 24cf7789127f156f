//! `tollgate check`, and what `serve` says about the same files; `--help` and `--version`.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tollgate_testkit::{free_port, tls::Authority};

use crate::books::{Said, tollgate};

const GATEWAY: &str = include_str!("../../../../gateway.toml");
const TIERS: &str = include_str!("../../../../tier-limits.toml");

/// Both files in a folder of their own.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new(gateway: &str, tiers: &str) -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(files.path("gateway.toml"), gateway).unwrap();
        fs::write(files.path("tier-limits.toml"), tiers).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn named(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn check(&self) -> Said {
        tollgate(["check", &self.named("gateway.toml")])
    }

    /// Fails unless the check ends with these lines, each behind the path of the folder, and the count of them.
    fn assert_mistakes(&self, wanted: &[&str]) {
        let said = self.check();
        assert_eq!(said.code, Some(2), "{said:?}");
        let folder = format!("{}/", self.dir.path().display());
        let mut lines: Vec<_> =
            said.out.lines().map(|line| line.strip_prefix(&folder).unwrap_or(line)).collect();
        let count = lines.pop().unwrap_or_default().to_owned();
        assert_eq!(lines, wanted);
        assert!(count.starts_with(&format!("{} mistake", wanted.len())), "{count}");
    }
}

/// One value of the tiers file replaced; what the check says about it.
fn tiers_with(old: &str, new: &str) -> Files {
    assert!(TIERS.contains(old), "{old}");
    Files::new(GATEWAY, &TIERS.replacen(old, new, 1))
}

#[test]
fn the_repositorys_own_files_are_good() {
    let said = Files::new(GATEWAY, TIERS).check();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("is good: 4 routes, 4 tiers"), "{said:?}");
}

#[test]
fn all_mistakes_of_both_files_are_printed_with_place_key_and_suggestion() {
    let gateway = r#"data_dri = "data"
enforcement = "enforced"
[upstreams.llm]
urls = ["http://127.0.0.1:9101"]
[[routes]]
path = "/v1/"
upstream = "lmm"
charge = [{ meter = "call" }]
"#;
    let tiers = r#"default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free.limits]
calls = "10/dya"
"#;
    Files::new(gateway, tiers).assert_mistakes(&[
        r#"gateway.toml:1:1: data_dri: unknown key; did you mean "data_dir"?"#,
        r#"gateway.toml:2:15: enforcement: unknown value "enforced"; did you mean "enforce"?"#,
        r#"gateway.toml:7:12: routes[0].upstream: no upstream is called "lmm"; did you mean "llm"?"#,
        r#"gateway.toml:8:21: routes[0].charge[0].meter: no meter is called "call"; did you mean "calls"?"#,
        r#"tier-limits.toml:5:9: tiers.free.limits.calls: "dya" is not a window; did you mean "day"?"#,
    ]);
}

#[test]
fn a_misspelt_key_names_its_neighbour() {
    tiers_with("warn_at  = [50", "warn_et  = [50").assert_mistakes(&[
        r#"tier-limits.toml:19:1: tiers.free_trial.warn_et: unknown key; did you mean "warn_at"?"#,
    ]);
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let within = |mark: &str| TIERS.find(mark).unwrap() + mark.len();
    // In a table's name, in a list, and where what is left reads well and lacks what other parts need.
    for end in
        [0, within("default_tier"), within("[\"10/minute\""), within("[tiers.prof"), within("[meters]\n")]
    {
        let files = Files::new(GATEWAY, &TIERS[..end]);
        let said = files.check();
        assert_eq!(said.code, Some(2), "cut at {end}: {said:?}");
        assert!(said.out.contains("tier-limits.toml:"), "{said:?}");
    }
    for mark in ["[identity]\ntrust", "[[routes]]\nname", "rewrite", "charge   = ["] {
        let end = GATEWAY.find(mark.split('\n').next().unwrap()).unwrap() + mark.len();
        let said = Files::new(&GATEWAY[..end], TIERS).check();
        assert_eq!(said.code, Some(2), "cut behind {mark}: {said:?}");
        assert!(said.out.contains("gateway.toml:"), "{said:?}");
    }
}

#[test]
fn numbers_that_are_no_limits_are_refused_and_zero_forbids() {
    for (limit, why) in [
        ("\"9223372036854775808/day\"", "9223372036854775808"),
        ("\"99999999999999999999999/day\"", "99999999999999999999999"),
        ("\"9223372036854775807k/day\"", "9223372036854775807k"),
        ("\"-1/day\"", "-1"),
        ("-1", "-1"),
        ("\"1e3/day\"", "1e3"),
        ("\"1.5/day\"", "1.5"),
        ("\"NaN/day\"", "NaN"),
        ("1e3", "limits.llm_tokens"),
        ("\"/day\"", "not a whole number"),
        ("\"\"", "limits.llm_tokens"),
    ] {
        let said = tiers_with("\"1000/day\"", limit).check();
        assert_eq!(said.code, Some(2), "{limit}: {said:?}");
        assert!(said.out.contains("tier-limits.toml:24:") && said.out.contains(why), "{limit}: {said:?}");
    }
    for limit in ["\"0/day\"", "0", "\"9223372036854775807/day\""] {
        let said = tiers_with("\"1000/day\"", limit).check();
        assert_eq!(said.code, Some(0), "{limit}: {said:?}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let files = Files::new(GATEWAY, TIERS);
    let absent = files.named("absent.toml");
    let said = tollgate(["check", &absent]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.contains(&absent) && said.out.contains("No such file"), "{said:?}");
    fs::remove_file(files.path("tier-limits.toml")).unwrap();
    let said = files.check();
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.contains("gateway.toml:4:") && said.out.contains("tier-limits.toml"), "{said:?}");
}

#[test]
fn a_difference_to_older_tiers_says_who_gains_and_who_loses() {
    let new = TIERS.replace("\"10/minute\"", "\"20/minute\"").replace("= 2\n", "= 1\n");
    let files = Files::new(GATEWAY, &new);
    fs::write(files.path("old.toml"), TIERS).unwrap();
    let said = tollgate(["check", &files.named("gateway.toml"), "--diff", &files.named("old.toml")]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in
        ["free_trial: api_calls per minute 10 → 20 (gains)", "starter: jobs 2 → 1 (loses)", "2 changes"]
    {
        assert!(said.out.lines().any(|said| said == line), "{line:?} is not in {said:?}");
    }
    let said = tollgate(["check", &files.named("gateway.toml"), "--diff", &files.named("gone.toml")]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("gone.toml"), "{said:?}");
}

#[test]
fn a_certificate_that_does_not_fit_its_key_is_a_mistake() {
    let listen = "address = \"127.0.0.1:8080\"";
    let tls = format!("{listen}\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}");
    let files = Files::new(&GATEWAY.replacen(listen, &tls, 1), TIERS);
    let said = files.check();
    assert_eq!(said.code, Some(2), "there is no certificate: {said:?}");
    assert!(said.out.contains("cert.pem"), "{said:?}");
    let authority = Authority::new();
    let (old, new) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    fs::write(files.path("cert.pem"), &new.certificate_pem).unwrap();
    fs::write(files.path("key.pem"), &old.key_pem).unwrap();
    let said = files.check();
    assert_eq!(said.code, Some(2), "a new certificate with the old key: {said:?}");
    fs::write(files.path("key.pem"), &new.key_pem).unwrap();
    let said = files.check();
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn serve_says_the_same_as_check_and_ends() {
    let files = tiers_with("warn_at  = [50", "warn_et  = [50");
    let (check, serve) = (files.check(), tollgate(["serve", &files.named("gateway.toml")]));
    assert_eq!(serve.code, Some(2), "{serve:?}");
    let mistake = check.out.lines().next().unwrap();
    assert!(serve.err.contains(mistake), "{mistake:?} is not in {serve:?}");
    assert!(!files.path("data").exists(), "nothing was begun");
}

#[test]
fn serve_ends_when_it_cannot_have_its_address_and_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let admin = format!("127.0.0.1:{}", free_port());
    let gateway = GATEWAY.replace("127.0.0.1:8080", &address).replace("127.0.0.1:9090", &admin);
    let files = Files::new(&gateway, TIERS);
    let said = tollgate(["serve", &files.named("gateway.toml")]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains(&address), "{said:?}");
}

#[test]
fn help_and_version_help() {
    let version = tollgate(["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.out.trim(), format!("tollgate {}", env!("CARGO_PKG_VERSION")));
    let help = tollgate(["--help"]);
    assert_eq!(help.code, Some(0));
    for word in ["serve", "check", "audit", "demo", "Begin with `tollgate demo`"] {
        assert!(help.out.contains(word), "{word} is not in {}", help.out);
    }
    for (command, word) in
        [("serve", "SIGHUP"), ("check", "--diff"), ("audit", "--data-dir"), ("demo", "--dir")]
    {
        let help = tollgate([command, "--help"]);
        assert!(help.code == Some(0) && help.out.contains(word), "{help:?}");
    }
    let nothing = tollgate::<&str>([]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("Usage"), "{nothing:?}");
    let unknown = tollgate(["sreve"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("serve"), "{unknown:?}");
}
