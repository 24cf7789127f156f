//! `cargo xtask bench`.

use std::path::PathBuf;

use crate::run::{self, Workspace};

/// Builds what is compared as it is released, and compares it.
///
/// # Errors
/// When a build fails, or the bench does.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<()> {
    run::run(&mut workspace.cargo("build --release --package tollgate --bin tollgate"))?;
    run::run(workspace.command(driver(workspace)?).args(args))
}

/// Builds the bench's own program.
///
/// # Errors
/// When the build fails.
pub(crate) fn driver(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    run::run(&mut workspace.cargo("build --release --package tollgate-benches"))?;
    Ok(workspace.target().join("release/tollgate-benches"))
}
