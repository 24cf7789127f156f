//! Answers of a shape of their own: what a route's pointers find is what is charged.

use serde_json::Value;
use tollgate_testkit::{Answer, Origin};

use crate::{books::Line, scene::Scene};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens" }
[tiers.free]
other_meters = "unlimited"
"#;

const ROUTE: &str = r#"
[[routes]]
path = "/own/"
upstream = "origin"
charge = [{ meter = "tokens", amount = "llm.total_tokens", hold = 50 }]
llm = { usage = { input = "/u/in", output = "/u/out", model = "/m" } }
"#;

/// Where the dialects have usage, it says something else.
const DOCUMENT: &str = r#"{"m":"own-1","model":"other","u":{"in":7,"out":5},"usage":{"total_tokens":999}}"#;

/// What was charged for one request, and what its event says.
fn charged(scene: &Scene, method: &str, target: &str) -> (i64, bool, Value) {
    let answer = scene.send(method, target, &[("X-User-Id", "ann")], "{}");
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = scene.lines_of(&answer);
    let [Line { amount, estimated, metadata, .. }] = &lines[..] else { panic!("{lines:?}") };
    let metadata = metadata.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    (*amount, *estimated, metadata)
}

#[test]
fn what_the_pointers_of_a_route_find_is_charged() {
    let events = vec![
        "data: {\"m\":\"own-1\",\"u\":{\"in\":7,\"out\":1}}\n\n".to_owned(),
        "data: {\"u\":{\"in\":7,\"out\":5}}\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ];
    let origin = Origin::builder()
        .otherwise(|_| Answer::json(DOCUMENT))
        .on("/own/stream", Answer::Sse { events, gate: None })
        .on("/own/silent", Answer::json(r#"{"usage":{"total_tokens":999}}"#));
    let scene = Scene::start(origin, ROUTE, TIERS);

    // The last of these paths is one that no provider charges.
    for target in ["/own/answer", "/own/stream", "/own/v1/moderations"] {
        let (tokens, is_estimated, metadata) = charged(&scene, "POST", target);
        assert_eq!((tokens, is_estimated), (12, false), "{target}: {metadata}");
        assert_eq!(
            (&metadata["model"], &metadata["input"], &metadata["output"]),
            (&"own-1".into(), &7.into(), &5.into())
        );
    }
    // What is held has to do where nothing is found.
    let (tokens, is_estimated, _) = charged(&scene, "POST", "/own/silent");
    assert_eq!((tokens, is_estimated), (50, true));
    let (tokens, ..) = charged(&scene, "GET", "/own/answer");
    assert_eq!(tokens, 0);
}
