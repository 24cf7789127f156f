//! Clients who leave, and services that stop: nobody saves money, and nothing is made up.

use tollgate_testkit::{Answer, BOUND, Gate, Reply, Wire, eventually};

use super::{TIERS, origin, route};
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
