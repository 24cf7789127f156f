//! Writing HTTP/1.1 responses byte for byte.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Reply;

/// The head of a response.
pub(super) fn head(status: u16, headers: &[(String, String)]) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Unknown"));
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head + "\r\n"
}

/// A response of known length; without its body when the request was HEAD.
pub(super) async fn reply(
    stream: &mut (impl AsyncWrite + Unpin),
    reply: &Reply,
    to_head: bool,
) -> io::Result<()> {
    let Reply { status, headers, body } = reply;
    let mut headers = headers.clone();
    if *status != 204 && *status != 304 {
        headers.push(("Content-Length".to_owned(), body.len().to_string()));
    }
    let mut bytes = head(*status, &headers).into_bytes();
    if !to_head {
        bytes.extend_from_slice(body);
    }
    write(stream, &bytes).await
}

/// The head of a chunked response.
pub(super) fn chunked_head(content_type: &str, trailers: &[(String, String)]) -> String {
    let mut headers = vec![
        ("Content-Type".to_owned(), content_type.to_owned()),
        ("Transfer-Encoding".to_owned(), "chunked".to_owned()),
    ];
    if !trailers.is_empty() {
        let names: Vec<&str> = trailers.iter().map(|(name, _)| name.as_str()).collect();
        headers.push(("Trailer".to_owned(), names.join(", ")));
    }
    head(200, &headers)
}

/// One chunk.
pub(super) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// The last chunk with trailers.
pub(super) fn last_chunk(trailers: &[(String, String)]) -> String {
    let mut last = String::from("0\r\n");
    for (name, value) in trailers {
        last.extend([name, ": ", value, "\r\n"]);
    }
    last + "\r\n"
}

/// Writes `bytes` and makes sure that they leave.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) -> io::Result<()> {
    stream.write_all(bytes.as_ref()).await?;
    stream.flush().await
}
