//! What is written for each contestant to read at its start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Lua in nginx, and what it needs.
const LUA_MODULES: [&str; 2] = ["ndk_http_module.so", "ngx_http_lua_module.so"];

/// What the contestants are given to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Requests that are charged as calls.
    Calls,
    /// Streams of a model that are charged as calls and tokens.
    Streams,
}

impl Work {
    /// `tier-limits.toml`.
    pub(super) fn tiers(self) -> &'static str {
        match self {
            Self::Calls => TIERS,
            Self::Streams => STREAM_TIERS,
        }
    }

    fn charge(self) -> &'static str {
        match self {
            Self::Calls => r#"[{ meter = "api_calls" }]"#,
            Self::Streams => {
                r#"[{ meter = "api_calls" }, { meter = "llm_tokens", amount = "llm.total_tokens", hold = 2000 }]"#
            }
        }
    }
}

/// A limit of calls and a hard one of tokens, neither of which is ever reached.
const STREAM_TIERS: &str = r#"default_tier = "bench"

[meters]
api_calls = { unit = "calls" }
llm_tokens = { unit = "tokens" }

[tiers.bench]
[tiers.bench.limits]
api_calls = "1000000000/minute"
llm_tokens = "1000000000000/day"
"#;

/// Three limits on the metered route, none of which is ever reached.
const TIERS: &str = r#"default_tier = "bench"

[meters]
api_calls = { unit = "calls" }

[tiers.bench]
[tiers.bench.limits]
api_calls = ["1000000000/minute", "1000000000/day", "1000000000/month"]
"#;

/// Where a gateway keeps its counters and its ledger, as `store` names it.
pub(super) struct Stores {
    pub(super) counters: String,
    pub(super) ledger: String,
}

impl Stores {
    /// In its memory and beside its journal.
    pub(super) fn of_its_own() -> Self {
        Self { counters: "memory".to_owned(), ledger: "sqlite".to_owned() }
    }
}

/// `gateway.toml`.
pub(super) fn gateway(
    dir: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    work: Work,
    Stores { counters, ledger }: &Stores,
) -> String {
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
store = "{counters}"
[ledger]
store = "{ledger}"

[upstreams.llm]
urls = ["http://{origin}"]

[[routes]]
path = "/api/v1/llm/"
rewrite = "/v1/"
upstream = "llm"
charge = {charge}
"#,
        dir = dir.display(),
        charge = work.charge()
    )
}

/// One worker, which is the only process; nothing logged; connections are never closed for their age; streams pass at once. With a Redis,
/// every request is counted there first.
///
/// # Errors
/// When Redis is to be asked and nginx has no Lua.
pub(super) fn nginx(
    dir: &Path,
    listen: SocketAddr,
    origin: SocketAddr,
    work: Work,
    redis: Option<SocketAddr>,
) -> anyhow::Result<String> {
    let (modules, access) = match redis {
        None => (String::new(), String::new()),
        Some(redis) => {
            let modules = lua_modules().context("nginx has no Lua module")?;
            let load = |module: &str| format!("load_module {};\n", modules.join(module).display());
            (LUA_MODULES.map(load).concat(), access_by_lua(redis))
        }
    };
    let buffering = if work == Work::Streams { "proxy_buffering off;" } else { "" };
    Ok(format!(
        r#"{modules}daemon off;
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
            {access}
            proxy_pass http://llm/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {buffering}
        }}
    }}
}}
"#,
        dir = dir.display()
    ))
}

/// What a limit costs who keeps it in Redis: one command a request over a connection that stays open. The number
/// above which it refuses is never reached.
fn access_by_lua(redis: SocketAddr) -> String {
    format!(
        r#"access_by_lua_block {{
                local key = "calls:" .. (ngx.var.http_x_user_id or "")
                local redis = ngx.socket.tcp()
                redis:settimeout(1000)
                if not redis:connect("{host}", {port}, {{ pool_size = 64 }}) then
                    return ngx.exit(503)
                end
                redis:send("*2\r\n$4\r\nINCR\r\n$" .. #key .. "\r\n" .. key .. "\r\n")
                local answer = redis:receive()
                local used = answer and tonumber(answer:sub(2))
                if not used then
                    return ngx.exit(503)
                end
                redis:setkeepalive(600000, 64)
                if used > 1000000000000 then
                    return ngx.exit(429)
                end
            }}"#,
        host = redis.ip(),
        port = redis.port()
    )
}

/// The folder of nginx's modules, if Lua is among them.
pub(super) fn lua_modules() -> Option<PathBuf> {
    let dirs = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
    dirs.map(PathBuf::from)
        .into_iter()
        .find(|dir| LUA_MODULES.iter().all(|module| dir.join(module).is_file()))
}
