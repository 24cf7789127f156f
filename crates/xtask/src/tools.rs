//! Programs that chores need, and how each is installed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::run::{Workspace, run, succeeds};

/// A program and the apt package that brings it.
pub(crate) struct SystemTool {
    program: &'static str,
    package: &'static str,
}

/// What the tests start besides what the workspace builds.
pub(crate) const FOR_TESTS: &[SystemTool] = &[
    SystemTool { program: "python3", package: "python3" },
    SystemTool { program: "curl", package: "curl" },
    SystemTool { program: "initdb", package: "postgresql" },
    SystemTool { program: "redis-server", package: "redis-server" },
];

/// Where Debian keeps Postgres's programs, in a folder per version.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Installs, with apt, those that are missing.
///
/// # Errors
/// When something is missing and this user may not install it; the error is the command to type.
pub(crate) fn require_system(workspace: &Workspace, tools: &[SystemTool]) -> anyhow::Result<()> {
    let missing = tools.iter().filter(|tool| find(tool.program).is_none());
    let packages: Vec<&str> = missing.map(|tool| tool.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let packages = packages.join(" ");
    let by_hand = format!("apt-get update && apt-get install -y {packages}");
    if find("apt-get").is_none() {
        bail!("the tests need {packages}, and there is no apt-get to install them with");
    }
    let Some(prefix) = root_prefix() else {
        bail!("the tests need {packages}; as root, run: {by_hand}");
    };
    println!("installing {packages}");
    run(&mut apt(workspace, prefix, "update"))?;
    run(&mut apt(workspace, prefix, &format!("install -y {packages}")))
}

/// Installs a cargo subcommand from its crate when it is missing.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn require_cargo(workspace: &Workspace, crate_name: &str) -> anyhow::Result<()> {
    if find(crate_name).is_some() {
        return Ok(());
    }
    println!("installing {crate_name}");
    run(&mut workspace.cargo(&format!("install {crate_name} --locked")))
}

/// Where a program is found: the `PATH`, cargo's own directory, Postgres's.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo_bin = std::env::home_dir().map(|home| home.join(".cargo/bin"));
    let versions = std::fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().filter_map(Result::ok);
    std::env::split_paths(&path)
        .chain(cargo_bin)
        .chain(versions.map(|version| version.path().join("bin")))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// What makes a command run as root: nothing, or sudo where it asks no password.
fn root_prefix() -> Option<&'static [&'static str]> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout.trim_ascii() == b"0" {
        return Some(&[]);
    }
    succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "-n"])
}

fn apt(workspace: &Workspace, prefix: &[&str], args: &str) -> Command {
    let words = prefix.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    let mut words = words.chain(args.split_whitespace());
    let mut command = workspace.command(words.next().unwrap_or("env"));
    command.args(words);
    command
}
