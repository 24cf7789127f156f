//! Conversations with models over WebSockets: charged answer by answer, and ended by a limit.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};
use tollgate_testkit::{Answer, BOUND, Gateway, Origin, eventually_async};

use crate::support::stage::{Event, Stage, final_events_async, settlements};

const CHARGE: &str = r#"{ meter = "calls" }, { meter = "tokens", amount = "llm.total_tokens", hold = 10 }"#;

/// What a model says when an answer is done; the origin says whatever it hears.
fn done(input: i64, output: i64) -> Message {
    let usage = format!(r#"{{"input_tokens":{input},"output_tokens":{output}}}"#);
    Message::text(format!(r#"{{"type":"response.done","response":{{"id":"r","usage":{usage}}}}}"#))
}

async fn open(gateway: &Gateway) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{}/v1/realtime?model=m", gateway.address()).into_client_request()?;
    request.headers_mut().insert("x-user-id", "ada".parse().unwrap());
    request.headers_mut().insert("sec-websocket-extensions", "permessage-deflate".parse().unwrap());
    Ok(client_async(request, TcpStream::connect(gateway.address()).await?).await?.0)
}

fn gateway(origin: &Origin, limits: &str) -> Gateway {
    Stage::before(origin).charge(CHARGE, limits).start()
}

fn of<'a>(events: &'a [Event], meter: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.meter == meter).collect()
}

#[tokio::test]
async fn each_answer_is_charged_when_it_is_done() {
    let origin = Origin::builder().on("/v1/realtime", Answer::WebSocket).start();
    let mut gateway = gateway(&origin, r#"tokens = "1000/day""#);
    let mut socket = open(&gateway).await.unwrap();
    assert_eq!(origin.last().header("sec-websocket-extensions"), None, "what is compressed cannot be read");
    let created = Message::text(r#"{"type":"session.created","session":{"model":"gpt-realtime"}}"#);
    for message in [created, done(30, 10), Message::text(r#"{"type":"response.created"}"#), done(50, 20)] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message, "messages pass untouched");
    }
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 2.0).await, "while the conversation goes on");
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 3.0).await);

    let events = final_events_async(&mut gateway).await;
    let mut tokens: Vec<_> = of(&events, "tokens").iter().map(|e| (e.amount, e.estimated)).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [(0, false), (40, false), (70, false)], "{events:?}");
    assert_eq!(of(&events, "calls").iter().map(|event| event.amount).sum::<i64>(), 1, "one request");
    let answer = of(&events, "tokens").into_iter().find(|event| event.amount == 70).unwrap();
    let metadata: Value = serde_json::from_str(answer.metadata.as_deref().unwrap()).unwrap();
    assert_eq!(
        metadata,
        serde_json::json!({ "model": "gpt-realtime", "provider": "main", "input": 50, "output": 20 })
    );
}

#[tokio::test]
async fn a_limit_ends_a_conversation_and_all_of_it_is_charged() {
    let origin = Origin::builder().on("/v1/realtime", Answer::WebSocket).start();
    let mut gateway = gateway(&origin, r#"tokens = "100/lifetime""#);
    let mut socket = open(&gateway).await.unwrap();
    for answer in 1..=3 {
        socket.send(done(30, 10)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), done(30, 10));
        assert!(eventually_async(BOUND, || settlements(&gateway) >= f64::from(answer.min(2))).await);
    }
    let end = socket.next().await.unwrap().unwrap();
    let Message::Close(Some(frame)) = end else { panic!("{end:?}") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "quota_exceeded"));
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 3.0).await, "{}", settlements(&gateway));
    let refused = open(&gateway).await;
    assert!(matches!(&refused, Err(Error::Http(answer)) if answer.status() == 429), "{refused:?}");

    let events = final_events_async(&mut gateway).await;
    let tokens: i64 = of(&events, "tokens").iter().map(|event| event.amount).sum();
    assert_eq!(tokens, 120, "what the model did is charged, beyond the limit as well: {events:?}");
}

#[tokio::test]
async fn a_conversation_that_dies_leaves_nothing_uncharged_and_nothing_held() {
    let origin = Origin::builder().on("/v1/realtime", Answer::WebSocket).start();
    let mut gateway = gateway(&origin, r#"tokens = "100/lifetime""#);
    let mut socket = open(&gateway).await.unwrap();
    socket.send(done(30, 10)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), done(30, 10));
    drop(socket);
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 2.0).await);
    // Ten are held while it goes on: sixty are left.
    let mut socket = open(&gateway).await.unwrap();
    socket.send(done(40, 10)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), done(40, 10));
    assert!(eventually_async(BOUND, || settlements(&gateway) >= 3.0).await);
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    let events = final_events_async(&mut gateway).await;
    assert_eq!(of(&events, "tokens").iter().map(|event| event.amount).sum::<i64>(), 90, "{events:?}");
}
