//! The listening sockets, and TLS towards clients.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring::{default_provider, sign::any_supported_type},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tollgate_config::TlsFiles;

/// Connections that the kernel completes and keeps until a worker takes them.
const BACKLOG: i32 = 1024;

/// One socket for each worker, all on the same address: the kernel spreads connections over them.
pub(crate) fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let mut address = address;
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Needed to come back at once after a restart, and to share the address among workers.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        // Where the system chose the port, the other workers take the same.
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Whether somebody listens there already. With `SO_REUSEPORT` a second gateway of the same user would
/// silently get a part of the connections.
pub(crate) fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("{path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{0}: has no PEM certificate")]
    NoCertificate(PathBuf),
    #[error("{0}: has no PEM private key")]
    NoKey(PathBuf),
    #[error("{key}: does not belong to the certificate in {cert}: {error}")]
    Mismatch { cert: PathBuf, key: PathBuf, error: rustls::Error },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS with a certificate that can change while it is used.
#[derive(Clone)]
pub(crate) struct ServerTls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerTls {
    pub(crate) fn new(files: &TlsFiles) -> Result<Self, CertificateError> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(files)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// Reads the files again; new connections see the new certificate. A pair that does not fit
    /// together, as while files are being replaced one by one, changes nothing.
    pub(crate) fn reload(&self, files: &TlsFiles) -> Result<(), CertificateError> {
        self.current.0.store(Arc::new(read(files)?));
        Ok(())
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, CertificateError> {
    let TlsFiles { cert, key } = files;
    let text =
        |path: &PathBuf| fs::read(path).map_err(|error| CertificateError::Read { path: path.clone(), error });
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&text(cert)?).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate(cert.clone()));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&text(key)?).map_err(|_| CertificateError::NoKey(key.clone()))?;
    let mismatch = |error| CertificateError::Mismatch { cert: cert.clone(), key: key.clone(), error };
    let certified = CertifiedKey::new(chain, any_supported_type(&private).map_err(mismatch)?);
    certified.keys_match().map_err(mismatch)?;
    Ok(certified)
}
