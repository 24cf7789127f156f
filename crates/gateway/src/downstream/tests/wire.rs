//! A connection between requests, and those who read from it.

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    io::Write as _,
    net,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::net::TcpStream;

use super::{BYTES_MAX, LINES_MAX, Reader};
use crate::{
    connection::Activity,
    deadline::Task,
    downstream::{Received, Shared, Wire, wire::Begun},
    headers::Headers,
    http1::{Output, Stream},
};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A client's end of a connection, and the gateway's.
async fn connected() -> (net::TcpStream, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _): (TcpStream, _) = listener.accept().await.unwrap();
    let wire =
        Wire::new(Stream::Plain(stream), Activity::new(&Arc::default(), false), Rc::new(Task::default()));
    (client, Rc::new(RefCell::new(wire)))
}

/// The next request's body, once its head and what the client sent with it are there.
async fn next_body(wire: &Shared) -> Received {
    let mut reader = Reader::new(BYTES_MAX, LINES_MAX);
    let mut used = Headers::default();
    let head = poll_fn(|cx| wire.borrow_mut().poll_head(&mut reader, &mut used, false, cx)).await;
    let head = head.unwrap().expect("a head");
    let Begun::Reading(number) = wire.borrow_mut().begin(head.body, &head.asked) else {
        panic!("there is more of the body to read");
    };
    Received::new(wire, number)
}

/// Whether the connection can carry another request when this one is answered.
fn is_left_reusable(wire: &mut Wire) -> bool {
    let output = wire.take_output();
    wire.end(output);
    wire.rest()
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\n\r\n";

#[tokio::test(flavor = "local")]
async fn what_follows_a_broken_body_that_nobody_read_is_no_request() {
    for broken in ["5\r\nhelloX", "5;\n", "0\r\nX: a\0b\r\n\r\n", "5\r\nhello\r\ng\r\n"] {
        let (mut client, wire) = connected().await;
        client.write_all(format!("{CHUNKED}{broken}{SMUGGLED}").as_bytes()).unwrap();
        let _unread = next_body(&wire).await;
        assert!(!is_left_reusable(&mut wire.borrow_mut()), "{broken:?}: nothing more is read on it");
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_that_nobody_read_is_passed_over_if_it_is_there() {
    let (mut client, wire) = connected().await;
    client.write_all(format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n{SMUGGLED}").as_bytes()).unwrap();
    let _unread = next_body(&wire).await;
    assert!(is_left_reusable(&mut wire.borrow_mut()), "what follows is a request of its own");
}

#[tokio::test(flavor = "local")]
async fn who_waits_for_a_body_learns_that_its_request_is_over() {
    let ends: [fn(&mut Wire); 2] = [|wire| wire.end(Output::default()), Wire::close];
    for end in ends {
        let (mut client, wire) = connected().await;
        client.write_all(CHUNKED.as_bytes()).unwrap();
        let mut body = next_body(&wire).await;
        // The reader is a task of its own; the connection's would wake this one.
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        assert!(body.poll_frame(&mut Context::from_waker(&waker)).is_pending());
        end(&mut wire.borrow_mut());
        assert_eq!(wakes.0.load(Relaxed), 1);
        let polled = body.poll_frame(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Ready(Some(Err(_)))));
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_who_leaves_in_its_body_is_gone_for_all() {
    let (mut client, wire) = connected().await;
    client.write_all(CHUNKED.as_bytes()).unwrap();
    let mut body = next_body(&wire).await;
    drop(client);
    let read = poll_fn(|cx| body.poll_frame(cx)).await;
    assert!(matches!(read, Some(Err(_))));
    let mut gone = pin!(poll_fn(|cx| wire.borrow_mut().poll_gone(cx)));
    assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}
