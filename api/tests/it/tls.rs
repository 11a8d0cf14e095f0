//! TLS: who is spoken to, in which version, and that certificates are renewed.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::StatusCode;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use sentinel_api::{Limits, Tls};
use sentinel_testkit::{Authority, Issued};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::server::{Running, asked, h2, short};

/// A certificate's files, in a directory of their own.
struct Files {
    authority: Authority,
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { authority: Authority::new(), dir: tempfile::tempdir().unwrap() };
        files.renew();
        files
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// Writes a new certificate and its key.
    fn renew(&self) -> CertificateDer<'static> {
        let Issued { cert, key } = self.authority.issue(&["localhost", "127.0.0.1"]);
        fs::write(self.key(), key).unwrap();
        fs::write(self.cert(), &cert).unwrap();
        CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()
    }

    fn open(&self) -> Tls {
        Tls::open(&self.cert(), &self.key()).unwrap().look_every(Duration::from_millis(20))
    }

    fn client(&self) -> ClientConfig {
        self.client_of(&[&TLS12, &TLS13])
    }

    fn client_of(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_protocol_versions(versions).unwrap();
        config.with_root_certificates(roots).with_no_client_auth()
    }
}

async fn connect(server: &Running, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, server.connect().await).await
}

const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn ask(server: &Running, config: ClientConfig) -> std::io::Result<String> {
    let mut stream = connect(server, config).await?;
    stream.write_all(ASK).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_spoken() {
    let files = Files::new();
    let server = Running::api(Limits::default(), Some(files.open())).await;
    for version in [&TLS12, &TLS13] {
        let answer = ask(&server, files.client_of(&[version])).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\r\nstrict-transport-security: max-age="), "{answer}");
    }
    let mut config = files.client();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect(&server, config.clone()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = h2(stream, 65_535).await;
    let answer = sender.send_request(asked("/healthz")).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, hyper::Version::HTTP_2));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(ask(&server, config.clone()).await.unwrap().starts_with("HTTP/1.1 200"));
    config.alpn_protocols = vec![b"spdy/1".to_vec()];
    assert!(ask(&server, config).await.is_err(), "nothing that both speak");
    drop((answer, sender));
    connection.await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_speak_tls_or_does_not_trust_is_not_served() {
    let files = Files::new();
    let server = Running::api(short(), Some(files.open())).await;
    let plain = server.ask(std::str::from_utf8(ASK).unwrap()).await;
    assert!(!plain.contains("200 OK"), "{plain}");
    assert_eq!(server.ask("").await, "", "whoever says nothing is let go of");
    assert!(ask(&server, Files::new().client()).await.is_err());
    // One that agreed and asks nothing.
    let mut silent = connect(&server, files.client()).await.unwrap();
    let mut nothing = Vec::new();
    drop(silent.read_to_end(&mut nothing).await);
    assert!(nothing.is_empty());
    let refused = |metrics: &str| metrics.contains("connections_refused_total{reason=\"tls\"} 3");
    assert!(refused(&server.metrics.text()), "{}", server.metrics.text());
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let files = Files::new();
    let server = Running::api(Limits::default(), Some(files.open())).await;
    let shown = async || {
        let stream = connect(&server, files.client()).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let first = shown().await;
    let second = files.renew();
    while shown().await != second {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_ne!(first, second);
    let stays = async || {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(shown().await == second, "the old one stays");
        }
    };
    fs::write(files.key(), "no key").unwrap();
    stays().await;
    fs::remove_file(files.cert()).unwrap();
    stays().await;
    let third = files.renew();
    while shown().await != third {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stop().await;
}

#[test]
fn what_is_wrong_with_a_file_is_said_of_that_file() {
    let (files, other) = (Files::new(), Files::new());
    let empty = files.dir.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let broken = files.dir.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let nowhere = files.dir.path().join("nowhere.pem");
    let (cert, key) = (files.cert(), files.key());
    for (cert, key, at, what) in [
        (&nowhere, &key, &nowhere, "No such file"),
        (&cert, &nowhere, &nowhere, "No such file"),
        (&empty, &key, &empty, "no certificate in it"),
        (&key, &key, &key, "no certificate in it"),
        (&broken, &key, &broken, "no certificate that can be used"),
        (&cert, &empty, &empty, "no private key in it"),
        (&cert, &cert, &cert, "no private key in it"),
        (&cert, &other.key(), &other.key(), "not the key of the certificate in"),
    ] {
        let error = Tls::open(cert, key).err().expect("an error").to_string();
        assert!(error.starts_with(&format!("{}: ", at.display())) && error.contains(what), "{error}");
    }
}

/// What was asked before the server stops is answered, and listeners are told.
#[tokio::test]
async fn a_server_that_stops_answers_who_waits_in_both_versions() {
    let files = Files::new();
    let server = Running::api(Limits::default(), Some(files.open())).await;
    let mut config = files.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (mut sender, connection) = h2(connect(&server, config).await.unwrap(), 65_535).await;
    let mut events = sender.send_request(asked("/v1/events")).await.unwrap().into_body();
    events.frame().await.unwrap().unwrap();
    let mut one = connect(&server, files.client()).await.unwrap();
    one.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_ne!(one.read(&mut [0; 1024]).await.unwrap(), 0);
    let address = server.address;
    server.stop().await;
    while let Some(frame) = events.frame().await {
        frame.expect("the stream ends as it should");
    }
    connection.await.unwrap().unwrap();
    let mut rest = String::new();
    one.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    assert!(TcpStream::connect(address).await.is_err());
}
