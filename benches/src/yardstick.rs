//! The yardstick: the cheapest proxy we know how to build on hyper, with nothing metered.
//!
//! Its runtime is the gateway's: one current-thread runtime per core, each with its own `SO_REUSEPORT` listener and
//! its own upstream pool; a task per connection, none per request; mimalloc. It strips hop-by-hop headers and
//! forwards streaming bodies. What the gateway costs beyond it is what metering costs.

mod pool;

use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;

use anyhow::Context;
use http::{HeaderMap, HeaderName, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};

use pool::{Pool, Returning};

const BACKLOG: i32 = 1024;

/// Where the proxy listens and what it forwards to.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the upstream.
    #[arg(long)]
    upstream: SocketAddr,
    /// Runtimes; by default as many as there are cores to run on.
    #[arg(long)]
    threads: Option<usize>,
}

/// Serves until SIGTERM.
///
/// # Errors
/// When a listener or a runtime cannot be made.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let threads = match options.threads {
        Some(threads) => threads,
        None => thread::available_parallelism()?.get(),
    };
    for number in 0..threads {
        let listener = listen(options.listen).with_context(|| format!("listen on {}", options.listen))?;
        let upstream = options.upstream;
        thread::Builder::new().name(format!("proxy-{number}")).spawn(move || {
            if let Err(error) = worker(listener, upstream) {
                eprintln!("yardstick: {error:#}");
                std::process::exit(1);
            }
        })?;
    }
    Builder::new_current_thread().enable_io().build()?.block_on(async {
        signal(SignalKind::terminate())?.recv().await;
        Ok(())
    })
}

fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn worker(listener: std::net::TcpListener, upstream: SocketAddr) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let pool = Rc::new(Pool::new(upstream));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let pool = Rc::clone(&pool);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| forward(Rc::clone(&pool), request));
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    eprintln!("yardstick: connection: {error:?}");
                }
            });
        }
    })
}

async fn forward(pool: Rc<Pool>, mut request: Request<Incoming>) -> anyhow::Result<Response<Returning>> {
    strip_hop_by_hop(request.headers_mut());
    let mut sender = pool.take().await?;
    let mut response = sender.send_request(request).await?;
    strip_hop_by_hop(response.headers_mut());
    Ok(response.map(|body| Returning::new(body, sender, pool)))
}

/// One pass over the names decides; only a message that has such a header pays for removing it.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let present = headers.keys().filter(|name| is_hop_by_hop(name)).cloned();
    for name in present.chain(nominated).collect::<Vec<_>>() {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_and_those_they_name_are_stripped() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, x-secret"), ("x-secret", "1"), ("te", "trailers"), ("x-kept", "1")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
