//! The signature that upstreams can verify, with the recipe as the documentation has it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tollgate_testkit::{BOUND, Gateway, Origin, Received, eventually, raw};

use crate::{books::tollgate, support};

const DOCUMENT: &str = include_str!("../../docs/signature.md");
const KEY: &str = "a key of more than thirty-two bytes, for this test";
const LINES_MAX: usize = 15;

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free.limits]
calls = "unlimited"
[tiers.gold.limits]
calls = "unlimited"
"#;

fn config(origin: &Origin) -> String {
    format!(
        r#"
data_dir = "@DATA@"
workers = 1
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[identity]
signature = {{ key_env = "TOLLGATE_TEST_KEY" }}
[upstreams.up]
urls = ["http://{}"]
[[routes]]
path = "/api/v1/"
rewrite = "/v1/"
upstream = "up"
charge = [{{ meter = "calls" }}]
"#,
        origin.address()
    )
}

fn start(origin: &Origin) -> Gateway {
    support::gateway().config(config(origin)).tiers(TIERS).env("TOLLGATE_TEST_KEY", KEY).start()
}

/// The Python in the documentation.
fn recipe() -> &'static str {
    let (_, rest) = DOCUMENT.split_once("```python\n").expect("a block of Python");
    rest.split_once("```").expect("its end").0
}

