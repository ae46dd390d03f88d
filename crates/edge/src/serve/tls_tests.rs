use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Peer, ServeCounts, ServeLimits, Tls, TlsError, TlsSettings, listen, serve_secured};
use crate::tests::{Client, until};

/// DER: a tag, the length, the content (ITU-T X.690).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..128 => vec![tag, u8::try_from(length).expect("short")],
        128..256 => vec![tag, 0x81, u8::try_from(length).expect("a byte")],
        _ => [vec![tag, 0x82], u16::try_from(length).expect("two bytes").to_be_bytes().to_vec()].concat(),
    };
    [head, content.to_vec()].concat()
}

/// A certificate for `localhost` that signs itself (RFC 5280), and its key, both as PEM.
fn certificate(serial: u8) -> (String, String) {
    let sequence = |parts: &[Vec<u8>]| der(0x30, &parts.concat());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let ecdsa_sha256 = sequence(&[der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])]);
    let common_name = sequence(&[der(0x06, &[0x55, 0x04, 0x03]), der(0x0c, b"localhost")]);
    let name = sequence(&[der(0x31, &common_name)]);
    let validity = sequence(&[der(0x17, b"200101000000Z"), der(0x17, b"491231235959Z")]);
    let curve = sequence(&[
        der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]),
        der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
    ]);
    let public = sequence(&[curve, der(0x03, &[&[0], pair.public_key().as_ref()].concat())]);
    let names = sequence(&[der(0x82, b"localhost")]);
    let alternative = sequence(&[der(0x06, &[0x55, 0x1d, 0x11]), der(0x04, &names)]);
    let signed = sequence(&[
        der(0xa0, &der(0x02, &[2])),
        der(0x02, &[serial]),
        ecdsa_sha256.clone(),
        name.clone(),
        validity,
        name,
        public,
        der(0xa3, &sequence(&[alternative])),
    ]);
    let signature = pair.sign(&SystemRandom::new(), &signed).expect("signs");
    let whole = sequence(&[signed, ecdsa_sha256, der(0x03, &[&[0], signature.as_ref()].concat())]);
    let key = pair.to_pkcs8v1().expect("a key");
    let pem = |label: &str, bytes: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(bytes))
    };
    (pem("CERTIFICATE", &whole), pem("PRIVATE KEY", key.as_ref()))
}

struct Door {
    address: SocketAddr,
    tls: Arc<Tls>,
    counts: Arc<ServeCounts>,
    folder: TempDir,
    certificate: String,
    _stop: DropGuard,
}

