//! Mistakes of charges and of meters that are made of others, one by one.

use crate::{GATEWAY, report};

const TIERS: &str = r#"default_tier = "free"
[meters]
calls = { unit = "calls" }
seconds = { unit = "seconds" }
spend = { unit = "EUR" }
storage = { unit = "bytes", kind = "level" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free]
other_meters = "unlimited"
"#;

/// A charge, and its mistakes without the file's name.
const CASES: &[(&str, &[&str])] = &[
    (
        r#"{ meter = "calls", amount = "request.jsn:/a" }"#,
        &[
            r#"6:39: routes[0].charge[0].amount: "request.jsn:/a" is no place in a request or an answer; did you mean "request.json"?"#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "request.header" }"#,
        &[
            r#"6:39: routes[0].charge[0].amount: "request.header" does not say which; write as in "request.header:X-Rows""#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "response.header:X Pages" }"#,
        &[
            r#"6:39: routes[0].charge[0].amount: "X Pages" is not a header name; use letters, digits and "-", at most 64, as in "X-Rows""#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "response.json:pages" }"#,
        &[
            r#"6:39: routes[0].charge[0].amount: "pages" is no JSON pointer: it must begin with "/"; write it as in "/usage/total_tokens" or "/items/*/pages""#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "durations" }"#,
        &[r#"6:39: routes[0].charge[0].amount: "durations" is not measured; did you mean "duration"?"#],
    ),
    (
        r#"{ meter = "calls", amount = 2, scale = 3, round = "up", missing = 1 }"#,
        &[
            "6:42: routes[0].charge[0].scale: a constant amount is what it is; remove it",
            "6:53: routes[0].charge[0].round: a constant amount is what it is; remove it",
            "6:67: routes[0].charge[0].missing: a constant amount is always known; remove missing",
        ],
    ),
    (
        r#"{ meter = "calls", amount = "upstream", scale = 3 }"#,
        &[
            "6:51: routes[0].charge[0].scale: the service says how much it is in the meter's own unit; remove it",
        ],
    ),
    (
        r#"{ meter = "calls", amount = "duration", scale = 0.5 }"#,
        &[r#"6:59: routes[0].charge[0].scale: 0.5 is a float, which is not exact; write it as text: "0.5""#],
    ),
    (
        r#"{ meter = "calls", amount = "duration", scale = "1/0", round = "half" }"#,
        &[
            r#"6:59: routes[0].charge[0].scale: "1/0" is zero; write another, or remove the charge"#,
            r#"6:74: routes[0].charge[0].round: unknown value "half"; write one of "up", "down", "half_even""#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "duration", scale = -1 }"#,
        &[
            "6:59: routes[0].charge[0].scale: -1 is negative, and only a level can be given back; write more than 0",
        ],
    ),
    (
        r#"{ meter = "spend", amount = "response.json:/x", scale = "123456.789" }"#,
        &[
            "6:67: routes[0].charge[0].scale: with the units, it has more than 14 digits, which is not counted with; write a shorter one, or another unit",
        ],
    ),
    (
        r#"{ meter = "calls", amount = "response.json:/x", unit = "minutes" }"#,
        &[
            r#"6:66: routes[0].charge[0].unit: the meter counts "calls", into which minutes cannot be converted; remove unit, and say with scale what one is of the meter"#,
        ],
    ),
    (
        r#"{ meter = "seconds", amount = "response.json:/x", unit = "MB" }"#,
        &[
            r#"6:68: routes[0].charge[0].unit: the meter counts "seconds", into which MB cannot be converted; remove unit, and say with scale what one is of the meter"#,
        ],
    ),
    (
        r#"{ meter = "seconds", amount = "duration", unit = "ms" }"#,
        &[
            "6:53: routes[0].charge[0].unit: what is measured is in ms already; remove unit; scale says what one is of the meter",
        ],
    ),
    (
        r#"{ meter = "calls", amount = "llm.total_tokens", unit = "ms", missing = 1 }"#,
        &[
            "6:59: routes[0].charge[0].unit: what is measured has a unit of its own; remove unit",
            "6:72: routes[0].charge[0].missing: what a model does not say is estimated; remove missing",
        ],
    ),
    (
        r#"{ meter = "calls", amount = "duration", min = 5, max = 3, missing = "hold" }"#,
        &[
            "6:66: routes[0].charge[0].max: max is less than min; write min or more",
            "6:69: routes[0].charge[0].missing: this is always known; remove missing",
        ],
    ),
    (
        r#"{ meter = "calls", amount = "response.json:/x", missing = "refuse" }"#,
        &[
            r#"6:69: routes[0].charge[0].missing: an answer is there after the work is done, and cannot be refused; write "hold", "nothing" or a number"#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "request.json:/x", missing = "ignore" }"#,
        &[
            r#"6:68: routes[0].charge[0].missing: unknown value "ignore"; write one of "refuse", "nothing", "hold""#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "request.json:/x", missing = -3, memory = {} }"#,
        &[
            "6:68: routes[0].charge[0].missing: -3 is negative; write 0 or more",
            r#"6:72: routes[0].charge[0].memory: only amount = "memory.size" looks at the parts of a memory; remove memory"#,
        ],
    ),
    (
        r#"{ meter = "storage", amount = "memory.size", memory = { text = "/a/*", dimensions = 100_000, tag = "/t" } }"#,
        &[
            r#"6:74: routes[0].charge[0].memory.text: a memory is one value, not one for each element of a list; write the index of an element in place of "*", as in "/0/content""#,
            "6:95: routes[0].charge[0].memory.dimensions: 100000 is out of bounds; write 0 to 65536",
            r#"6:104: routes[0].charge[0].memory.tag: unknown key; did you mean "tags"?"#,
        ],
    ),
    (
        r#"{ meter = "spend", amount = "duration" }"#,
        &[
            r#"6:39: routes[0].charge[0].amount: the meter counts EUR, which this is not; write "llm.cost" or "upstream", or what one costs as in scale = "0.002""#,
        ],
    ),
    (
        r#"{ meter = "calls", only_if = {} }"#,
        &[
            r#"6:40: routes[0].charge[0].only_if: there is no condition; write as in { status = ["2xx"], "request.header:X-Tier" = "free" }, or remove it"#,
        ],
    ),
    (
        r#"{ meter = "calls", unless = { methods = "GET", status = [], "request.json:/a" = [{}], "response.header:" = 1 } }"#,
        &[
            r#"6:41: routes[0].charge[0].unless.methods: "methods" is no condition; did you mean "method"?"#,
            r#"6:67: routes[0].charge[0].unless.status: nothing would fulfil this; write a value, as in ["2xx", 409]"#,
            r#"6:92: routes[0].charge[0].unless."request.json:/a"[0]: must be a text, a number, true or false, not a table; write "free""#,
            r#"6:97: routes[0].charge[0].unless."response.header:": "" is not a header name; use letters, digits and "-", at most 64, as in "X-Rows""#,
        ],
    ),
    (
        r#"{ meter = "calls", only_if = { method = "post", status = ["2x"] } }"#,
        &[
            r#"6:51: routes[0].charge[0].only_if.method: "post" is not a method; write "POST""#,
            r#"6:69: routes[0].charge[0].only_if.status[0]: "2x" is not an outcome; did you mean "2xx"?"#,
        ],
    ),
    (
        r#"{ meter = "calls", resource = "path", job = { id = "path", time_limit = "1h" } }"#,
        &[
            r#"6:30: routes[0].charge[0].resource: only a level is what exists; remove resource, or give the meter kind = "level""#,
            r#"6:49: routes[0].charge[0].job: only a meter of what runs now has jobs; remove job, or give the meter kind = "concurrent""#,
        ],
    ),
    (
        r#"{ meter = "storage", amount = 0 }"#,
        &["6:41: routes[0].charge[0].amount: 0 charges nothing; remove this charge, or write 1 or more"],
    ),
    (
        r#"{ meter = "storage", amount = 5, resource = "response.json:/*/id" }, { meter = "storage", amount = 5 }"#,
        &[
            r#"6:55: routes[0].charge[0].resource: an id is one value, not one for each element of a list; write the index of an element in place of "*", as in "/0/id""#,
        ],
    ),
    (
        r#"{ meter = "storage", amount = 5, resource = "paths" }, { meter = "storage", amount = -5, resource = "path" }"#,
        &[
            r#"6:55: routes[0].charge[0].resource: "paths" is no place in a request or an answer; write as in "request.header:X-Rows" or "response.json:/items/*/pages""#,
            "6:66: routes[0].charge[1]: what a resource has is 0 or more; write amount = 0 where it is deleted",
        ],
    ),
    (
        r#"{ meter = "storage", amount = 5, resource = "path" }, { meter = "storage" }, { meter = "calls" }, { meter = "calls" }"#,
        &[
            "6:65: routes[0].charge[1]: some charges of this meter name a resource, and some do not; name it in all of them, or in none",
            "6:109: routes[0].charge[3]: the route has the same charge twice; leave one, or write a larger amount",
        ],
    ),
    (
        r#"{ meter = "storage", resource = "response.json:/id" }, { meter = "jobs", job = { id = "response.json:/job_id", time_limit = "1h" } }"#,
        &[
            r#"6:66: routes[0].charge[1]: its id is "response.json:/job_id", and that of another charge is "response.json:/id", but a request changes one thing; write the same place in both, or only_if = { method = … } with other methods in each, or two routes"#,
        ],
    ),
    (
        r#"{ meter = "storage", resource = "path", only_if = { method = ["PUT", "POST"] } }, { meter = "storage", resource = "request.json:/id", only_if = { method = "POST" } }"#,
        &[
            r#"6:93: routes[0].charge[1]: its id is "request.json:/id", and that of another charge is "path", but a request changes one thing; write the same place in both, or only_if = { method = … } with other methods in each, or two routes"#,
        ],
    ),
    (
        r#"{ meter = "calls", amount = "request.header:Content-Length" }, { meter = "calls", amount = "request.header:X_Usage_calls" }"#,
        &[
            r#"6:39: routes[0].charge[0].amount: "content-length" is not there in every request with a body; write "request.bytes""#,
            r#"6:102: routes[0].charge[1].amount: "x_usage_calls" is said by services, in their answers; write amount = "upstream""#,
        ],
    ),
    (
        r#"{ meter = "calls", only_if = { "request.header:X-User-Tier" = "free", "request.header:TE" = "*", "request.header:X-Forwarded-For" = "*" } }"#,
        &[
            r#"6:42: routes[0].charge[0].only_if."request.header:X-User-Tier": "x-user-tier" says who is calling; set limits by tier, in tier-limits.toml, and charge everybody"#,
            r#"6:81: routes[0].charge[0].only_if."request.header:TE": "te" is about the way of a request, and not passed on as it came; name another header, as in "X-Rows""#,
            r#"6:108: routes[0].charge[0].only_if."request.header:X-Forwarded-For": "x-forwarded-for" is about the way of a request, and not passed on as it came; name another header, as in "X-Rows""#,
        ],
    ),
    (
        r#"{ meter = "jobs", job = { id = "path" } }, { meter = "jobs", amount = 2, job = { time_limit = "1h" } }"#,
        &[
            r#"6:35: routes[0].charge[0].job: neither how long the job may last, nor when it has ended; add time_limit = "2h" where it starts, or ended = { "response.json:/status" = ["done"] } where its state is asked for"#,
            "6:84: routes[0].charge[1].job: a job takes one slot; remove amount",
            r#"6:84: routes[0].charge[1].job.id: missing; add id = "response.json:/job_id""#,
        ],
    ),
    (
        r#"{ meter = "jobs", job = { id = "path", ended = { method = "GET" } } }"#,
        &[
            "6:58: routes[0].charge[0].job.ended: whether a job has ended is said by an answer; write status, or a place of the answer",
        ],
    ),
];

#[test]
fn every_mistake_of_a_charge_is_explained() {
    for (charge, expected) in CASES {
        let gateway = GATEWAY.replace(r#"{ meter = "calls" }"#, charge);
        let expected: Vec<String> = expected.iter().map(|text| format!("gateway.toml:{text}")).collect();
        assert_eq!(report(&gateway, TIERS), expected, "{charge}");
    }
}

/// What `credits` is made of, and the mistakes of that without the file's name.
const PARTS: &[(&str, &[&str])] = &[
    (
        "{}",
        &[
            r#"4:36: meters.credits.of: there is no part; write as in { audio_seconds = "1/60", document_pages = 2 }, or remove of"#,
        ],
    ),
    (
        "{ secnds = 1, calls = 0.5, credits = 1, both = 2 }",
        &[
            r#"4:38: meters.credits.of.secnds: no meter is called "secnds"; did you mean "seconds"?"#,
            r#"4:58: meters.credits.of.calls: 0.5 is a float, which is not exact; write it as text: "0.5""#,
            "4:63: meters.credits.of.credits: a meter is not made of itself; remove it",
            "4:76: meters.credits.of.both: it is made of others itself; name what it is made of instead",
        ],
    ),
    (
        "{ storage = 1, jobs = 1, calls = -1, spend = \"0.1234567\" }",
        &[
            "4:38: meters.credits.of.storage: it does not add up, and so nothing can be made of it; remove it",
            "4:51: meters.credits.of.jobs: it does not add up, and so nothing can be made of it; remove it",
            "4:69: meters.credits.of.calls: -1 is negative; write more than 0",
            "4:81: meters.credits.of.spend: in billionths, it has more than 14 digits; write a shorter one",
        ],
    ),
];

#[test]
fn every_mistake_of_parts_is_explained() {
    let both = "both = { unit = \"x\", of = { calls = 1 } }";
    for (parts, expected) in PARTS {
        let of = format!("[meters]\n{both}\ncredits = {{ unit = \"credits\", of = {parts} }}");
        let tiers = TIERS.replace("[meters]", &of);
        let expected: Vec<String> = expected.iter().map(|text| format!("tier-limits.toml:{text}")).collect();
        assert_eq!(report(GATEWAY, &tiers), expected, "{parts}");
    }
    let level =
        TIERS.replace("[meters]", "[meters]\nc = { unit = \"c\", kind = \"level\", of = { calls = 1 } }");
    assert_eq!(
        report(GATEWAY, &level),
        ["tier-limits.toml:3:35: meters.c.of: only what adds up can be made of others; remove of, or kind"]
    );
}

#[test]
fn a_route_charges_so_many_meters_with_those_made_of_others() {
    let more: String = (0..8).map(|n| format!("m{n} = {{ unit = \"x\", of = {{ calls = 1 }} }}\n")).collect();
    let tiers = TIERS.replace("[tiers.free]", &format!("{more}[tiers.free]"));
    assert_eq!(
        report(GATEWAY, &tiers),
        [
            "gateway.toml:6:10: routes[0].charge: the route charges 9 meters, with those that are made of others; charge at most 8"
        ]
    );
}

#[test]
fn charges_are_bounded() {
    let charges = vec!["{ meter = \"calls\" }"; 33].join(", ");
    let gateway = GATEWAY.replace(r#"{ meter = "calls" }"#, &charges);
    assert_eq!(
        report(&gateway, TIERS),
        ["gateway.toml:6:10: routes[0].charge: has 33 elements; write at most 32"]
    );
}

#[test]
fn what_is_looked_at_in_a_body_is_bounded() {
    let charge = |n: usize| {
        let conditions: Vec<String> = (0..9).map(|c| format!("\"response.json:/{n}/{c}\" = 1")).collect();
        format!("{{ meter = \"calls\", only_if = {{ {} }} }}", conditions.join(", "))
    };
    let gateway = |count| {
        let charges: Vec<String> = (0..count).map(charge).collect();
        GATEWAY.replace(r#"{ meter = "calls" }"#, &charges.join(", "))
    };
    assert_eq!(report(&gateway(7), TIERS), [""; 0]);
    assert_eq!(
        report(&gateway(8), TIERS),
        [
            "gateway.toml:6:10: routes[0].charge: the charges look at 72 values of the answer's body; look at most at 64"
        ]
    );
}

#[test]
fn what_exists_belongs_to_users_or_to_organisations() {
    let tiers =
        |limits: &str| format!("{TIERS}[tiers.free.limits]\n{limits}\n[tiers.pro]\ninherits = \"free\"\n");
    let charges = r#"{ meter = "storage", amount = 0, resource = "path" }, { meter = "jobs", job = { id = "path", time_limit = "1h" } }, { meter = "calls" }"#;
    let gateway = GATEWAY.replace("{ meter = \"calls\" }", charges);
    let both = "storage = [5, { limit = 9, scope = \"org\" }]\ncalls = [\"5/day\", { limit = \"9/day\", scope = \"org\" }]";
    let of_tiers =
        format!("{}[tiers.pro.limits]\njobs = {{ limit = 9, scope = \"org\" }}\n", tiers("jobs = 3"));
    let flaw = |place: &str| {
        format!(
            "gateway.toml:{place}: the meter has limits of users and limits of organisations, and what exists belongs to \
             one; give all its limits one scope, or charge two meters: one for users, one for organisations"
        )
    };
    assert_eq!(report(&gateway, &tiers(both)), [flaw("6:44: routes[0].charge[0].resource")]);
    assert_eq!(report(&gateway, &of_tiers), [flaw("6:83: routes[0].charge[1].job")]);
    let slot = gateway.replace(", job = { id = \"path\", time_limit = \"1h\" }", "");
    assert_eq!(report(&slot, &of_tiers), [""; 0]);
    assert_eq!(report(&gateway, &tiers("storage = 5\njobs = { limit = 3, scope = \"org\" }")), [""; 0]);
}
