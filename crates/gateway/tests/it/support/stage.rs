//! A gateway in front of scripted upstreams, and what its ledger says about it.

use std::{fs, net::SocketAddr, time::Duration};

use rusqlite::{Connection, OpenFlags};
use tollgate_testkit::{Gateway, Origin, Wire, eventually_async};

/// Who is calling, as a trusted peer says it.
pub(crate) const USER: (&str, &str) = ("X-User-Id", "ada");

/// Longest time that a gateway without requests takes to drain.
const EXIT_BOUND: Duration = Duration::from_secs(20);

/// A gateway that is not started yet: one upstream, one route for everything.
pub(crate) struct Stage {
    urls: Vec<String>,
    top: String,
    listen: String,
    upstream: String,
    charge: String,
    route: String,
    limits: String,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) meter: String,
    pub(crate) amount: i64,
    pub(crate) estimated: bool,
    pub(crate) status: u16,
    pub(crate) duration_ms: i64,
    pub(crate) metadata: Option<String>,
}

impl Stage {
    /// In front of `origin`, in plain text.
    pub(crate) fn before(origin: &Origin) -> Self {
        Self::at(&[origin.address()])
    }

    /// In front of these addresses, in plain text.
    pub(crate) fn at(addresses: &[SocketAddr]) -> Self {
        Self::of_urls(addresses.iter().map(|address| format!("http://{address}")).collect())
    }

    /// In front of these URLs.
    pub(crate) fn of_urls(urls: Vec<String>) -> Self {
        Self {
            urls,
            top: String::new(),
            listen: String::new(),
            upstream: String::new(),
            charge: r#"{ meter = "calls" }"#.to_owned(),
            route: String::new(),
            limits: r#"calls = "1_000_000/day""#.to_owned(),
        }
    }

    /// More lines of the upstream.
    pub(crate) fn upstream(self, lines: impl Into<String>) -> Self {
        Self { upstream: lines.into(), ..self }
    }

    /// More lines of `[listen]`.
    pub(crate) fn listen(self, lines: impl Into<String>) -> Self {
        Self { listen: lines.into(), ..self }
    }

    /// More tables of gateway.toml.
    pub(crate) fn tables(self, lines: impl Into<String>) -> Self {
        Self { top: lines.into(), ..self }
    }

    /// What the route charges, and the limits of it.
    pub(crate) fn charge(self, charge: &str, limits: &str) -> Self {
        Self { charge: charge.to_owned(), limits: limits.to_owned(), ..self }
    }

    /// More lines of the route.
    pub(crate) fn route(self, lines: &str) -> Self {
        Self { route: lines.to_owned(), ..self }
    }

    pub(crate) fn start(self) -> Gateway {
        let Self { urls, top, listen, upstream, charge, route, limits } = self;
        let config = format!(
            "tiers = \"tier-limits.toml\"\ndata_dir = \"@DATA@\"\nworkers = 1\n\
             [listen]\naddress = \"@LISTEN@\"\n{listen}\n[admin]\naddress = \"@ADMIN@\"\n\
             [upstreams.main]\nurls = {urls:?}\n{upstream}\n{top}\n\
             [[routes]]\nname = \"all\"\npath = \"/\"\nupstream = \"main\"\ncharge = [{charge}]\n{route}\n"
        );
        let tiers = format!(
            "default_tier = \"basic\"\n[meters]\ncalls = {{ unit = \"calls\" }}\n\
             tokens = {{ unit = \"tokens\" }}\njobs = {{ unit = \"jobs\", kind = \"concurrent\" }}\n\
             [tiers.basic]\nother_meters = \"unlimited\"\nmax_body = \"1GiB\"\n[tiers.basic.limits]\n{limits}\n"
        );
        super::gateway().config(config).tiers(tiers).start()
    }
}

/// Ends the gateway as an operator does and returns all that its ledger says.
pub(crate) fn final_events(gateway: &mut Gateway) -> Vec<Event> {
    gateway.terminate();
    let status = gateway.wait_exit(EXIT_BOUND).expect("the gateway ends");
    assert!(status.success(), "{status}");
    events(gateway)
}

/// As [`final_events`], while the test's own connections learn that they end.
pub(crate) async fn final_events_async(gateway: &mut Gateway) -> Vec<Event> {
    gateway.terminate();
    let mut status = None;
    let ended = eventually_async(EXIT_BOUND, || {
        status = gateway.wait_exit(Duration::ZERO);
        status.is_some()
    });
    assert!(ended.await, "the gateway ends");
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    events(gateway)
}

/// What the ledger says now, which may be less than was settled.
pub(crate) fn events(gateway: &Gateway) -> Vec<Event> {
    let path = gateway.data_dir().join("ledger.sqlite3");
    let ledger = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let columns = "meter, amount, estimated, status, duration_ms, metadata";
    let mut rows = ledger.prepare(&format!("SELECT {columns} FROM usage_ledger ORDER BY id")).unwrap();
    let events = rows.query_map([], |row| {
        Ok(Event {
            meter: row.get(0)?,
            amount: row.get(1)?,
            estimated: row.get(2)?,
            status: row.get(3)?,
            duration_ms: row.get(4)?,
            metadata: row.get(5)?,
        })
    });
    events.unwrap().map(Result::unwrap).collect()
}

/// Metered requests that are admitted and not settled, as `/metrics` says once it is up to date.
pub(crate) fn in_flight(gateway: &Gateway) -> u64 {
    let value = gateway.metric("tollgate_requests_in_flight").expect("the gauge");
    format!("{value:.0}").parse().unwrap()
}

/// How many requests were settled until now.
pub(crate) fn settlements(gateway: &Gateway) -> f64 {
    ["true", "false"]
        .map(|estimated| format!("tollgate_settlements_total{{route=\"all\",estimated=\"{estimated}\"}}"))
        .map(|series| gateway.metric(&series).unwrap_or(0.0))
        .iter()
        .sum()
}

/// An HTTP/1.1 request with these header lines, each with its line end.
pub(crate) fn request(method: &str, path: &str, lines: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: tollgate.test\r\nX-User-Id: ada\r\n{lines}\r\n{body}")
}

/// A connection on which this was sent.
pub(crate) fn sent(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Wire {
    let mut wire = Wire::connect(gateway.address());
    assert!(wire.send(bytes), "the gateway takes the request");
    wire
}

/// Memory of the process in bytes: what is resident now, and the most that ever was.
pub(crate) fn resident_bytes(gateway: &Gateway) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}
