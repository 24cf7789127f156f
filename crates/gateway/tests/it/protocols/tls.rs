//! TLS towards clients and towards upstreams.

use std::{net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use tollgate_testkit::{
    BOUND, Client, Origin, eventually,
    tls::{Authority, Identity},
};

use crate::support::stage::{Stage, USER};

/// Where the tests' certificates are valid for.
const HOST: &str = "localhost";

/// A gateway that shows the certificate in its folder; there until the folder is dropped.
fn files(identity: &Identity) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = identity.write(folder.path());
    (folder, format!("tls = {{ cert = {cert:?}, key = {key:?} }}"))
}

async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Client> {
    Client::tls(address, HOST, Arc::clone(config)).await
}

#[tokio::test]
async fn alpn_decides_on_the_protocol() {
    let (authority, origin) = (Authority::new(), Origin::echo());
    let (_folder, tls) = files(&authority.issue(&[HOST]));
    let gateway = Stage::before(&origin).listen(tls).start();
    for (offered, http2) in
        [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&["h2"], true), (&[], false)]
    {
        let mut client = connect(gateway.address(), &authority.client_config(offered)).await.unwrap();
        assert_eq!(client.is_http2(), http2, "{offered:?}");
        let answer = client.post("/secret", &[USER], "body").await.unwrap();
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("body")), "{offered:?}");
        assert_eq!(origin.last().all("x-forwarded-proto"), ["https"]);
    }
    let stranger = Authority::new().client_config(&["h2"]);
    assert!(connect(gateway.address(), &stranger).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_once_its_key_is_there_too() {
    let (authority, origin) = (Authority::new(), Origin::echo());
    let (old, new) = (authority.issue(&[HOST]), authority.issue(&[HOST]));
    let (folder, tls) = files(&old);
    let gateway = Stage::before(&origin).listen(tls).start();
    // A configuration of its own for each connection: a resumed session shows no certificate.
    let config = || authority.client_config(&["h2"]);
    let mut before = connect(gateway.address(), &config()).await.unwrap();
    assert_eq!(before.server_certificate(), Some(old.certificate_der()));

    // The new certificate with the old key: nothing changes, and the log says so.
    std::fs::write(folder.path().join("cert.pem"), &new.certificate_pem).unwrap();
    assert!(eventually(BOUND, || gateway.logs().contains("certificate not reloaded")));
    let meanwhile = connect(gateway.address(), &config()).await.unwrap();
    assert_eq!(meanwhile.server_certificate(), Some(old.certificate_der()));

    std::fs::write(folder.path().join("key.pem"), &new.key_pem).unwrap();
    assert!(eventually(BOUND, || gateway.logs().contains("certificate reloaded")));
    let mut after = connect(gateway.address(), &config()).await.unwrap();
    assert_eq!(after.server_certificate(), Some(new.certificate_der()));
    // Connections that were there go on.
    for client in [&mut before, &mut after] {
        assert_eq!(client.get("/", &[USER]).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn upstreams_are_checked_against_the_authority_that_ca_names() {
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (Authority::new(), Authority::new());
    let server = right.issue(&[HOST]);
    for (authority, protocol, expected) in [
        (&right, "auto", Some("HTTP/2.0")),
        (&right, "http1", Some("HTTP/1.1")),
        (&right, "http2", Some("HTTP/2.0")),
        (&wrong, "auto", None),
    ] {
        let origin = Origin::builder().tls(server.server_config(&["h2", "http/1.1"])).start();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.certificate_pem()).unwrap();
        let gateway = Stage::of_urls(vec![format!("https://{HOST}:{}", origin.address().port())])
            .upstream(format!("ca = {ca:?}\nprotocol = {protocol:?}"))
            .start();
        let mut client = Client::http1(gateway.address()).await.unwrap();
        let answer = client.post("/tls", &[USER], "body").await.unwrap();
        match expected {
            Some(version) => {
                assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("body")));
                assert_eq!(origin.last().version, version, "{protocol}");
            }
            None => {
                assert_eq!(
                    (answer.status, answer.json()["error"].as_str()),
                    (502, Some("upstream_unavailable"))
                );
                assert_eq!(origin.requests(), 0, "nothing is said to a stranger");
            }
        }
    }
}
