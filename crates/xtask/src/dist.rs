//! `cargo xtask dist`: the release build, guided by the profile of a bench run.
//!
//! instrumented build → bench load → merge → build with the profile → `target/dist/tollgate`. Both builds name their
//! target explicitly, so that the flags reach the program but not build scripts and procedural macros.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::bench;
use crate::run::{self, Workspace, output};
use crate::tools;

/// Builds `target/dist/tollgate`.
///
/// # Errors
/// When there is no `llvm-profdata` of the toolchain's LLVM, a build fails, or training leaves no profile.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let toolchain = Toolchain::ask(workspace)?;
    let profdata_tool = toolchain.profdata_tool()?;
    println!("merging with {}", profdata_tool.display());

    let scratch = workspace.target().join("pgo");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    let raw = scratch.join("raw");
    fs::create_dir_all(&raw)?;

    let instrumented = build(workspace, &toolchain.host, &scratch.join("generate"), "-Cprofile-generate")?;
    let train = bench::driver(workspace)?;
    let mut train = workspace.command(train);
    train.arg("train").arg("--binary").arg(&instrumented);
    run::run(train.arg("--profile").arg(raw.join("%m-%p.profraw")))?;

    let merged = scratch.join("tollgate.profdata");
    let profiles = files_in(&raw)?;
    ensure!(!profiles.is_empty(), "the instrumented build wrote no profile to {}", raw.display());
    run::run(workspace.command(&profdata_tool).args(["merge", "--output"]).arg(&merged).args(&profiles))?;

    let flags = format!("-Cprofile-use={}", merged.to_str().context("the target directory is not UTF-8")?);
    let guided = build(workspace, &toolchain.host, &scratch.join("use"), &flags)?;
    let dist = workspace.target().join("dist");
    fs::create_dir_all(&dist)?;
    let program = dist.join("tollgate");
    fs::copy(guided, &program)?;
    println!("built {}", program.display());
    Ok(())
}

fn build(workspace: &Workspace, host: &str, target_dir: &Path, flags: &str) -> anyhow::Result<PathBuf> {
    println!("RUSTFLAGS={flags}");
    let mut build = workspace.cargo("build --release --package tollgate --bin tollgate --target");
    build.arg(host).arg("--target-dir").arg(target_dir);
    run::run(build.env("CARGO_ENCODED_RUSTFLAGS", flags))?;
    Ok(target_dir.join(host).join("release/tollgate"))
}

fn files_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

/// The compiler that builds the workspace.
struct Toolchain {
    host: String,
    llvm_major: u32,
    sysroot: PathBuf,
}

impl Toolchain {
    fn ask(workspace: &Workspace) -> anyhow::Result<Self> {
        let version = output(workspace.command("rustc").arg("-vV"))?;
        let host =
            version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        let sysroot = output(workspace.command("rustc").args(["--print", "sysroot"]))?;
        let llvm_major = llvm_major(&version).context("rustc names no LLVM version")?;
        Ok(Self { host: host.to_owned(), llvm_major, sysroot: sysroot.into() })
    }

    /// The toolchain's own, or one of the same LLVM: the format of raw profiles differs from one to the next.
    fn profdata_tool(&self) -> anyhow::Result<PathBuf> {
        let Self { host, llvm_major: major, sysroot } = self;
        let own = sysroot.join(format!("lib/rustlib/{host}/bin/llvm-profdata"));
        let on_path = [format!("llvm-profdata-{major}"), "llvm-profdata".to_owned()];
        let candidates = std::iter::once(own).chain(on_path.iter().filter_map(|name| tools::find(name)));
        for candidate in candidates.filter(|file| file.is_file()) {
            // Old ones do not know the option, and are not the one that is looked for.
            let version = output(Command::new(&candidate).arg("--version")).unwrap_or_default();
            if llvm_major(&version) == Some(*major) {
                return Ok(candidate);
            }
            println!("{} is of another LLVM than rustc's {major}", candidate.display());
        }
        bail!(
            "no llvm-profdata of LLVM {major} found; install one with `rustup component add llvm-tools`, \
             or with `apt-get install llvm-{major}` where that package exists"
        )
    }
}

/// The major number in "LLVM version: 22.1.2" or "LLVM version 22.1.2".
fn llvm_major(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("LLVM version")?;
    let rest = rest.trim_start_matches([':', ' ']);
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::llvm_major;

    #[test]
    fn the_llvm_version_is_read_from_rustc_and_from_llvm() {
        assert_eq!(llvm_major("release: 1.95.0\nLLVM version: 22.1.2"), Some(22));
        assert_eq!(llvm_major("Debian LLVM version 14.0.6\n  Optimized build."), Some(14));
        assert_eq!(
            llvm_major("LLVM (http://llvm.org/):\n  LLVM version 22.1.2-rust-1.95.0-stable"),
            Some(22)
        );
        assert_eq!(llvm_major("nothing"), None);
    }
}
