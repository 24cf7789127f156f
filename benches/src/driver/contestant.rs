//! Who is compared, and the configuration each is given.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::Options;
use super::configuration::{self, Stores, Work};
use super::proc::{find_program, free_address};
use super::servers::Servers;
use super::stage::Launch;

/// The kinds of proxy the bench knows how to start.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The gateway, on a metered route with three limits.
    Tollgate,
    /// Bare hyper, nothing metered.
    Yardstick,
    /// nginx with `proxy_pass` and upstream keep-alive.
    Nginx,
    /// As `Tollgate`, with the ledger in Postgres.
    TollgatePostgres,
    /// As `TollgatePostgres`, with counters in Redis that any number of gateways share.
    TollgateLeases,
    /// As `Nginx`, with Lua that asks Redis to count every request.
    NginxLua,
}

impl Kind {
    /// Whether it keeps something where other instances of it see it.
    pub(super) fn is_shared(self) -> bool {
        match self {
            Self::Tollgate | Self::Yardstick | Self::Nginx => false,
            Self::TollgatePostgres | Self::TollgateLeases | Self::NginxLua => true,
        }
    }
}

/// One line of the table.
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) kind: Kind,
    program: PathBuf,
}

/// Those that are installed, in the order of the table; says which are left out.
pub(super) fn present(options: &Options) -> anyhow::Result<Vec<Contestant>> {
    let own = std::env::current_exe()?;
    let tollgate = options.tollgate.clone().unwrap_or_else(|| own.with_file_name("tollgate"));
    let nginx = || find_program("nginx");
    let mut all = vec![(Kind::Yardstick, "yardstick", Some(own))];
    let shared = options.shared || options.only.iter().any(|kind| kind.is_shared());
    if !options.shared {
        all.push((Kind::Nginx, "nginx", nginx()));
    }
    all.push((Kind::Tollgate, "tollgate", Some(tollgate.clone())));
    if let Some(pgo) = &options.pgo {
        all.push((Kind::Tollgate, "tollgate-pgo", Some(pgo.clone())));
    }
    if shared {
        all.push((Kind::TollgatePostgres, "tollgate-postgres", Some(tollgate.clone())));
        all.push((Kind::TollgateLeases, "tollgate-leases", Some(tollgate)));
        all.push((Kind::NginxLua, "nginx-lua", configuration::lua_modules().and_then(|_| nginx())));
    }

    let mut present = Vec::new();
    for (kind, name, program) in all {
        if !options.only.is_empty() && !options.only.contains(&kind) {
            continue;
        }
        match program {
            _ if options.instructions && kind == Kind::TollgateLeases => {
                println!(
                    "{name} is left out: under callgrind, Redis's answers come later than it waits for them"
                );
            }
            Some(program) if program.is_file() => present.push(Contestant::new(kind, name, program)),
            Some(program) => println!("{name} is left out: there is no {}", program.display()),
            None => println!("{name} is left out: apt-get install -y nginx libnginx-mod-http-lua"),
        }
    }
    ensure!(!present.is_empty(), "nothing to compare");
    Ok(present)
}

impl Contestant {
    pub(super) fn new(kind: Kind, name: &str, program: PathBuf) -> Self {
        Self { name: name.to_owned(), kind, program }
    }

    /// Writes what the proxy reads at its start into `dir`.
    pub(super) fn launch(
        &self,
        dir: &Path,
        listen: SocketAddr,
        origin: SocketAddr,
        work: Work,
        servers: Option<&Servers>,
    ) -> anyhow::Result<Launch> {
        let program = self.program.canonicalize()?;
        let write = |name: &str, text: String| -> anyhow::Result<String> {
            let path = dir.join(name);
            std::fs::write(&path, text)?;
            path.into_os_string().into_string().ok().context("the temporary directory's path is not UTF-8")
        };
        let servers = || servers.context("this kind needs --shared");
        let tollgate = |stores: &Stores| -> anyhow::Result<_> {
            let admin = free_address()?;
            write("tier-limits.toml", work.tiers().to_owned())?;
            let text = configuration::gateway(dir, listen, admin, origin, work, stores);
            let config = write("gateway.toml", text)?;
            Ok((vec!["serve".to_owned(), config], vec![("TOLLGATE_ADMIN_TOKEN", "bench")], Some(admin)))
        };
        let nginx = |redis: Option<SocketAddr>| -> anyhow::Result<_> {
            let config = write("nginx.conf", configuration::nginx(dir, listen, origin, work, redis)?)?;
            Ok((vec!["-c".to_owned(), config, "-p".to_owned(), dir.display().to_string()], Vec::new(), None))
        };
        let mut redis = None;
        let (args, env, readyz) = match self.kind {
            Kind::Tollgate => tollgate(&Stores::of_its_own())?,
            Kind::TollgatePostgres => tollgate(&servers()?.postgres())?,
            Kind::TollgateLeases => {
                redis = Some(servers()?.leases());
                tollgate(&servers()?.redis_and_postgres())?
            }
            Kind::Yardstick => {
                let (listen, origin) = (listen.to_string(), origin.to_string());
                let args = ["yardstick", "--listen", &listen, "--upstream", &origin];
                (args.map(str::to_owned).to_vec(), Vec::new(), None)
            }
            Kind::Nginx => nginx(None)?,
            Kind::NginxLua => {
                redis = Some(servers()?.lua());
                nginx(redis)?
            }
        };
        Ok(Launch { program, args, env, readyz, redis })
    }
}
