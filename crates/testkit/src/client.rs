//! A client on one connection: HTTP/1.1 kept alive, or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{Ending, Response};

/// The body of a request: whole, or streamed by the test.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A client on one connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    scheme: &'static str,
    authority: String,
    certificate: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    /// Connects with HTTP/1.1.
    ///
    /// # Errors
    /// When the connection or its handshake fails.
    pub async fn http1(address: SocketAddr) -> io::Result<Self> {
        let sender = http1_over(TcpStream::connect(address).await?).await?;
        Ok(Self { sender, scheme: "http", authority: address.to_string(), certificate: None })
    }

    /// Connects with HTTP/2, with prior knowledge.
    ///
    /// # Errors
    /// When the connection or its handshake fails.
    pub async fn http2(address: SocketAddr) -> io::Result<Self> {
        let sender = http2_over(TcpStream::connect(address).await?).await?;
        Ok(Self { sender, scheme: "http", authority: address.to_string(), certificate: None })
    }

    /// Connects with TLS as `name`; the protocol is what ALPN agrees on, HTTP/1.1 when it does not.
    ///
    /// # Errors
    /// When the connection or a handshake fails.
    pub async fn tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tcp = TcpStream::connect(address).await?;
        let stream = tokio_rustls::TlsConnector::from(config).connect(server, tcp).await?;
        let session = stream.get_ref().1;
        let certificate =
            session.peer_certificates().and_then(|chain| chain.first()).map(|first| first.to_vec());
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let sender = if is_http2 { http2_over(stream).await? } else { http1_over(stream).await? };
        Ok(Self { sender, scheme: "https", authority: format!("{name}:{}", address.port()), certificate })
    }

    /// The certificate that the server showed, when there is one.
    #[must_use]
    pub fn server_certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// Whether the connection speaks HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// GET with these headers.
    ///
    /// # Errors
    /// When no response head arrives.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> hyper::Result<Response> {
        self.request(Method::GET, path, headers, Bytes::new()).await
    }

    /// POST with these headers and this body.
    ///
    /// # Errors
    /// When no response head arrives.
    pub async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<Response> {
        self.request(Method::POST, path, headers, body.into()).await
    }

    /// Any request; the response is read to its end, which may be a cut.
    ///
    /// Cancelling it drops the request: HTTP/1.1 connections close, HTTP/2 streams are reset.
    ///
    /// # Errors
    /// When no response head arrives.
    ///
    /// # Panics
    /// When path or headers are no HTTP.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> hyper::Result<Response> {
        let mut request = Request::builder().method(method).uri(path);
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        let body = Full::new(body).map_err(|never| match never {}).boxed();
        let response = self.open(request.body(body).expect("an HTTP request")).await?;
        Ok(read(response).await)
    }

    /// Sends a request whose body the test streams, and returns once the response's head is there.
    ///
    /// The request's URI is its path; scheme, authority and `Host` are filled in where they are missing.
    ///
    /// # Errors
    /// When no response head arrives.
    ///
    /// # Panics
    /// When the path is none.
    pub async fn open(&mut self, mut request: Request<Body>) -> hyper::Result<http::Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                if !request.headers().contains_key(http::header::HOST) {
                    let host = self.authority.parse().expect("an authority");
                    request.headers_mut().insert(http::header::HOST, host);
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                if request.uri().authority().is_none() {
                    let uri = format!("{}://{}{}", self.scheme, self.authority, request.uri());
                    *request.uri_mut() = uri.parse().expect("a path");
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// Reads a response to its end. An error in the body is `Ending::Cut`.
async fn read(response: http::Response<Incoming>) -> Response {
    let (head, mut incoming) = response.into_parts();
    let (mut body, mut trailers, mut ending) = (Vec::new(), Vec::new(), Ending::Complete);
    while let Some(frame) = incoming.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(frame)) => trailers.extend(frame.trailers_ref().map(pairs).unwrap_or_default()),
            Err(_) => {
                ending = Ending::Cut;
                break;
            }
        }
    }
    Response { status: head.status.as_u16(), headers: pairs(&head.headers), body, trailers, ending }
}

/// Names and values of `headers`.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

async fn http1_over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> io::Result<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    Ok(Sender::Http1(sender))
}

async fn http2_over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> io::Result<Sender> {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(Sender::Http2(sender))
}
