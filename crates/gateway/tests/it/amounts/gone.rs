//! Clients who leave, and services that stop: nobody saves money, and nothing is made up.

use tollgate_testkit::{Answer, BOUND, Gate, Reply, Wire, eventually};

use super::{TIERS, origin, post, route};
use crate::scene::{Scene, head};

const CHARGE: &str = r#"{ meter = "calls", amount = "response.json:/n", hold = 40 }"#;

/// The amounts, and whether they are estimates, once so many were settled.
fn amounts(scene: &Scene) -> Vec<(i64, bool)> {
    scene.settled().iter().map(|line| (line.amount, line.estimated)).collect()
}

fn settled(scene: &Scene) -> bool {
    eventually(BOUND, || !amounts(scene).is_empty())
}

#[test]
fn an_answer_is_read_to_its_end_for_a_client_who_left() {
    let gate = Gate::new();
    // Before the head, and in the midst of the body.
    let late = Answer::json(r#"{"n":7}"#).after(&gate);
    let events = vec![r#"{"n":"#.to_owned(), "7}".to_owned()];
    for (answer, has_head) in [(late, false), (Answer::Sse { events, gate: Some(gate.clone()) }, true)] {
        let scene = Scene::start(origin().on("/x/late", answer), &route("x", CHARGE), TIERS);
        let mut wire = Wire::connect(scene.gateway.address());
        wire.send(head("POST", "/x/late", &[("X-User-Id", "ann")], Some(2)) + "{}");
        assert!(scene.origin.wait_requests(1, BOUND));
        if has_head {
            assert!(wire.read_until(BOUND, |read| read.ends_with(b"{\"n\":\r\n")));
        } else {
            assert!(eventually(BOUND, || scene.origin.received().len() == 1));
        }
        drop(wire);
        gate.pass(1);
        assert!(settled(&scene));
        assert_eq!(amounts(&scene), [(7, false)], "has_head: {has_head}");
    }
}

#[test]
fn an_answer_that_is_cut_is_charged_what_was_held() {
    let origin = origin()
        .on("/x/cut", Answer::CutLength { promised: 100, sent: r#"{"n":7"#.to_owned() })
        .on("/x/close", Answer::Close)
        .on("/x/whole", Answer::Reply(Reply::json(200, r#"{"n":7}"#)));
    let scene = Scene::start(origin, &route("x", CHARGE), TIERS);
    let send = |target: &str| {
        let mut wire = Wire::connect(scene.gateway.address());
        wire.send(head("POST", target, &[("X-User-Id", "ann")], None));
        let _ = wire.response(false, BOUND);
    };
    send("/x/cut");
    assert!(settled(&scene));
    assert_eq!(amounts(&scene), [(40, true)]);
    send("/x/close");
    send("/x/whole");
    let mut all = amounts(&scene);
    all.sort_unstable();
    assert_eq!(all, [(0, false), (7, false), (40, true)], "what got no answer costs nothing");
}

/// Sends a request to `target` and leaves when the service has it.
fn leave(scene: &Scene, target: &str, headers: &[(&str, &str)]) {
    let before = scene.origin.received().len();
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(head("POST", target, &[&[("X-User-Id", "ann")], headers].concat(), Some(2)) + "{}");
    assert!(eventually(BOUND, || scene.origin.received().len() > before));
}

#[test]
fn a_level_is_what_the_answer_made_of_it_for_a_client_who_left() {
    let charge = r#"{ meter = "storage", amount = "request.header:X-Bytes" }"#;
    for (status, expected) in [(200, 7), (500, 0)] {
        let gate = Gate::new();
        let origin = origin().on("/x/late", Answer::status(status).after(&gate));
        let scene = Scene::start(origin, &route("x", charge), TIERS);
        leave(&scene, "/x/late", &[("X-Bytes", "7")]);
        gate.pass(1);
        assert!(settled(&scene));
        assert_eq!(amounts(&scene), [(expected, false)], "{status}");
    }
}

#[test]
fn what_nobody_will_know_of_is_charged_and_gives_nothing_back() {
    let gate = Gate::new();
    let origin = origin()
        .on("/level/late", Answer::status(200).after(&gate))
        .on("/back/late", Answer::status(200).after(&gate))
        .on("/job/late", Answer::status(200).after(&gate));
    let routes = [
        route("level", r#"{ meter = "storage", amount = "request.header:X-Bytes" }"#),
        route("back", r#"{ meter = "storage", amount = "request.header:X-Bytes", scale = -1 }"#),
        route("job", r#"{ meter = "jobs", job = { id = "request.header:X-Bytes", time_limit = "1h" } }"#),
        "[llm]\ndrain_timeout = \"1s\"\n".to_owned(),
    ];
    let scene = Scene::start(origin, &routes.concat(), TIERS);
    for (target, expected) in
        [("/level/late", (7, true)), ("/back/late", (0, false)), ("/job/late", (1, true))]
    {
        let before = amounts(&scene).len();
        leave(&scene, target, &[("X-Bytes", "7")]);
        assert!(eventually(BOUND, || amounts(&scene).len() > before));
        assert_eq!(amounts(&scene).last(), Some(&expected), "{target}");
    }
    gate.pass(3);
}

#[test]
fn an_answer_without_a_body_is_charged_while_it_waits_for_what_it_names() {
    let gate = Gate::new();
    let made = Reply { status: 201, headers: vec![("X-Pages".to_owned(), "a".to_owned())], body: Vec::new() };
    let origin = origin().on("/put/a", Answer::status(200).after(&gate)).on("/make/", Answer::Reply(made));
    let routes = [
        route("put", r#"{ meter = "storage", amount = 3, resource = "path" }"#),
        route("make", r#"{ meter = "storage", amount = 5, resource = "response.header:X-Pages" }"#),
    ];
    let scene = Scene::start(origin, &routes.concat(), TIERS);
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| post(&scene, "/put/a", &[], ""));
        assert!(scene.origin.wait_requests(1, BOUND));
        leave(&scene, "/make/", &[]);
        assert!(eventually(BOUND, || scene.settled().iter().any(|line| line.status == 201)));
        assert_eq!(amounts(&scene), [(5, true)], "what it had is not known as long as it is changed");
        gate.pass(1);
        assert_eq!(changing.join().unwrap().status, 200);
    });
}
