//! Every source, every rule for what is missing, and every wrong value.

use super::{Case, amount, amounts, assert_amounts, charged, missing, post, route, scene};
use crate::scene::assert_refusal;

#[test]
fn every_source_is_charged() {
    let routes = [
        ("header", r#"{ meter = "pages", amount = "request.header:X-Rows", scale = "1/10" }"#),
        ("said", r#"{ meter = "pages", amount = "response.header:X-Pages" }"#),
        ("json", r#"{ meter = "pages", amount = "request.json:/job/rows", round = "down" }"#),
        ("sum", r#"{ meter = "pages", amount = "response.json:/items/*/pages", round = "half_even" }"#),
        ("minutes", r#"{ meter = "seconds", amount = "response.json:/minutes", unit = "minutes" }"#),
        ("money", r#"{ meter = "spend", amount = "response.json:/cost", max = "2.50" }"#),
        ("sent", r#"{ meter = "spend", amount = "request.bytes", scale = "0.0001" }"#),
        ("got", r#"{ meter = "pages", amount = "response.bytes", scale = "1/1024", min = 3 }"#),
        ("size", r#"{ meter = "storage", amount = "memory.size" }"#),
        ("slow", r#"{ meter = "seconds", amount = "duration" }"#),
    ];
    let scene = scene(&routes.map(|(name, charge)| route(name, charge)).concat());
    let memory = r#"{"content":"h\u00e9llo","tags":["a", "b"],"metadata":{ "k": 1 },"embedding":[0.1]}"#;
    let size =
        i64::try_from("héllo".len() + r#"["a","b"]"#.len() + r#"{"k":1}"#.len()).unwrap() + 384 * 4 + 162;
    let items = r#"{"items":[{"pages":1},{"pages":"1.5"}]}"#;
    let cases: &[Case<'_>] = &[
        ("/header/", &[("X-Rows", "41")][..], "", 5),
        ("/said/", &[("X-Pages", "7")], "", 7),
        ("/said/", &[("X-Pages", "0")], "", 0),
        ("/json/", &[], r#"{"job":{"rows":2.9}}"#, 2),
        ("/sum/", &[("X-Answer", items)], "", 2),
        ("/sum/", &[("X-Answer", r#"{"items":[]}"#)], "", 0),
        ("/minutes/", &[("X-Answer", r#"{"minutes":1.51}"#)], "", 91),
        ("/money/", &[("X-Answer", r#"{"cost":0.0123456789}"#)], "", 12_345_679),
        ("/money/", &[("X-Answer", r#"{"cost":3}"#)], "", 2_500_000_000),
        ("/sent/", &[], "abc", 300_000),
        ("/got/", &[], "", 3),
        ("/size/", &[], memory, size),
        ("/size/", &[], r#"{"content":"a"}"#, 1 + 384 * 4 + 162),
    ];
    assert_amounts(&scene, cases);
    // How long it takes is not known, but that it is begun.
    let answer = post(&scene, "/slow/", &[], "");
    assert!(amount(&scene, &answer).0 >= 1, "what is begun counts");
}

/// Values that are none, as JSON; the last is none at all.
const WRONG: [&str; 9] = [
    r#"{"n":-5}"#,
    r#"{"n":"NaN"}"#,
    r#"{"n":1e309}"#,
    r#"{"n":9223372036854775808}"#,
    r#"{"n":3,"n":3}"#,
    r#"{"n":null}"#,
    r#"{"n":[1]}"#,
    r#"{"n":3"#,
    r#"{}"#,
];

#[test]
fn a_request_that_does_not_say_what_it_must_is_refused() {
    let routes = [
        route("json", r#"{ meter = "calls", amount = "request.json:/n" }"#),
        route("header", r#"{ meter = "calls", amount = "request.header:X-Rows" }"#),
        route("size", r#"{ meter = "storage", amount = "memory.size" }"#),
    ];
    let scene = scene(&routes.concat());
    for body in WRONG.into_iter().chain([""]) {
        let answer = post(&scene, "/json/", &[], body);
        let json = assert_refusal(&answer, 400, "bad_request");
        assert!(json["message"].as_str().unwrap().contains("/n of the request's body"), "{body}: {json}");
    }
    for rows in [&[("X-Rows", "-1")][..], &[("X-Rows", "x")], &[("X-Rows", "1"), ("X-Rows", "1")], &[]] {
        let json = assert_refusal(&post(&scene, "/header/", rows, ""), 400, "bad_request");
        assert!(json["message"].as_str().unwrap().contains("X-Rows"), "{json}");
    }
    for body in [r#"{"content":5}"#, r#"{"tags":[]}"#, r#"{"content":"a","content":"b"}"#] {
        let json = assert_refusal(&post(&scene, "/size/", &[], body), 400, "bad_request");
        assert!(json["message"].as_str().unwrap().contains("/content of the request's body"), "{json}");
    }
    assert_eq!(scene.origin.requests(), 0, "nothing was forwarded");
    let good = [(r#"{"n":"12"}"#, 12), (r#"{"n":1.5}"#, 2), (r#"{"n":0}"#, 0)];
    assert_amounts(&scene, &good.map(|(body, expected)| ("/json/", &[][..], body, expected)));
}

#[test]
fn each_rule_does_what_it_says_of_requests_and_answers() {
    let rules = [("seven", "7"), ("nothing", "\"nothing\""), ("hold", "\"hold\"")];
    let routes: String = rules
        .iter()
        .flat_map(|(name, rule)| {
            let charge = |source: &str| {
                format!(r#"{{ meter = "calls", amount = "{source}", missing = {rule}, hold = 40 }}"#)
            };
            let sent = route(&format!("sent_{name}"), &charge("request.json:/n"));
            [sent, route(&format!("said_{name}"), &charge("response.json:/n"))]
        })
        .collect();
    let scene = scene(&routes);
    for (name, expected, counts) in
        [("seven", (7, false), false), ("nothing", (0, false), true), ("hold", (40, true), true)]
    {
        let answers: Vec<_> = WRONG
            .into_iter()
            .flat_map(|text| {
                let sent = post(&scene, &format!("/sent_{name}/"), &[], text);
                [sent, post(&scene, &format!("/said_{name}/"), &[("X-Answer", text)], "")]
            })
            .collect();
        for (number, amount) in amounts(&scene, &answers).into_iter().enumerate() {
            assert_eq!(amount, expected, "{name}: {}", WRONG[number / 2]);
        }
        // Zero is not missing.
        let zero = post(&scene, &format!("/said_{name}/"), &[("X-Answer", r#"{"n":0}"#)], "");
        assert_eq!(amount(&scene, &zero), (0, false));
        for kind in ["sent", "said"] {
            let times = if counts { f64::from(u8::try_from(WRONG.len()).unwrap()) } else { 0.0 };
            assert_eq!(missing(&scene, &format!("{kind}_{name}"), "calls"), Some(times), "{kind} {name}");
        }
    }
}

#[test]
fn an_answer_that_says_that_nothing_was_done_costs_what_it_says() {
    let scene = scene(&route("x", r#"{ meter = "calls", amount = "response.json:/n", hold = 40 }"#));
    for (status, answer, expected) in [
        ("404", r#"{"error":"x"}"#, (0, false)),
        ("404", r#"{"n":3}"#, (3, false)),
        ("500", r#"{"n":3}"#, (0, false)),
        ("200", "not json", (40, true)),
        ("204", "", (40, true)),
    ] {
        let answer = post(&scene, "/x/", &[("X-Status", status), ("X-Answer", answer)], "");
        assert_eq!(amount(&scene, &answer), expected, "{answer:?}");
    }
}

#[test]
fn what_the_upstream_reports_goes_before_everything() {
    use tollgate_testkit::{Answer, Reply};

    let charges = r#"{ meter = "pages", amount = "response.json:/n" }, { meter = "pages", amount = 3 }"#;
    let reply = Reply::json(200, r#"{"n":5}"#);
    let origin = super::origin()
        .on("/x/said", Answer::Reply(reply.clone()))
        .on("/x/reported", Answer::Reply(reply.header("X-Usage-pages", "11")));
    let scene = crate::scene::Scene::start(origin, &route("x", charges), super::TIERS);
    for (target, pages) in [("/x/said", 8), ("/x/reported", 11)] {
        let answer = post(&scene, target, &[], "");
        let expected = [("pages".to_owned(), pages, false), ("credits".to_owned(), 2 * pages, false)];
        assert_eq!(charged(&scene, &answer), expected, "{target}");
    }
}
