//! Meters that are made of others, and meters that are charged in parts.

use super::{charged, post, route, scene};
use crate::scene::{assert_refusal, number};

fn amounts(charged: Vec<(String, i64, bool)>) -> Vec<(String, i64)> {
    charged.into_iter().map(|(meter, amount, _)| (meter, amount)).collect()
}

fn of(amounts: &[(&str, i64)]) -> Vec<(String, i64)> {
    amounts.iter().map(|(meter, amount)| ((*meter).to_owned(), *amount)).collect()
}

#[test]
fn whatever_charges_a_part_charges_the_whole() {
    let routes = [
        route("audio", r#"{ meter = "seconds", amount = "response.json:/seconds" }"#),
        route("pages", r#"{ meter = "pages", amount = "request.json:/pages" }"#),
        route(
            "both",
            r#"{ meter = "credits", amount = 1 }, { meter = "seconds", amount = "response.json:/seconds" }, { meter = "pages", amount = 2 }"#,
        ),
        route("calls", r#"{ meter = "calls" }"#),
    ];
    let scene = scene(&routes.concat());
    let audio = |seconds: &str| format!(r#"{{"seconds":{seconds}}}"#);
    for (target, answer, body, expected) in [
        ("/audio/", audio("60"), "", &[("seconds", 60), ("credits", 1)][..]),
        ("/audio/", audio("61"), "", &[("seconds", 61), ("credits", 2)]),
        ("/audio/", audio("0"), "", &[("seconds", 0), ("credits", 0)]),
        ("/pages/", "{}".to_owned(), r#"{"pages":3}"#, &[("pages", 3), ("credits", 6)]),
        // Each part is rounded up by itself.
        ("/both/", audio("1"), "", &[("seconds", 1), ("pages", 2), ("credits", 1 + 1 + 4)]),
        ("/calls/", "{}".to_owned(), "", &[("calls", 1)]),
    ] {
        let answer = post(&scene, target, &[("X-Answer", &answer)], body);
        assert_eq!(amounts(charged(&scene, &answer)), of(expected), "{target}");
    }
}

#[test]
fn limits_of_the_whole_hold_for_every_part() {
    let routes = [
        route("pages", r#"{ meter = "pages", amount = "request.json:/pages" }"#),
        route("audio", r#"{ meter = "seconds", amount = "response.json:/seconds", hold = 60 }"#),
    ];
    let scene = scene(&routes.concat());
    let send = |target: &str, body: &str, answer: &str| {
        let few = [("X-User-Id", "ann"), ("X-User-Tier", "few"), ("X-Answer", answer)];
        scene.send("POST", target, &few, body)
    };
    let answer = send("/pages/", r#"{"pages":4}"#, "{}");
    assert_eq!((answer.status, number(&answer, "X-RateLimit-Remaining")), (200, 1), "8 of 9 credits");
    let refused = send("/pages/", r#"{"pages":1}"#, "{}");
    let json = assert_refusal(&refused, 429, "quota_exceeded");
    assert_eq!((&json["meter"], &json["used"], &json["limit"]), (&"credits".into(), &8.into(), &9.into()));
    assert_eq!(send("/audio/", "", r#"{"seconds":30}"#).status, 200, "the last credit");
    let json = assert_refusal(&send("/audio/", "", "{}"), 429, "quota_exceeded");
    assert_eq!((&json["meter"], &json["remaining"]), (&"credits".into(), &0.into()));
    let total = |meter: &str| {
        scene.settled().iter().filter(|line| line.meter == meter).map(|line| line.amount).sum::<i64>()
    };
    assert_eq!((total("pages"), total("seconds"), total("credits")), (4, 30, 9));
}

#[test]
fn parts_of_one_meter_are_one_event() {
    let charges = r#"{ meter = "pages" },
        { meter = "pages", amount = "response.json:/items/*/pages", hold = 5 },
        { meter = "pages", amount = 2, only_if = { status = 201 } },
        { meter = "calls" }"#;
    let scene = scene(&route("x", charges));
    for (status, answer, pages, estimated) in [
        ("200", r#"{"items":[{"pages":3},{"pages":4}]}"#, 8, false),
        ("201", r#"{"items":[]}"#, 3, false),
        ("201", "{}", 8, true),
    ] {
        let answer = post(&scene, "/x/", &[("X-Status", status), ("X-Answer", answer)], "");
        let expected = [
            ("pages".to_owned(), pages, estimated),
            ("calls".to_owned(), 1, false),
            ("credits".to_owned(), 2 * pages, estimated),
        ];
        assert_eq!(charged(&scene, &answer), expected);
    }
}
