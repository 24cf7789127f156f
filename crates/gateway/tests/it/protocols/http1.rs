//! What HTTP/1 clients get from the gateway's own side of the protocol.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use tollgate_testkit::{Answer, BOUND, Ending, Gateway, Origin, Reply, Response, Wire, eventually};

use crate::support::stage::{Stage, request, resident_bytes, sent};

/// All that the gateway says on a connection until it closes it.
fn all_answers(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Vec<Response> {
    let mut wire = sent(gateway, bytes);
    assert!(wire.closes(BOUND));
    Response::parse_all(wire.unread())
}

#[test]
fn early_hints_reach_http_1_1_clients_before_the_answer() {
    let origin = Origin::builder().on("/", Answer::EarlyHints(Reply::json(200, "{}"))).start();
    let gateway = Stage::before(&origin).start();
    let answers = all_answers(&gateway, request("GET", "/", "Connection: close\r\n", ""));
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [103, 200]);
    assert_eq!(answers[0].header("link"), Some("</style.css>; rel=preload"));
    assert_eq!((answers[1].header("link"), answers[1].ending), (None, Ending::Complete));

    let old = all_answers(&gateway, "GET / HTTP/1.0\r\nX-User-Id: ada\r\n\r\n");
    assert_eq!(old.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200], "HTTP/1.0 knows none");
}

#[test]
fn informational_answers_are_undressed_and_continue_is_not_passed_on() {
    let said = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: secret\r\n\
                X-Usage-calls: 7\r\nKeep-Alive: timeout=5\r\n\r\n\
                HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let origin = Origin::builder().on("/", Answer::Raw(said.as_bytes().to_vec())).start();
    let gateway = Stage::before(&origin).start();
    let lines = "Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n";
    let mut wire = sent(&gateway, request("POST", "/", lines, ""));
    assert!(wire.read_until(BOUND, |read| read == b"HTTP/1.1 100 Continue\r\n\r\n"), "once, by the gateway");
    wire.send("{}");
    assert!(wire.closes(BOUND));
    let answers = Response::parse_all(wire.unread());
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [100, 102, 103, 200]);
    assert_eq!(answers[2].headers, [("link".to_owned(), "</a>".to_owned())]);
    assert_eq!(answers[3].text(), "ok");
}

#[test]
fn heads_that_cannot_be_read_are_refused_as_everything_else_is_and_counted() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).listen("header_bytes_max = \"16KiB\"").start();
    let large = request("GET", "/", &format!("X-Large: {}\r\n", "l".repeat(20 << 10)), "");
    let many = request("GET", "/", &"a: b\r\n".repeat(200), "");
    for (what, head, status, code) in [
        ("no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 400, "bad_request"),
        ("two lengths", "POST / HTTP/1.1\r\nContent-Length: 5,6\r\n\r\n", 400, "bad_request"),
        ("too large", &large, 431, "headers_too_large"),
        ("too many", &many, 431, "headers_too_large"),
    ] {
        let series = format!("tollgate_refusals_total{{code=\"{code}\",tier=\"none\"}}");
        let before = gateway.metric(&series).unwrap_or(0.0);
        let answers = all_answers(&gateway, head);
        let [answer] = &*answers else { panic!("{what}: {answers:?}") };
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(code)), "{what}");
        assert_eq!((answer.header("connection"), answer.ending), (Some("close"), Ending::Complete), "{what}");
        let id = answer.header("x-request-id").expect("a request id");
        assert_eq!(answer.json()["request_id"], id, "{what}");
        assert!(eventually(BOUND, || gateway.metric(&series) == Some(before + 1.0)), "{what}");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn http_1_0_keeps_its_connection_if_it_asks_and_the_answer_has_a_length() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let mut wire = Wire::connect(gateway.address());
    for _ in 0..2 {
        wire.send("GET / HTTP/1.0\r\nX-User-Id: ada\r\nConnection: keep-alive\r\n\r\n");
        let answer = wire.response(false, BOUND).expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")));
        assert_eq!(answer.ending, Ending::Complete);
    }
}

