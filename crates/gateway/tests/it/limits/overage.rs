//! Overage: what is charged beyond what is included, in the event.

use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Origin, Reply, eventually};

use super::{metadata, scene, scene_with};
use crate::{
    books::{Books, assert_clean},
    scene::{Scene, all_at_once, of},
};

/// The overage of a line; null when it has none.
fn overage(line: &crate::books::Line) -> Value {
    let metadata: Value =
        line.metadata.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    metadata["overage"].clone()
}

#[test]
fn each_line_has_its_own_overage() {
    let scene = scene();
    let answers: Vec<_> = (0..4).map(|_| scene.get("/two/", "ann", "overage")).collect();
    assert!(answers.iter().all(|answer| answer.status == 200));
    let lines = scene.settled();
    let of_meter = |meter: &str| -> Vec<Value> {
        let lines = answers.iter().flat_map(|answer| of(&lines, answer));
        lines.filter(|line| line.meter == meter).map(overage).collect()
    };
    let calls = |units: i64, cost: &str| {
        json!({
            "limit": "3/lifetime", "units": units, "price": "0.008 EUR per 10", "cost": cost, "currency": "EUR",
        })
    };
    assert_eq!(of_meter("calls"), [json!(null), json!(null), json!(null), calls(1, "0.0008")]);
    let tokens = |units: i64, cost: &str| {
        json!({
            "limit": "10/lifetime", "units": units, "price": "0.5 EUR per 1", "cost": cost, "currency": "EUR",
        })
    };
    // 7, 14, 21, 28 of 10: by the limit that has a price.
    assert_eq!(of_meter("tokens"), [json!(null), tokens(4, "2"), tokens(7, "3.5"), tokens(7, "3.5")]);
    assert_clean(&scene.gateway);
}

#[test]
fn storage_that_is_given_back_is_credited() {
    let writes = |amount: &str| {
        Answer::Reply(Reply {
            status: 200,
            headers: vec![("X-Usage-storage".into(), amount.into())],
            body: Vec::new(),
        })
    };
    let origin = Origin::builder()
        .on("/write/a", writes("4000000000"))
        .on("/write/b", writes("2500000000"))
        .on("/write/c", writes("-3000000000"));
    let scene = scene_with(origin);
    let of =
        |target: &str| metadata(&scene, &scene.get(target, "ann", "overage"), "storage")["overage"].clone();
    let storage = |units: i64, cost: &str| {
        json!({
            "limit": "5000000000", "units": units, "price": "2 EUR per GB", "cost": cost, "currency": "EUR",
        })
    };
    assert_eq!(of("/write/a"), json!(null));
    assert_eq!(of("/write/b"), storage(1_500_000_000, "3"));
    assert_eq!(of("/write/c"), storage(-1_500_000_000, "-3"));
    assert_eq!(of("/write/b"), storage(1_000_000_000, "2"));
}

#[test]
fn the_costs_of_all_lines_add_up_whoever_asks_at_once_and_across_a_restart() {
    let mut scene = Scene::start_with_two_workers(Origin::builder(), super::ROUTES, super::TIERS);
    let served = all_at_once(8, 5, |_| scene.get("/two/", "ann", "overage"));
    assert_eq!(served, vec![200; 40]);
    scene.gateway.restart();
    let served = all_at_once(8, 5, |_| scene.get("/two/", "ann", "overage"));
    assert_eq!(served, vec![200; 40]);
    let books = Books::settled(&scene.gateway);
    let sum = |meter: &str| {
        let nanos = |line: &crate::books::Line| {
            overage(line)["cost"].as_str().map_or(0, |cost| tollgate_core::Nanos::parse(cost).unwrap().0)
        };
        books.0.iter().filter(|line| line.meter == meter).map(nanos).sum::<i64>()
    };
    // 80 calls of which 3 are included; 560 tokens of which 10 are.
    assert_eq!(sum("calls"), 77 * 800_000);
    assert_eq!(sum("tokens"), 550 * 500_000_000);
    assert_clean(&scene.gateway);
}

#[test]
fn overage_comes_and_goes_with_a_reload() {
    let scene = scene();
    assert_eq!(super::statuses(&scene, 5, "ann", "strict"), [200, 200, 200, 200, 429]);
    let strict = "limits.calls = \"4/lifetime\"";
    let priced = "limits.calls = { limit = \"4/lifetime\", over = \"charge\", price = \"0.50 EUR\" }";
    super::reload(&scene, strict, priced);
    let mut served = scene.get("/x/", "ann", "strict");
    assert!(eventually(BOUND, || {
        served = scene.get("/x/", "ann", "strict");
        served.status == 200
    }));
    let overage = metadata(&scene, &served, "calls")["overage"].clone();
    assert_eq!((&overage["units"], &overage["cost"]), (&json!(1), &json!("0.5")), "from what is used on");
    scene.gateway.write_tiers(&crate::scene::tiers(super::TIERS));
    assert!(eventually(BOUND, || scene.get("/x/", "ann", "strict").status == 429));
}
