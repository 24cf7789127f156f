//! The texts of both files, read once.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use crate::{
    Mistake, Mistakes, gateway,
    report::{Flaw, Report},
};

/// Largest file that is read: a hundred times a large plan, and small enough to parse in a blink while
/// requests are served.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as mistakes name it.
    pub path: PathBuf,
    /// All of its text.
    pub text: String,
}

/// Both files as they were read; equal when nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// `gateway.toml`.
    pub gateway: Source,
    /// The tiers file that it names.
    pub tiers: Source,
}

/// Reads `gateway.toml` and the tiers file that it names, and looks no further into them.
///
/// # Errors
/// A file that is missing, no regular file, larger than 1 MiB or not UTF-8. If it is the tiers file, the
/// mistakes of `gateway.toml` are reported with it.
pub fn read_sources(gateway_toml: &Path) -> Result<Sources, Mistakes> {
    let text = read(gateway_toml).map_err(|flaw| {
        Mistakes::of(vec![Mistake {
            file: gateway_toml.display().to_string(),
            at: None,
            key: String::new(),
            message: flaw.message,
            suggestion: flaw.suggestion,
        }])
    })?;
    let gateway = Source { path: gateway_toml.to_owned(), text };
    let path = tiers_path(&gateway);
    match read(&path) {
        Ok(text) => Ok(Sources { gateway, tiers: Source { path, text } }),
        Err(flaw) => Err(unreadable_tiers(&gateway, &path, flaw)),
    }
}

/// The mistakes of `gateway.toml`, and that the tiers file cannot be read.
fn unreadable_tiers(gateway: &Source, path: &Path, flaw: Flaw) -> Mistakes {
    let report = Report::new(&gateway.path, &gateway.text);
    let tree = report.tree();
    if let Some(tree) = &tree {
        gateway::read(&report, tree, &gateway.path, None);
        let entry = tree.get_ref().get("tiers");
        let message = format!("{}: {}", path.display(), flaw.message);
        let span = entry.map_or(0..0, toml::Spanned::span);
        report.mistake("tiers", span, Flaw { message, ..flaw });
    }
    Mistakes::of(report.into_mistakes())
}

/// The tiers file that `gateway.toml` names, as far as it can be read.
fn tiers_path(gateway: &Source) -> PathBuf {
    let (tree, _) = DeTable::parse_recoverable(&gateway.text);
    let named = tree.get_ref().get("tiers").and_then(|value| value.get_ref().as_str());
    gateway::beside(&gateway.path, named.unwrap_or(gateway::TIERS_DEFAULT))
}

fn read(path: &Path) -> Result<String, Flaw> {
    let unreadable = |error: std::io::Error| {
        Flaw::new(format!("cannot be read: {error}"), "check the path and its permissions")
    };
    // Opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Flaw::new("is not a file", "name a regular file"));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Flaw::new("is larger than 1 MiB", "name a smaller file"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        Flaw::new(format!("is not UTF-8 in line {line}"), "save it as UTF-8")
    })
}
