//! `tollgate subject`: the table of subjects from the command line.

#![allow(clippy::print_stdout, reason = "a command that prints")]

mod change;
mod overrides;
mod show;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use http::HeaderValue;
use tollgate_config::Config;
use tollgate_ledger::{LedgerOptions, Subject, SubjectTable};

use self::{
    change::{Change, Key},
    overrides::Meaning,
};
use crate::{
    identity,
    serve::{ledger_options, load},
    worker::wall_clock,
};

/// What to do with a row of the table.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set or clear keys; the others stay as they are
    ///
    /// Example: tollgate subject set user ann --tier pro --org acme --time-zone Europe/Berlin
    Set {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        values: Values,
        /// Clear this key; may be given several times
        #[arg(long, value_name = "KEY", value_enum)]
        unset: Vec<Key>,
    },
    /// Show what is set, and what holds where nothing is
    Show {
        #[command(flatten)]
        who: Who,
        /// As one JSON object, as it is set
        #[arg(long)]
        json: bool,
    },
    /// Remove all that is set
    Remove {
        #[command(flatten)]
        who: Who,
    },
}

/// Whose row, and where the table is.
#[derive(Args)]
pub(crate) struct Who {
    /// Whether ID is a user's or an organisation's
    #[arg(value_enum)]
    scope: ScopeName,
    /// As it comes in X-User-Id or X-Org-Id
    id: String,
    /// gateway.toml; names the ledger and the tiers
    #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeName {
    User,
    Org,
}

/// What to set, as it was typed.
#[derive(Args)]
pub(crate) struct Values {
    /// A tier of tier-limits.toml; a user without one has the organisation's, or else default_tier
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// The user's organisation, for requests without X-Org-Id
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// Whose midnights days, weeks and months begin at, such as Europe/Berlin; UTC if not set
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The day that billing months and Ndays are counted from, such as 2026-01-31, or an instant, such as
    /// 2026-01-31T15:04:05Z; a month that lacks the day begins on its last
    #[arg(long, value_name = "DATE")]
    billing_anchor: Option<String>,
    /// Limits that hold instead of the tier's, such as llm_tokens=5000/day, api_calls=unlimited or
    /// api_calls=10/minute,100/day; with nothing behind the =, the tier's hold again. May be given several times
    #[arg(long = "override", value_name = "METER=LIMIT")]
    limits: Vec<String>,
    /// The last day, in UTC, that each --override given with it holds, such as 2026-12-31, or the instant when it ends
    #[arg(long, value_name = "DATE")]
    override_until: Option<String>,
    /// All overrides at once, as one JSON object: {"llm_tokens": {"limit": "5000/day", "grace": "10%"}}
    #[arg(long, value_name = "JSON")]
    overrides: Option<String>,
}

/// Does it; whether there was no mistake. Mistakes are printed, all of them.
pub(crate) fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Set { who, values, unset } => set(&who, &values, &unset),
        Command::Show { who, json } => show(&who, json),
        Command::Remove { who } => remove(&who),
    }
}

fn set(who: &Who, values: &Values, unset: &[Key]) -> anyhow::Result<bool> {
    let config = load(&who.config)?;
    let mut mistakes = Vec::new();
    let subject = who.subject(&mut mistakes);
    let meaning = Meaning { config: &config, is_org: who.scope == ScopeName::Org };
    let change = Change::read(meaning, values, unset, &mut mistakes);
    let (Some(subject), Some(change), true) = (subject, change, mistakes.is_empty()) else {
        return Ok(told(&mistakes));
    };
    let options = ledger_options(&config.gateway)?;
    if let LedgerOptions::Sqlite { path } = &options
        && let Some(dir) = path.parent()
    {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let mut table = open(&options)?;
    let zone = change.zone_elsewhere(&table, &subject)?;
    let row =
        table.edit(&subject, wall_clock(), |row| change.apply(row, zone)).context("nothing was changed")?;
    print!("{}", show::text(&subject, Some(&row), &table, meaning)?);
    println!("a gateway that runs takes this up within a second");
    Ok(true)
}

fn show(who: &Who, json: bool) -> anyhow::Result<bool> {
    let Some((subject, config, table)) = who.existing()? else { return Ok(false) };
    let row = match &table {
        Some(table) => table.get(&subject)?,
        None => None,
    };
    match (&table, json) {
        (_, true) => println!("{:#}", show::json(&subject, row.as_ref())),
        (Some(table), false) => {
            let meaning = Meaning { config: &config, is_org: who.scope == ScopeName::Org };
            print!("{}", show::text(&subject, row.as_ref(), table, meaning)?);
        }
        (None, false) => println!("{}: nothing is set; there is no ledger yet", show::name(&subject)),
    }
    Ok(true)
}

fn remove(who: &Who) -> anyhow::Result<bool> {
    let Some((subject, _, table)) = who.existing()? else { return Ok(false) };
    let removed = match table {
        Some(mut table) => table.remove(&subject)?,
        None => false,
    };
    let what = if removed {
        "removed; a gateway that runs takes this up within a second"
    } else {
        "nothing was set"
    };
    println!("{}: {what}", show::name(&subject));
    Ok(true)
}

impl Who {
    /// A subject whose id some request can have.
    fn subject(&self, mistakes: &mut Vec<String>) -> Option<Subject> {
        let id = valid_id("the id", &self.id, mistakes)?;
        Some(match self.scope {
            ScopeName::User => Subject::User(id),
            ScopeName::Org => Subject::Org(id),
        })
    }

    /// The subject and the table, which is not made for a look at it; none after a mistake.
    fn existing(&self) -> anyhow::Result<Option<(Subject, Config, Option<SubjectTable>)>> {
        let config = load(&self.config)?;
        let mut mistakes = Vec::new();
        let Some(subject) = self.subject(&mut mistakes) else {
            told(&mistakes);
            return Ok(None);
        };
        let options = ledger_options(&config.gateway)?;
        let table = if exists(&options) { Some(open(&options)?) } else { None };
        Ok(Some((subject, config, table)))
    }
}

fn exists(options: &LedgerOptions) -> bool {
    match options {
        LedgerOptions::Sqlite { path } => Path::exists(path),
        LedgerOptions::Postgres(_) => true,
    }
}

fn open(options: &LedgerOptions) -> anyhow::Result<SubjectTable> {
    SubjectTable::open(options).context("cannot open the table of subjects")
}

/// Prints mistakes; false, as there were some.
fn told(mistakes: &[String]) -> bool {
    for mistake in mistakes {
        println!("{mistake}");
    }
    false
}

fn valid_id(what: &str, id: &str, mistakes: &mut Vec<String>) -> Option<String> {
    if HeaderValue::try_from(id).is_ok_and(|value| identity::is_valid(value.as_bytes())) {
        return Some(id.to_owned());
    }
    mistakes.push(format!(
        "{what} {id:?} can be in no request: write 1 to 256 printable ASCII characters without spaces and without \
         , ; \" ' \\ < > ` ( ) {{ }}"
    ));
    None
}
