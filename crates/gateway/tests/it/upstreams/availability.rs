//! Services that go away and come back.

use tollgate_testkit::{Answer, BOUND, Gateway, Origin, Response, Wire, eventually, free_port};

use crate::support::stage::{Stage, request, sent};

fn get(wire: &mut Wire) -> Response {
    assert!(wire.send(request("GET", "/", "", "")));
    wire.response(false, BOUND).expect("an answer")
}

fn healthy(gateway: &Gateway, origin: std::net::SocketAddr) -> Option<f64> {
    gateway.metric(&format!("tollgate_upstream_healthy{{upstream=\"main\",url=\"http://{origin}\"}}"))
}

const CHECKS: &str =
    r#"health = { path = "/healthz", interval = "250ms", healthy_after = 2, unhealthy_after = 3 }"#;

#[test]
fn health_checks_take_a_url_out_and_bring_it_back() {
    let good = Answer::json("{}");
    let origins = [0, 1].map(|_| Origin::builder().on("/healthz", good.clone()).start());
    let gateway = Stage::at(&origins.each_ref().map(Origin::address)).upstream(CHECKS).start();
    let mut wire = sent(&gateway, "");
    assert_eq!(get(&mut wire).status, 200);

    origins[0].set("/healthz", Answer::status(500));
    assert!(eventually(BOUND, || healthy(&gateway, origins[0].address()) == Some(0.0)));
    let served = |origin: &Origin| origin.received().iter().filter(|r| r.path() == "/").count();
    let before = served(&origins[0]);
    for _ in 0..20 {
        assert_eq!(get(&mut wire).status, 200);
    }
    assert_eq!(served(&origins[0]), before, "what is left out is not asked");

    origins[0].set("/healthz", good);
    assert!(eventually(BOUND, || healthy(&gateway, origins[0].address()) == Some(1.0)));
    assert!(eventually(BOUND, || {
        assert_eq!(get(&mut wire).status, 200);
        served(&origins[0]) > before
    }));
}

#[test]
fn without_a_healthy_url_the_service_is_unavailable() {
    let origin = Origin::builder().on("/healthz", Answer::Hang).start();
    let gateway = Stage::before(&origin).upstream(CHECKS).start();
    assert!(eventually(BOUND, || healthy(&gateway, origin.address()) == Some(0.0)));
    let mut wire = sent(&gateway, "");
    let answer = get(&mut wire);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (503, Some("upstream_unavailable")));
    assert!(answer.header("retry-after").is_some());
    assert!(origin.received().iter().all(|received| received.path() != "/"));
    origin.set("/healthz", Answer::json("{}"));
    assert!(eventually(BOUND, || get(&mut wire).status == 200));
}

#[test]
fn a_url_that_refuses_connections_is_left_out_for_a_while() {
    let address = ([127, 0, 0, 1], free_port()).into();
    let gateway = Stage::at(&[address]).upstream("eject_after = 2\neject_for = \"1500ms\"").start();
    let mut wire = sent(&gateway, "");
    for _ in 0..2 {
        let refused = get(&mut wire);
        assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("upstream_unavailable")));
    }
    let left_out = get(&mut wire);
    assert_eq!((left_out.status, left_out.json()["error"].as_str()), (503, Some("upstream_unavailable")));
    assert!(left_out.header("retry-after").is_some());

    let origin = Origin::builder().at(address).start();
    assert!(eventually(BOUND, || get(&mut wire).status == 200));
    assert_eq!(origin.connections(), 1);
    assert_eq!(get(&mut wire).status, 200, "one connection is enough to be back");
    assert!(eventually(BOUND, || healthy(&gateway, address) == Some(1.0)));
}
