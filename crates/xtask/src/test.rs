//! `cargo xtask test`.

use crate::run::{self, Workspace};
use crate::tools;

/// Installs what is missing and runs all tests; `nextest` goes to `cargo nextest run`.
///
/// # Errors
/// When something cannot be installed or a test fails.
pub(crate) fn run(workspace: &Workspace, nextest: &[String]) -> anyhow::Result<()> {
    prepare(workspace)?;
    doc_tests(workspace)?;
    tests(workspace, nextest)
}

/// Installs what the tests need.
///
/// # Errors
/// When something cannot be installed.
pub(crate) fn prepare(workspace: &Workspace) -> anyhow::Result<()> {
    tools::require_system(workspace, tools::FOR_TESTS)?;
    tools::require_cargo(workspace, "cargo-nextest")
}

/// Unit and integration tests.
///
/// # Errors
/// When one fails.
pub(crate) fn tests(workspace: &Workspace, nextest: &[String]) -> anyhow::Result<()> {
    run::run(workspace.cargo("nextest run --workspace").args(nextest))
}

/// The examples in the documentation.
///
/// # Errors
/// When one fails.
pub(crate) fn doc_tests(workspace: &Workspace) -> anyhow::Result<()> {
    run::run(&mut workspace.cargo("test --doc --workspace"))
}
