//! A gateway between a test and an origin, and what they say to each other.

use std::{
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tollgate_testkit::{BOUND, Gateway, Origin, OriginBuilder, Response, Wire, eventually};

use crate::{
    books::{Books, Line},
    support::gateway,
};

/// Longer than any test here takes on a machine that is busy with others: what begins so long before the end of a
/// window also ends in it.
const TEST_SECONDS_MAX: u64 = 60;
const HOUR_SECONDS: u64 = 3600;

/// A gateway and the origin behind it.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) origin: Origin,
}

impl Scene {
    /// A gateway with one worker in front of `origin`.
    ///
    /// `config` continues the table `[upstreams.origin]`. `tiers` is all of tier-limits.toml and has a meter
    /// `calls`; a route `/mark` that charges it and a tier `mark` without limits are added.
    pub(crate) fn start(origin: OriginBuilder, config: &str, tiers: &str) -> Self {
        let origin = origin.start();
        let gateway =
            gateway().config(self::config(origin.address(), config)).tiers(self::tiers(tiers)).start();
        Self { gateway, origin }
    }

    /// The same with two workers, among which the kernel spreads connections.
    pub(crate) fn start_with_two_workers(origin: OriginBuilder, config: &str, tiers: &str) -> Self {
        let origin = origin.start();
        let config = self::config(origin.address(), config).replace("workers = 1", "workers = 2");
        let gateway = gateway().config(config).tiers(self::tiers(tiers)).start();
        Self { gateway, origin }
    }

    /// Sends one request on a connection of its own and returns its answer.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut wire = Wire::connect(self.gateway.address());
        wire.send(head(method, target, headers, Some(body.len())) + body);
        wire.response(method == "HEAD", BOUND).expect("an answer")
    }

    /// GET as `user` on `tier`.
    pub(crate) fn get(&self, target: &str, user: &str, tier: &str) -> Response {
        self.send("GET", target, &[("X-User-Id", user), ("X-User-Tier", tier)], "")
    }

    /// The ledger's lines when all that was settled until now is among them, without those of this wait. Requests of
    /// the same millisecond are in no order.
    pub(crate) fn settled(&self) -> Vec<Line> {
        let mark = self.get("/mark", "mark", "mark");
        assert_eq!(mark.status, 200, "{mark:?}");
        let id = request_id(&mark).to_owned();
        let mut lines = Vec::new();
        // Settlements are shipped in their order: what was settled before the mark is there when the mark is.
        let shipped = eventually(BOUND, || {
            lines = Books::read(&self.gateway.data_dir()).0;
            lines.iter().any(|line| line.request_id == id)
        });
        assert!(shipped, "the ledger does not get what was settled");
        lines.retain(|line| line.user != "mark");
        lines
    }

    /// The lines of one request.
    pub(crate) fn lines_of(&self, answer: &Response) -> Vec<Line> {
        let mut lines = self.settled();
        lines.retain(|line| line.request_id == request_id(answer));
        lines
    }
}

/// Those of `lines` that are of one request.
pub(crate) fn of<'a>(lines: &'a [Line], answer: &Response) -> Vec<&'a Line> {
    lines.iter().filter(|line| line.request_id == request_id(answer)).collect()
}

/// What a number of clients are answered who all send at once, `each` so many times: the statuses.
pub(crate) fn all_at_once(clients: usize, each: usize, send: impl Fn(usize) -> Response + Sync) -> Vec<u16> {
    let start = Barrier::new(clients);
    thread::scope(|scope| {
        let client = |number| {
            let (start, send) = (&start, &send);
            scope.spawn(move || {
                start.wait();
                (0..each).map(|_| send(number).status).collect::<Vec<_>>()
            })
        };
        let clients: Vec<_> = (0..clients).map(client).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// The text of gateway.toml; `rest` continues `[upstreams.origin]`.
pub(crate) fn config(origin: SocketAddr, rest: &str) -> String {
    format!(
        "tiers = \"tier-limits.toml\"\ndata_dir = \"@DATA@\"\nworkers = 1\n\
         [listen]\naddress = \"@LISTEN@\"\n[admin]\naddress = \"@ADMIN@\"\n\
         [upstreams.mark]\nurls = [\"http://{origin}\"]\n\
         [[routes]]\npath = \"/mark\"\nupstream = \"mark\"\ncharge = [{{ meter = \"calls\" }}]\n\
         [upstreams.origin]\nurls = [\"http://{origin}\"]\n{rest}"
    )
}

/// The text of tier-limits.toml with the tier `mark`.
pub(crate) fn tiers(text: &str) -> String {
    format!("{text}\n[tiers.mark]\nother_meters = \"unlimited\"\n")
}

/// The head of an HTTP/1.1 request.
pub(crate) fn head(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body_bytes: Option<usize>,
) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: gateway.test\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if let Some(bytes) = body_bytes.filter(|bytes| *bytes > 0) {
        head += &format!("Content-Length: {bytes}\r\n");
    }
    head + "\r\n"
}

/// The id that an answer names its request by.
pub(crate) fn request_id(answer: &Response) -> &str {
    answer.header("x-request-id").expect("X-Request-Id")
}

/// Fails unless `answer` is a refusal of this status and code, in the form that all refusals have; its JSON.
pub(crate) fn assert_refusal(answer: &Response, status: u16, code: &str) -> Value {
    let json = answer.json();
    assert_eq!((answer.status, json["error"].as_str()), (status, Some(code)), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    assert!(json["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
    assert_eq!(json["request_id"].as_str(), Some(request_id(answer)), "{json}");
    assert_eq!(answer.all("x-request-id").len(), 1, "{answer:?}");
    let retry_after = answer.header("retry-after").map(|seconds| seconds.parse::<u64>().unwrap());
    assert_eq!(json["retry_after"].as_u64(), retry_after, "{answer:?}");
    json
}

/// Waits until no window of an hour or longer can end while a test runs. Nearly always that is now.
pub(crate) fn clear_of_window_edges() {
    let left = || HOUR_SECONDS - now_seconds() % HOUR_SECONDS;
    let bound = std::time::Duration::from_secs(2 * TEST_SECONDS_MAX);
    assert!(eventually(bound, || left() > TEST_SECONDS_MAX));
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The value of a header that is a number.
pub(crate) fn number(answer: &Response, header: &str) -> i64 {
    let value = answer.header(header).unwrap_or_else(|| panic!("no {header}: {answer:?}"));
    value.parse().unwrap_or_else(|_| panic!("{header}: {value}"))
}
