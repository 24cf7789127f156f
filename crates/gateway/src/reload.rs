//! Reloading: files that change on disk take effect, whole or not at all.
//!
//! Files are looked at by their contents, [`POLL`] apart. Of all ways to watch a file it is the one that
//! sees every way to change it: in place, by rename, by the swap of a `..data` symlink as Kubernetes
//! does, on network file systems, and through bind mounts that inotify does not see.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use tollgate_config::{Config, Mistakes, Sources, TlsFiles, diff, parse, read_sources};

use crate::{listener::ServerTls, live::Live, shared::Shared, upstream::HealthChecks};

/// From one look to the next. A change takes effect at the second look that sees it the same, so that a
/// file is not read while it is being written.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// Watches the configuration and the certificates that it names.
pub(crate) struct Reloader {
    shared: Arc<Shared>,
    path: PathBuf,
    /// What was last put in force or rejected.
    decided: Result<Sources, Mistakes>,
    /// What was seen at the last look, if it was not decided on.
    pending: Option<Result<Sources, Mistakes>>,
    tls: Option<ServerTls>,
    certificate: Option<[Vec<u8>; 2]>,
    /// What the upstreams' `ca` files have in them.
    authorities: Vec<Option<Vec<u8>>>,
    /// What they had at the last look, if that was not decided on.
    authorities_pending: Option<Vec<Option<Vec<u8>>>>,
    health: HealthChecks,
}

impl Reloader {
    pub(crate) fn new(shared: &Arc<Shared>, path: PathBuf, sources: Sources, tls: Option<ServerTls>) -> Self {
        let mut health = HealthChecks::default();
        health.follow(&shared.live().upstreams);
        let certificate = shared.live().gateway().listen.tls.as_ref().and_then(read_pair);
        let authorities = read_authorities(&shared.live());
        Self {
            shared: Arc::clone(shared),
            path,
            decided: Ok(sources),
            pending: None,
            tls,
            certificate,
            authorities,
            authorities_pending: None,
            health,
        }
    }

    /// Looks once. `now` decides on a change at its first sight.
    pub(crate) fn look(&mut self, now: bool) {
        self.look_at_certificate();
        self.look_at_authorities();
        let seen = read_sources(&self.path);
        if seen == self.decided {
            self.pending = None;
            return;
        }
        if !now && self.pending.as_ref() != Some(&seen) {
            self.pending = Some(seen);
            return;
        }
        self.pending = None;
        let result = match &seen {
            Ok(sources) => parse(sources).map_err(|mistakes| mistakes.to_string()),
            Err(mistakes) => Err(mistakes.to_string()),
        };
        self.decided = seen;
        if let Err(why) = result.and_then(|config| self.apply(config)) {
            self.reject(why);
        }
    }

    fn apply(&mut self, config: Config) -> Result<(), String> {
        let before = self.shared.live();
        warn_of_restart(&before, &config);
        let changes = diff(before.plans(), &config.plans);
        let live =
            Live::compile(config, Some(&before), &self.shared.meters).map_err(|error| error.to_string())?;
        self.health.follow(&live.upstreams);
        self.authorities = read_authorities(&live);
        self.shared.set_live(live);
        self.shared.reload_error.store(Arc::new(None));
        self.shared.metrics.reloads_applied.increment(1);
        self.shared.metrics.config_valid.set(1.0);
        tracing::info!(changes = changes.len(), "configuration reloaded");
        for change in changes {
            tracing::info!(%change, "tier changed");
        }
        Ok(())
    }

    fn reject(&self, why: String) {
        tracing::error!(mistakes = %why, "configuration not reloaded: what was in force stays in force");
        self.shared.reload_error.store(Arc::new(Some(why)));
        self.shared.metrics.reloads_rejected.increment(1);
        self.shared.metrics.config_valid.set(0.0);
    }

    /// New authorities need a configuration compiled anew, even if its text is the same.
    fn look_at_authorities(&mut self) {
        let seen = read_authorities(&self.shared.live());
        if seen == self.authorities {
            return;
        }
        if self.authorities_pending.as_ref() != Some(&seen) {
            self.authorities_pending = Some(seen);
            return;
        }
        // While the configuration on disk is not good, the authorities wait for one that is.
        let Ok(Ok(config)) = self.decided.as_ref().map(parse) else { return };
        self.authorities = seen;
        if let Err(why) = self.apply(config) {
            self.reject(why);
        }
    }

    fn look_at_certificate(&mut self) {
        let live = self.shared.live();
        let (Some(tls), Some(files)) = (&self.tls, &live.gateway().listen.tls) else { return };
        let seen = read_pair(files);
        if seen.is_none() || seen == self.certificate {
            return;
        }
        match tls.reload(files) {
            Ok(()) => tracing::info!("certificate reloaded"),
            Err(error) => tracing::error!(%error, "certificate not reloaded: the one in use stays in use"),
        }
        self.certificate = seen;
    }
}

fn read_pair(files: &TlsFiles) -> Option<[Vec<u8>; 2]> {
    Some([fs::read(&files.cert).ok()?, fs::read(&files.key).ok()?])
}

fn read_authorities(live: &Live) -> Vec<Option<Vec<u8>>> {
    let files = live.upstreams.iter().filter_map(|upstream| upstream.settings.ca.as_ref());
    files.map(|path| fs::read(path).ok()).collect()
}

/// Some things are decided once, when the process starts.
fn warn_of_restart(before: &Live, config: &Config) {
    let (old, new) = (before.gateway(), &config.gateway);
    let fixed = [
        ("listen.address", old.listen.address != new.listen.address),
        ("listen.tls", old.listen.tls.is_some() != new.listen.tls.is_some()),
        ("admin", old.admin != new.admin),
        ("data_dir", old.data_dir != new.data_dir),
        ("durability", old.durability != new.durability),
        ("workers", old.workers != new.workers),
        ("counters", old.counters != new.counters),
        ("ledger", old.ledger != new.ledger),
        ("journal", old.journal != new.journal),
        ("log", old.log != new.log),
    ];
    for (key, _) in fixed.into_iter().filter(|(_, changed)| *changed) {
        tracing::warn!(key, "changed on disk, takes effect after a restart");
    }
}