/// What the recipe says of these requests.
fn verdicts(requests: &[Value]) -> Vec<bool> {
    let driver = r#"
import json, sys
class Headers(dict):
    def get(self, name, default=None):
        return super().get(name.lower(), default)
verdicts = []
for request in json.load(sys.stdin):
    headers = Headers((name.lower(), value) for name, value in request["headers"])
    verdicts.append(verify(request["key"].encode(), request["method"], request["target"], headers))
print(json.dumps(verdicts))
"#;
    let mut python = Command::new("python3")
        .args(["-c", &format!("{}{driver}", recipe())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().unwrap().write_all(Value::from(requests).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn request(received: &Received) -> Value {
    let Received { method, target, headers, .. } = received;
    json!({ "key": KEY, "method": method, "target": target, "headers": headers })
}

/// The request with the header of this name changed.
fn with(request: &Value, name: &str, value: &str) -> Value {
    let mut request = request.clone();
    let headers = request["headers"].as_array_mut().unwrap();
    let found = headers.iter_mut().find(|h| h[0].as_str().unwrap().eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name}"))[1] = value.into();
    request
}

/// The request with another method, target or key.
fn but(request: &Value, what: &str, value: &str) -> Value {
    let mut request = request.clone();
    request[what] = value.into();
    request
}

fn answered(gateway: &Gateway, text: &str) {
    let answer = raw(gateway.address(), text.replace('\n', "\r\n"));
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn the_documented_recipe_is_short() {
    assert!(recipe().lines().count() <= LINES_MAX, "{}", recipe());
}

#[test]
fn the_documented_recipe_accepts_what_the_gateway_signed_and_nothing_else() {
    let origin = Origin::echo();
    let gateway = start(&origin);
    let full = "GET /api/v1/models?limit=5&q=%20a HTTP/1.1\nHost: h\nX-User-Id: alice\nX-Org-Id: acme\n\
                X-User-Email: alice@example.com\nX-User-Role: admin\nX-User-Tier: gold\n\n";
    answered(&gateway, full);
    let full = request(&origin.last());
    answered(&gateway, "POST /api/v1/x HTTP/1.1\nHost: h\nX-User-Id: bob\nContent-Length: 4\n\nbody");
    let sparse = request(&origin.last());
    assert_eq!((&full["target"], &sparse["target"]), (&"/v1/models?limit=5&q=%20a".into(), &"/v1/x".into()));
    assert_eq!(verdicts(&[full.clone(), sparse.clone()]), [true, true]);

    let timestamp = origin.last().header("x-tollgate-timestamp").unwrap().parse::<i64>().unwrap();
    let tampered = [
        with(&full, "X-User-Id", "mallory"),
        with(&full, "X-Org-Id", "other"),
        with(&full, "X-User-Email", "mallory@example.com"),
        with(&full, "X-User-Role", "owner"),
        with(&full, "X-User-Tier", "free"),
        with(&full, "X-Request-Id", "another"),
        with(&full, "X-Tollgate-Signature", "v1="),
        with(&full, "X-Tollgate-Signature", "v1=caf\u{e9}"),
        with(&full, "X-Tollgate-Timestamp", &(timestamp + 1).to_string()),
        with(&full, "X-Tollgate-Timestamp", "\u{b2}"),
        but(&full, "method", "POST"),
        but(&full, "target", "/v1/models?limit=50&q=%20a"),
        but(&full, "target", "/v1/models"),
        but(&full, "key", "another key of more than thirty-two bytes"),
        // A value moved to its neighbour.
        with(&with(&full, "X-Org-Id", ""), "X-User-Email", "acme\nalice@example.com"),
    ];
    assert_eq!(verdicts(&tampered), vec![false; tampered.len()]);
}

#[test]
fn what_the_table_of_subjects_says_is_signed_like_what_a_header_says() {
    let origin = Origin::echo();
    let gateway = start(&origin);
    let config = gateway.config_path();
    let set = "subject set user alice --tier gold --org acme --config".split(' ');
    let said = tollgate(set.chain([config.to_str().unwrap()]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let told = || {
        answered(&gateway, "GET /api/v1/x HTTP/1.1\nHost: h\nX-User-Id: alice\n\n");
        let received = origin.last();
        (received.all("x-user-tier"), received.all("x-org-id")) == (vec!["gold"], vec!["acme"])
    };
    assert!(eventually(BOUND, told), "{:?}", origin.last());
    let request = request(&origin.last());
    let others = [with(&request, "X-User-Tier", "free"), with(&request, "X-Org-Id", "other")];
    assert_eq!(verdicts(&[request, others[0].clone(), others[1].clone()]), [true, false, false]);
}

#[test]
fn an_old_signature_is_refused_though_it_is_right() {
    let origin = Origin::echo();
    let gateway = start(&origin);
    answered(&gateway, "GET /api/v1/x HTTP/1.1\nHost: h\nX-User-Id: alice\n\n");
    let request = request(&origin.last());
    // The recipe's own clock is an hour ahead, so that only the age is wrong.
    let hour_later = recipe().replace("time.time()", "(time.time() + 3600)");
    assert_ne!(hour_later, recipe());
    let call = format!(
        "{hour_later}\nimport json, sys\nr = json.load(sys.stdin)\nh = {{k.title(): v for k, v in r['headers']}}\n\
         print(verify(r['key'].encode(), r['method'], r['target'], h))"
    );
    let now = call.replace("(time.time() + 3600)", "time.time()");
    assert_eq!((python(&call, &request), python(&now, &request)), ("False".to_owned(), "True".to_owned()));
}

fn python(program: &str, input: &Value) -> String {
    let mut python = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn a_clients_own_signature_never_reaches_the_upstream() {
    let origin = Origin::echo();
    let gateway = start(&origin);
    answered(
        &gateway,
        "GET /api/v1/x HTTP/1.1\nHost: h\nX-User-Id: alice\nX-Tollgate-Signature: v1=forged\n\
         x_tollgate_signature: v1=forged\nX-Tollgate-Timestamp: 1\nX.Tollgate.Timestamp: 1\n\n",
    );
    let received = origin.last();
    assert_eq!(received.all("x-tollgate-signature").len(), 1);
    assert!(!String::from_utf8_lossy(&received.raw_head).contains("forged"));
    assert!(received.headers.iter().all(|(_, value)| value != "1"), "{:?}", received.headers);
    assert_eq!(verdicts(&[request(&received)]), [true]);
}

#[test]
fn without_a_good_key_nothing_is_served_and_the_key_is_never_shown() {
    let gateway = support::gateway().config(config(&Origin::echo())).tiers(TIERS);
    let mut started = gateway.env("TOLLGATE_TEST_KEY", "short-canary").spawn();
    let exit = started.wait_exit(BOUND).expect("an end");
    assert_eq!(exit.code(), Some(2));
    let logs = started.logs();
    assert!(logs.contains("TOLLGATE_TEST_KEY") && logs.contains("32") && !logs.contains("canary"), "{logs}");
    // The check sees it too; here the variable is not set at all.
    let said = tollgate(["check".as_ref(), started.config_path().as_os_str()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.contains("TOLLGATE_TEST_KEY"), "{said:?}");
}