fn put(folder: &Path, certificate: &str, key: &str) -> TlsSettings {
    let settings = TlsSettings { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    std::fs::write(&settings.certificate, certificate).expect("writes");
    std::fs::write(&settings.key, key).expect("writes");
    settings
}

fn door(limits: ServeLimits) -> Door {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certificate(1);
    let tls = Tls::open(&put(folder.path(), &certificate, &key)).expect("opens");
    let told = |Extension(peer): Extension<Peer>| async move {
        let cipher = peer.tls.expect("is secured");
        format!("{} {} {}", peer.scheme(), cipher.protocol, cipher.name)
    };
    let app = Router::new().route("/", get(told)).route("/large", get(|| async { vec![0u8; 64 << 20] }));
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("listens");
    let address = listener.local_addr().expect("an address");
    let (counts, stop) = (Arc::new(ServeCounts::new("test")), CancellationToken::new());
    tokio::spawn(serve_secured(listener, app, limits, counts.clone(), Some(tls.clone()), stop.clone()));
    Door { address, tls, counts, folder, certificate, _stop: stop.drop_guard() }
}

async fn connect(address: SocketAddr, trusted: &str, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("PEM")).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

async fn get_over(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("is read");
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_served_over_either_http() {
    let door = door(ServeLimits::default());
    let mut first = connect(door.address, &door.certificate, &[b"http/1.1"]).await.expect("connects");
    assert_eq!(first.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = get_over(&mut first).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("https TLSv1.3 TLS_AES_"), "{answer}");
    let second = connect(door.address, &door.certificate, &[b"h2", b"http/1.1"]).await.expect("connects");
    assert_eq!(second.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(second)).await.expect("shakes hands");
    tokio::spawn(connection);
    let request = Request::builder().uri("https://localhost/").body(Empty::<bytes::Bytes>::new()).expect("a request");
    let answer = sender.send_request(request).await.expect("is answered");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    assert!(answer.into_body().collect().await.expect("is read").to_bytes().starts_with(b"https TLSv1.3"));
    assert_eq!((door.tls.handshakes(), door.tls.failed()), (2, 0));
}

#[tokio::test]
async fn a_certificate_that_changes_is_taken_and_a_broken_one_is_not() {
    let door = door(ServeLimits::default());
    let (other, other_key) = certificate(2);
    let (_, foreign_key) = certificate(3);
    // Its length differs, so that the change is seen whatever the clock of the file system does.
    put(door.folder.path(), &other, &format!("{foreign_key}\n"));
    door.tls.look();
    assert_eq!(door.tls.reloads(), 0);
    let mut still = connect(door.address, &door.certificate, &[]).await.expect("the first one is kept");
    assert!(get_over(&mut still).await.contains("200"));
    put(door.folder.path(), &other, &format!("{other_key}\n\n"));
    door.tls.look();
    door.tls.look();
    assert_eq!(door.tls.reloads(), 1);
    assert!(get_over(&mut connect(door.address, &other, &[]).await.expect("connects")).await.contains("200"));
    assert!(connect(door.address, &door.certificate, &[]).await.is_err(), "the first one is gone");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_closed() {
    let brief = Duration::from_millis(400);
    let door = door(ServeLimits { head_time: brief, idle_time: brief, write_stall: brief, ..ServeLimits::default() });
    let mut plain = Client::to(door.address).await;
    plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // An alert, and then the end.
    while plain.more().await > 0 {}
    until("the nonsense is counted", || door.tls.failed() == 1).await;
    let mut silent = Client::to(door.address).await;
    let mut dripping = Client::to(door.address).await;
    dripping.send([22, 3, 1, 0x3f, 0xff, 1]).await;
    assert!(silent.is_closed().await && dripping.is_closed().await);
    assert_eq!(door.counts.slow_heads(), 2);
    // Shaking hands is no licence to hold a connection.
    let mut shaken = connect(door.address, &door.certificate, &[]).await.expect("connects");
    let mut rest = Vec::new();
    let _cut = shaken.read_to_end(&mut rest).await;
    assert_eq!((rest.len(), door.counts.slow_heads()), (0, 3));
    let mut greedy = connect(door.address, &door.certificate, &[b"http/1.1"]).await.expect("connects");
    greedy.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("is sent");
    until("who takes nothing is cut off", || door.counts.open() == 0).await;
}

#[tokio::test]
async fn more_hands_than_can_be_shaken_at_once_are_shaken_one_after_the_other() {
    let door = door(ServeLimits::default());
    let connecting = (0..300).map(|_| connect(door.address, &door.certificate, &[]));
    let connected = futures::future::join_all(connecting).await;
    assert!(connected.iter().all(Result::is_ok));
    // The client is through a moment before the server is.
    until("all hands are shaken", || door.tls.handshakes() == 300).await;
    assert_eq!((door.tls.failed(), door.tls.slow()), (0, 0));
}

#[test]
fn files_that_cannot_be_used_are_told_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |certificate: &str, key: &str| Tls::open(&put(folder.path(), certificate, key)).expect_err("is refused");
    let (first, first_key) = certificate(1);
    let (_, second_key) = certificate(2);
    assert!(matches!(told(&first, &second_key), TlsError::Pair { .. }));
    assert!(matches!(told("", &first_key), TlsError::Pem { what: "certificate", .. }));
    assert!(matches!(told(&first, &first), TlsError::Pem { what: "private key", .. }));
    let absent = TlsSettings { certificate: folder.path().join("none.pem"), key: folder.path().join("key.pem") };
    let error = Tls::open(&absent).expect_err("is refused").to_string();
    assert!(error.contains("none.pem cannot be read"), "{error}");
}
