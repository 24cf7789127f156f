//! `cargo xtask ci`: everything a change has to pass.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::run::{self, Workspace, succeeds};
use crate::{test, tools};

struct Step {
    name: &'static str,
    run: fn(&Workspace) -> anyhow::Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: |workspace| run::run(&mut workspace.cargo("fmt --all --check")) },
    Step { name: "clippy", run: clippy },
    Step { name: "docs", run: docs },
    Step { name: "deny", run: deny },
    Step { name: "test tools", run: test::prepare },
    Step { name: "doc tests", run: test::doc_tests },
    Step { name: "tests", run: |workspace| test::tests(workspace, &[]) },
];

/// Runs every step; the first that fails is the last.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for step in STEPS {
        println!("\n== {}", step.name);
        let begun = Instant::now();
        let result = (step.run)(workspace);
        done.push((step.name, begun.elapsed()));
        if result.is_err() {
            summarise(&done, Some(step.name));
        }
        result.with_context(|| format!("step `{}` failed", step.name))?;
    }
    summarise(&done, None);
    Ok(())
}

fn summarise(done: &[(&str, Duration)], failed: Option<&str>) {
    println!("\n== summary");
    for step in STEPS {
        let took = done.iter().find(|(name, _)| *name == step.name).map(|(_, took)| took);
        let verdict = if failed == Some(step.name) { "FAILED" } else { "ok" };
        match took {
            Some(took) => println!("{:<12} {verdict:<8} {:>6} s", step.name, took.as_secs()),
            None => println!("{:<12} not run", step.name),
        }
    }
}

fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    run::run(&mut workspace.cargo("clippy --workspace --all-targets -- -D warnings"))
}

fn docs(workspace: &Workspace) -> anyhow::Result<()> {
    run::run(workspace.cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Advisories come from a database on the net; without the net the other checks still count.
fn deny(workspace: &Workspace) -> anyhow::Result<()> {
    tools::require_cargo(workspace, "cargo-deny")?;
    if succeeds(&mut workspace.cargo("deny fetch db")) {
        return run::run(&mut workspace.cargo("deny --workspace check --hide-inclusion-graph"));
    }
    println!("NOT CHECKED: advisories. Their database cannot be fetched from here; the other checks run.");
    run::run(&mut workspace.cargo("deny --workspace check --hide-inclusion-graph bans licenses sources"))
}
