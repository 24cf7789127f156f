//! Amounts from anywhere: what requests and answers say is what is charged, or what the charge says of missing values.

mod bodies;
mod conditions;
mod credits;
mod evasions;
mod gone;
mod values;

use tollgate_testkit::{Answer, Origin, OriginBuilder, Received, Reply, Response};

use crate::scene::{Scene, of};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
pages = { unit = "pages" }
seconds = { unit = "seconds" }
spend = { unit = "EUR" }
storage = { unit = "bytes", kind = "level" }
jobs = { unit = "jobs", kind = "concurrent" }
credits = { unit = "credits", of = { seconds = "1/60", pages = 2 } }
[tiers.free]
other_meters = "unlimited"
[tiers.few.limits]
calls = "unlimited"
pages = "10/day"
seconds = "unlimited"
spend = "unlimited"
storage = "unlimited"
jobs = "unlimited"
credits = "9/day"
"#;

/// An origin that answers what the request says that it should: `X-Status`, `X-Answer` and `X-Pages`.
fn origin() -> OriginBuilder {
    Origin::builder().otherwise(|received: &Received| {
        let status = received.header("X-Status").map_or(200, |status| status.parse().unwrap());
        let mut reply = Reply::json(status, received.header("X-Answer").unwrap_or("{}"));
        for pages in received.all("X-Pages") {
            reply = reply.header("X-Pages", pages);
        }
        Answer::Reply(reply)
    })
}

/// A route `/{name}/` with these charges.
fn route(name: &str, charges: &str) -> String {
    format!(
        "[[routes]]\nname = \"{name}\"\npath = \"/{name}/\"\nupstream = \"origin\"\ncharge = [{charges}]\n"
    )
}

fn scene(routes: &str) -> Scene {
    Scene::start(origin(), routes, TIERS)
}

fn post(scene: &Scene, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let headers = [&[("X-User-Id", "ann")], headers].concat();
    scene.send("POST", target, &headers, body)
}

/// What was charged for an answer: meter, amount, and whether it is an estimate.
fn charged(scene: &Scene, answer: &Response) -> Vec<(String, i64, bool)> {
    let lines = scene.lines_of(answer);
    lines.into_iter().map(|line| (line.meter, line.amount, line.estimated)).collect()
}

/// The one amount that was charged for an answer.
fn amount(scene: &Scene, answer: &Response) -> (i64, bool) {
    amounts(scene, std::slice::from_ref(answer)).remove(0)
}

/// The one amount that was charged for each answer, but for credits.
fn amounts(scene: &Scene, answers: &[Response]) -> Vec<(i64, bool)> {
    let lines = scene.settled();
    let amount = |answer| {
        let own = of(&lines, answer).into_iter().filter(|line| line.meter != "credits");
        match &own.collect::<Vec<_>>()[..] {
            [line] => (line.amount, line.estimated),
            other => panic!("{answer:?}: {other:?}"),
        }
    };
    answers.iter().map(amount).collect()
}

/// A request, and what is charged for it.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, i64);

/// Sends all requests and asserts what each is charged, measured and not estimated.
fn assert_amounts(scene: &Scene, cases: &[Case<'_>]) {
    let answers: Vec<Response> =
        cases.iter().map(|(target, headers, body, _)| post(scene, target, headers, body)).collect();
    for (case, amount) in cases.iter().zip(amounts(scene, &answers)) {
        assert_eq!(amount, (case.3, false), "{case:?}");
    }
}

/// How often an amount of a meter was missing on a route.
fn missing(scene: &Scene, route: &str, meter: &str) -> Option<f64> {
    scene.gateway.metric(&format!("tollgate_amounts_missing_total{{route=\"{route}\",meter=\"{meter}\"}}"))
}
