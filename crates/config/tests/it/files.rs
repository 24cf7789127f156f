//! Reading the files themselves.

use std::{fs, path::Path};

use tollgate_config::{load, read_sources};

use crate::{GATEWAY, TIERS};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gateway.toml"), GATEWAY).unwrap();
    fs::write(folder.path().join("tier-limits.toml"), TIERS).unwrap();
    folder
}

fn mistakes(gateway_toml: &Path, folder: &Path) -> Vec<String> {
    let mistakes = load(gateway_toml).expect_err("there are mistakes");
    mistakes
        .iter()
        .map(|mistake| mistake.to_string().replace(&format!("{}/", folder.display()), ""))
        .collect()
}

#[test]
fn the_examples_of_the_repository_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = load(&root.join("gateway.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let upstreams: Vec<_> = config.gateway.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(upstreams, ["llm", "memory", "documents"]);
    assert!(config.gateway.upstreams.iter().all(|upstream| upstream.health.is_some()));
    let tiers: Vec<_> = config.plans.tiers.iter().map(|tier| &*tier.name).collect();
    assert_eq!(tiers, ["free_trial", "starter", "professional", "enterprise"]);
}

#[test]
fn the_commented_keys_of_the_example_are_the_defaults() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = read_sources(&root.join("gateway.toml")).unwrap();
    let written = tollgate_config::parse(&sources).unwrap().gateway;
    let optional =
        ["workers", "tls", "signature", "url_env", "password_env", "total_timeout", "ca", "[upstreams"];
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if optional.iter().any(|key| rest.starts_with(key)) => line.to_owned(),
        Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = sources.gateway.text.lines().map(uncomment).collect();
    assert!(text.iter().filter(|line| !line.starts_with('#')).count() > 80, "nothing was uncommented");
    sources.gateway.text = text.join("\n");
    let uncommented =
        tollgate_config::parse(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).gateway;
    assert_eq!(uncommented, written);
}

#[test]
fn relative_paths_are_relative_to_the_folder_of_the_gateway_file() {
    let folder = folder();
    let text = format!(
        "tiers = \"plans/tiers.toml\"\ndata_dir = \"/var/lib/tollgate\"\n[listen]\ntls = {{ cert = \"c.pem\", key = \"k.pem\" }}\n{GATEWAY}"
    );
    fs::write(folder.path().join("gateway.toml"), text).unwrap();
    fs::create_dir(folder.path().join("plans")).unwrap();
    fs::rename(folder.path().join("tier-limits.toml"), folder.path().join("plans/tiers.toml")).unwrap();
    let gateway = load(&folder.path().join("gateway.toml")).unwrap().gateway;
    assert_eq!(gateway.tiers_path, folder.path().join("plans/tiers.toml"));
    assert_eq!(gateway.data_dir, Path::new("/var/lib/tollgate"));
    assert_eq!(gateway.listen.tls.unwrap().key, folder.path().join("k.pem"));
}

#[test]
fn sources_are_equal_until_something_changes() {
    let folder = folder();
    let path = folder.path().join("gateway.toml");
    let before = read_sources(&path).unwrap();
    assert_eq!(before, read_sources(&path).unwrap());
    fs::write(folder.path().join("tier-limits.toml"), format!("{TIERS}\n")).unwrap();
    assert_ne!(before, read_sources(&path).unwrap());
}

#[test]
fn files_that_cannot_be_read_are_mistakes() {
    let folder = folder();
    let path = folder.path().join("gateway.toml");
    let missing = mistakes(&folder.path().join("nothing.toml"), folder.path());
    assert_eq!(
        missing,
        [
            "nothing.toml: cannot be read: No such file or directory (os error 2); check the path and its permissions"
        ]
    );
    assert_eq!(
        load(folder.path()).unwrap_err().to_string(),
        format!("{}: is not a file; name a regular file", folder.path().display())
    );
    for (bytes, mistake) in [
        (vec![b'#'; (1 << 20) + 1], "is larger than 1 MiB; name a smaller file"),
        (b"# one\n# \xff\n".to_vec(), "is not UTF-8 in line 2; save it as UTF-8"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(mistakes(&path, folder.path()), [format!("gateway.toml: {mistake}")]);
    }
}

#[test]
fn a_missing_tiers_file_is_reported_with_the_mistakes_of_the_gateway_file() {
    let folder = folder();
    let path = folder.path().join("gateway.toml");
    let text = GATEWAY.replace("\"llm\"", "\"lmm\"");
    fs::write(&path, format!("enforcement = \"observe\"\ntiers = \"tirs.toml\"\n{text}")).unwrap();
    assert_eq!(
        mistakes(&path, folder.path()),
        [
            "gateway.toml:2:9: tiers: tirs.toml: cannot be read: No such file or directory (os error 2); \
             check the path and its permissions",
            r#"gateway.toml:7:12: routes[0].upstream: no upstream is called "lmm"; did you mean "llm"?"#,
        ]
    );
}
