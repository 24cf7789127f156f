//! Connections to HTTP/1 services: what they carry at once, and when they serve again.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use tollgate_testkit::{BOUND, Client, Ending, Origin, Reuse, eventually, tls::Authority};

use crate::support::stage::{Stage, USER, final_events, request, sent};

const MIB: usize = 1 << 20;

fn upstream() -> (TcpListener, Stage) {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let stage = Stage::at(&[upstream.local_addr().unwrap()]);
    (upstream, stage)
}

fn accept(upstream: &TcpListener) -> TcpStream {
    let (stream, _) = upstream.accept().unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    stream
}

/// Reads until `end` has come; all that came.
fn read_to(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while !read.ends_with(end) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    read
}

/// The request goes on while the answer does, also when the client does not read it yet.
#[test]
fn neither_direction_waits_for_the_other() {
    const UPLOAD: usize = 32 * MIB;
    const DOWNLOAD: usize = 48 * MIB;
    let (upstream, stage) = upstream();
    let gateway = stage.start();
    let service = thread::spawn(move || {
        let mut stream = accept(&upstream);
        let mut other = stream.try_clone().unwrap();
        let mut head = [0; 1];
        stream.read_exact(&mut head).unwrap();
        let writer = thread::spawn(move || {
            write!(other, "HTTP/1.1 200 OK\r\nContent-Length: {DOWNLOAD}\r\n\r\n").unwrap();
            let piece = vec![b'd'; MIB];
            (1..DOWNLOAD / MIB).for_each(|_| other.write_all(&piece).unwrap());
            // The end waits for the end of the request: an answer that ends before it closes the connection.
            (other, piece)
        });
        let mut buffer = vec![0; MIB];
        let mut uploaded = 0;
        while uploaded < UPLOAD {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "cut after {uploaded} bytes");
            uploaded += buffer[..count].iter().filter(|byte| **byte == b'\0').count();
        }
        let (mut other, piece) = writer.join().unwrap();
        other.write_all(&piece).unwrap();
    });
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    let lines = format!("Content-Length: {UPLOAD}\r\nConnection: close\r\n");
    stream.write_all(request("POST", "/", &lines, "").as_bytes()).unwrap();
    let piece = vec![0; MIB];
    for _ in 0..UPLOAD / MIB {
        stream.write_all(&piece).expect("the upload is taken while nobody reads the answer");
    }
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert!(read.len() > DOWNLOAD && read[read.len() - DOWNLOAD..].iter().all(|byte| *byte == b'd'));
    service.join().unwrap();
}

#[test]
fn a_connection_whose_request_ended_during_its_answer_serves_again() {
    let (upstream, stage) = upstream();
    let gateway = stage.start();
    let mut wire = sent(&gateway, request("POST", "/", "Content-Length: 5\r\n", "be"));
    let mut stream = accept(&upstream);
    read_to(&mut stream, b"\r\n\r\nbe");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").unwrap();
    assert!(wire.read_until(BOUND, |read| read.ends_with(b"\r\n\r\nab")));
    assert!(wire.send("gun"));
    read_to(&mut stream, b"gun");
    stream.write_all(b"cd").unwrap();
    assert_eq!(wire.response(false, BOUND).expect("the answer").text(), "abcd");
    assert!(wire.send(request("GET", "/again", "", "")));
    assert!(read_to(&mut stream, b"\r\n\r\n").starts_with(b"GET /again "));
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 204);
}

/// A body that turns out too large while its answer streams already.
#[test]
fn a_request_that_goes_wrong_during_its_answer_cuts_it() {
    let (upstream, stage) = upstream();
    let mut gateway = stage.start();
    let mut wire = sent(&gateway, request("POST", "/", "Transfer-Encoding: chunked\r\n", "2\r\nbe\r\n"));
    let mut stream = accept(&upstream);
    read_to(&mut stream, b"2\r\nbe\r\n");
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").unwrap();
    assert!(wire.read_until(BOUND, |read| read.ends_with(b"2\r\nab\r\n")));
    assert!(wire.send("no chunk\r\n"));
    assert!(wire.closes(BOUND));
    let answer = wire.response(false, BOUND).expect("the answer");
    assert_eq!((answer.status, answer.ending), (200, Ending::Cut));
    assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)), "the service is told");
    let events = final_events(&mut gateway);
    assert_eq!((events.len(), events[0].status, events[0].amount), (1, 200, 1));
}