/// Without chunks, only the end of the connection says where an answer ends, and only a reset that it is cut.
#[test]
fn an_answer_of_unknown_length_ends_http_1_0_connections_as_it_ends_itself() {
    let trailers = vec![("X-Sum".to_owned(), "1".to_owned())];
    let whole = Answer::Chunked { chunks: vec!["ab".to_owned(), "cd".to_owned()], trailers };
    let cut = Answer::CutChunked(vec!["ab".to_owned(), "cd".to_owned()]);
    let origin = Origin::builder().on("/whole", whole).on("/cut", cut).start();
    let gateway = Stage::before(&origin).start();
    for (path, is_whole) in [("/whole", true), ("/cut", false)] {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let head = format!("GET {path} HTTP/1.0\r\nX-User-Id: ada\r\nConnection: keep-alive\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut read = Vec::new();
        let end = stream.read_to_end(&mut read);
        let read = String::from_utf8(read).unwrap();
        match end {
            Ok(_) => assert!(is_whole && read.ends_with("\r\n\r\nabcd"), "{path}: {read}"),
            Err(error) => assert_eq!((is_whole, error.kind()), (false, ErrorKind::ConnectionReset), "{path}"),
        }
        for absent in ["transfer-encoding", "trailer", "keep-alive"] {
            assert!(!read.contains(absent), "{path}: {read}");
        }
    }
}

#[test]
fn a_client_who_leaves_is_noticed_behind_a_pipelined_request() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let gateway = Stage::before(&origin).start();
    let wire = sent(&gateway, request("GET", "/hang", "", "") + &request("GET", "/next", "", ""));
    assert!(origin.wait_requests(1, BOUND));
    drop(wire);
    assert!(eventually(BOUND, || origin.abandoned() == 1), "the upstream learns that nobody waits");
    assert!(origin.received().iter().all(|received| received.path() != "/next"));
}

/// What a client sends while its request is served waits in the kernel, beyond a little.
#[test]
fn further_requests_are_not_read_without_end_while_one_is_served() {
    let origin = Origin::builder().on("/hang", Answer::Hang).start();
    let gateway = Stage::before(&origin).start();
    let mut wire = sent(&gateway, request("GET", "/hang", "", ""));
    assert!(origin.wait_requests(1, BOUND));
    let (before, _) = resident_bytes(&gateway);
    assert!(!wire.send_within(vec![b'x'; 64 << 20], Duration::from_millis(300)), "nobody reads it");
    let (now, _) = resident_bytes(&gateway);
    assert!(now < before + (4 << 20), "{before} bytes before, {now} now");
}

#[test]
fn an_answer_by_http_1_0_is_one_by_http_1_1_to_the_client() {
    let old = b"HTTP/1.0 299 Quite Fine\r\nX-A: b\r\n\r\nhello".to_vec();
    let origin = Origin::builder().on("/old", Answer::Raw(old)).start();
    let gateway = Stage::before(&origin).start();
    let mut wire = sent(&gateway, request("GET", "/old", "", "") + &request("GET", "/next", "", ""));
    assert!(wire.read_until(BOUND, |read| read.starts_with(b"HTTP/1.1 299 Quite Fine\r\n")));
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!(
        (answer.text().as_str(), answer.ending, answer.header("x-a")),
        ("hello", Ending::Complete, Some("b"))
    );
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(wire.response(false, BOUND).expect("the next answer").status, 200);
}

#[test]
fn every_answer_has_one_date() {
    let dated = Reply::json(200, "{}").header("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let origin = Origin::builder().on("/dated", Answer::Reply(dated)).start();
    let gateway = Stage::before(&origin).start();
    let both = request("GET", "/dated", "", "") + &request("BAD", "/\x01", "", "");
    let answers = all_answers(&gateway, both);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 400]);
    assert_eq!(answers[0].all("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    let [date] = *answers[1].all("date") else { panic!("{:?}", answers[1]) };
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
}
