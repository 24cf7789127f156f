//! Who is compared, and the configuration each is given.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::Options;
use super::proc::{find_program, free_address};
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
    let mut all =
        vec![(Kind::Yardstick, "yardstick", Some(own)), (Kind::Nginx, "nginx", find_program("nginx"))];
    all.push((Kind::Tollgate, "tollgate", Some(tollgate)));
    if let Some(pgo) = &options.pgo {
        all.push((Kind::Tollgate, "tollgate-pgo", Some(pgo.clone())));
    }

    let mut present = Vec::new();
    for (kind, name, program) in all {
        if !options.only.is_empty() && !options.only.contains(&kind) {
            continue;
        }
        match program {
            Some(program) if program.is_file() => present.push(Contestant::new(kind, name, program)),
            Some(program) => println!("{name} is left out: there is no {}", program.display()),
            None => println!("{name} is left out: it is not installed"),
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
    ) -> anyhow::Result<Launch> {
        let program = self.program.canonicalize()?;
        let write = |name: &str, text: String| -> anyhow::Result<String> {
            let path = dir.join(name);
            std::fs::write(&path, text)?;
            path.into_os_string().into_string().ok().context("the temporary directory's path is not UTF-8")
        };
        let (args, env, readyz) = match self.kind {
            Kind::Tollgate => {
                let admin = free_address()?;
                write("tier-limits.toml", TIERS.to_owned())?;
                let config = write("gateway.toml", gateway_toml(dir, listen, admin, origin))?;
                (vec!["serve".to_owned(), config], vec![("TOLLGATE_ADMIN_TOKEN", "bench")], Some(admin))
            }
            Kind::Yardstick => {
                let (listen, origin) = (listen.to_string(), origin.to_string());
                let args = ["yardstick", "--listen", &listen, "--upstream", &origin];
                (args.map(str::to_owned).to_vec(), Vec::new(), None)
            }
            Kind::Nginx => {
                let config = write("nginx.conf", nginx_conf(dir, listen, origin))?;
                (vec!["-c".to_owned(), config, "-p".to_owned(), dir.display().to_string()], Vec::new(), None)
            }
        };
        Ok(Launch { program, args, env, readyz })
    }
}

/// Three limits on the metered route, none of which is ever reached.
const TIERS: &str = r#"default_tier = "bench"

[meters]
api_calls = { unit = "calls" }

[tiers.bench]
[tiers.bench.limits]
api_calls = ["1000000000/minute", "1000000000/day", "1000000000/month"]
"#;

fn gateway_toml(dir: &Path, listen: SocketAddr, admin: SocketAddr, origin: SocketAddr) -> String {
    format!(
        r#"tiers = "tier-limits.toml"
data_dir = "{dir}/data"
durability = "process"

[listen]
address = "{listen}"
[admin]
address = "{admin}"
token_env = "TOLLGATE_ADMIN_TOKEN"

[identity]
trusted_peers = ["127.0.0.0/8", "::1/128"]
user = "X-User-Id"
tier = "X-User-Tier"

[counters]
store = "memory"
[ledger]
store = "sqlite"

[upstreams.llm]
urls = ["http://{origin}"]

[[routes]]
path = "/api/v1/llm/"
rewrite = "/v1/"
upstream = "llm"
charge = [{{ meter = "api_calls" }}]
"#,
        dir = dir.display()
    )
}

/// One worker, which is the only process; nothing logged; connections are never closed for their age.
fn nginx_conf(dir: &Path, listen: SocketAddr, origin: SocketAddr) -> String {
    format!(
        r#"daemon off;
master_process off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000000;
    upstream llm {{
        server {origin};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen};
        location /api/v1/llm/ {{
            proxy_pass http://llm/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"#,
        dir = dir.display()
    )
}