/// What nobody asked for answers nobody's request.
#[test]
fn a_second_answer_is_nobodys() {
    for behind in ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "x", "\r\n"] {
        for together in [true, false] {
            let (upstream, stage) = upstream();
            let gateway = stage.start();
            let mut wire = sent(&gateway, request("GET", "/1", "", ""));
            let mut stream = accept(&upstream);
            read_to(&mut stream, b"\r\n\r\n");
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
            if together {
                write!(stream, "{answer}ok{behind}").unwrap();
            } else {
                write!(stream, "{answer}ok").unwrap();
            }
            assert_eq!(wire.response(false, BOUND).expect("an answer").text(), "ok");
            if !together {
                stream.write_all(behind.as_bytes()).unwrap();
                // It is seen by the next request, or by who looks after idle connections.
                assert!(eventually(BOUND, || stream.peek(&mut [0]).is_ok_and(|count| count == 0)));
            }
            assert!(wire.send(request("GET", "/2", "", "")));
            let mut stream = accept(&upstream);
            assert!(read_to(&mut stream, b"\r\n\r\n").starts_with(b"GET /2 "));
            write!(stream, "{answer}2!").unwrap();
            assert_eq!(wire.response(false, BOUND).expect("an answer").text(), "2!", "{behind:?}");
        }
    }
}

/// Also after an informational answer, it is the same request that is sent again.
#[test]
fn what_is_sent_again_is_the_same() {
    let (upstream, stage) = upstream();
    let gateway = stage.start();
    let get = request("GET", "/again?q", "X-One: 1\r\nX-Two: 2\r\n", "");
    let mut wire = sent(&gateway, request("GET", "/", "", ""));
    let mut stream = accept(&upstream);
    read_to(&mut stream, b"\r\n\r\n");
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 204);
    assert!(wire.send(get));
    let first = read_to(&mut stream, b"\r\n\r\n");
    stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 20").unwrap();
    drop(stream);
    let mut stream = accept(&upstream);
    let second = read_to(&mut stream, b"\r\n\r\n");
    assert_eq!(String::from_utf8(second).unwrap(), String::from_utf8(first).unwrap());
    // What is no HTTP was not a connection that had been closed.
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").unwrap();
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 502);
}

/// Those that the service closed while they were idle make room for others.
#[test]
fn connections_that_ended_do_not_count() {
    let origin = Origin::builder().reuse(Reuse::CloseIdle).start();
    let gateway = Stage::before(&origin).upstream("connections_max = 1").start();
    let mut wire = sent(&gateway, "");
    for n in 0..4 {
        assert!(eventually(BOUND, || {
            wire.send(request("POST", &format!("/{n}"), "Content-Length: 1\r\n", "x"));
            // A connection that is being closed as the request leaves is a failure that is told.
            wire.response(false, BOUND).expect("an answer").status == 200
        }));
    }
}

/// Whatever the method, a body that came is passed on.
#[test]
fn a_get_with_chunks_keeps_them() {
    let origin = Origin::echo();
    let gateway = Stage::before(&origin).start();
    let mut wire =
        sent(&gateway, request("GET", "/", "Transfer-Encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n"));
    assert_eq!(wire.response(false, BOUND).expect("an answer").status, 200);
    assert_eq!(origin.last().body, b"ab");
}

#[tokio::test]
async fn tls_carries_large_bodies_over_one_connection() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = authority.issue(&["localhost"]);
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate_pem()).unwrap();
    let large = tollgate_testkit::Reply { status: 200, headers: Vec::new(), body: vec![b'd'; 3 * MIB] };
    let origin = Origin::builder()
        .on("/large", tollgate_testkit::Answer::Reply(large))
        .tls(server.server_config(&["http/1.1"]))
        .start();
    let gateway = Stage::of_urls(vec![format!("https://localhost:{}", origin.address().port())])
        .upstream(format!("ca = {ca:?}"))
        .start();
    let mut client = Client::http1(gateway.address()).await.unwrap();
    for _ in 0..3 {
        let answer = client.post("/large", &[USER], vec![b'u'; 3 * MIB]).await.unwrap();
        assert_eq!((answer.status, answer.body.len(), answer.ending), (200, 3 * MIB, Ending::Complete));
        assert_eq!(origin.last().body_bytes, 3 * MIB);
    }
    assert_eq!(origin.connections(), 1);
}
