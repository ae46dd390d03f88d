//! TLS for any door: HTTP/2 or HTTP/1.1 as the client chooses, the certificate read again when its file changes.

use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::settings::Section;
use base::{Counter, Measured, Sample};
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take, waiting for its turn included: two round trips and a signature, so that whoever
/// takes longer than a head may take is not coming.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Handshakes at the same moment, of all doors together: each costs a signature of about a millisecond and some 30 KiB.
/// The others wait their turn.
const HANDSHAKES_MAX: usize = 256;

/// How often the files are looked at: two calls to the system, at most this often, and only if somebody comes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Bytes of a certificate or key file: a chain of ten certificates has about 20 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// `[tls]` of the file: where certificate and key stand, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate, and after it those that it was signed with, up to the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsSettings {
    /// Reads `certificate` and `key`; `None` if one of them is missing, which is noted.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let certificate = section.required_text("certificate", "tls/certificate.pem");
        let key = section.required_text("key", "tls/key.pem");
        Some(Self { certificate: certificate?.into(), key: key?.into() })
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}. Check its path and who may read it", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has not what it should have.
    #[error("{} has no {what} in PEM: {why}. Write it as -----BEGIN …----- blocks", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What was found.
        why: String,
    },
    /// The two do not belong together, or the key is of an unknown kind.
    #[error("{} and {} cannot be used: {source}. Use the key that the certificate was made for", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library said.
        source: rustls::Error,
    },
}

/// What tells one state of a file from another.
type Stamp = Option<(std::time::SystemTime, u64)>;

/// The certificate in use, and when its files were looked at.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    looked: Instant,
    stamps: [Stamp; 2],
}

/// A certificate and its key, for as many doors as want them.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    current: Mutex<Current>,
    turns: Semaphore,
    handshakes: Counter,
    failed: Counter,
    slow: Counter,
    reloads: Counter,
    failed_reloads: Counter,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// A file cannot be read, or the two do not belong together.
    pub fn open(settings: &TlsSettings) -> Result<Arc<Self>, TlsError> {
        let stamps = stamps(settings);
        let config = config(settings)?;
        Ok(Arc::new(Self {
            settings: settings.clone(),
            current: Mutex::new(Current { config, looked: Instant::now(), stamps }),
            turns: Semaphore::new(HANDSHAKES_MAX),
            handshakes: Counter::default(),
            failed: Counter::default(),
            slow: Counter::default(),
            reloads: Counter::default(),
            failed_reloads: Counter::default(),
        }))
    }

    /// Handshakes that went well.
    #[must_use]
    pub fn handshakes(&self) -> u64 {
        self.handshakes.get()
    }

    /// Handshakes that did not: clients that speak no TLS, know no common version, or do not trust the certificate.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// Handshakes that took too long.
    #[must_use]
    pub fn slow(&self) -> u64 {
        self.slow.get()
    }

    /// How often a changed certificate was taken.
    #[must_use]
    pub fn reloads(&self) -> u64 {
        self.reloads.get()
    }

    /// Looks at the files now, whenever they were looked at before.
    pub fn look(&self) {
        let found = stamps(&self.settings);
        {
            let mut current = self.current.lock();
            current.looked = Instant::now();
            if current.stamps == found {
                return;
            }
            // Also if they turn out to be unusable: they are read again when they change again.
            current.stamps = found;
        }
        match config(&self.settings) {
            Ok(config) => {
                self.current.lock().config = config;
                self.reloads.inc();
                tracing::info!(certificate = %self.settings.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                self.failed_reloads.inc();
                tracing::error!(%error, "the changed certificate cannot be used; the one before is kept");
            }
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let due = self.current.lock().looked.elapsed() >= LOOK_EVERY;
        if due {
            self.look();
        }
        TlsAcceptor::from(self.current.lock().config.clone())
    }

    /// Shakes hands; `None` if the client could not, or took too long.
    pub(super) async fn accept<T: AsyncRead + AsyncWrite + Unpin>(&self, socket: T) -> Option<TlsStream<T>> {
        let shaking = async {
            let _turn = self.turns.acquire().await.ok()?;
            Some(self.acceptor().accept(socket).await)
        };
        match tokio::time::timeout(HANDSHAKE_TIME, shaking).await {
            Ok(Some(Ok(stream))) => {
                self.handshakes.inc();
                Some(stream)
            }
            Ok(Some(Err(error))) => {
                self.failed.inc();
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Ok(None) => None,
            Err(_) => {
                self.slow.inc();
                None
            }
        }
    }
}

impl Measured for Tls {
    fn measure(&self, samples: &mut Vec<Sample>) {
        for (name, count) in [
            ("riverrun_edge_tls_handshakes_total", &self.handshakes),
            ("riverrun_edge_tls_failed_handshakes_total", &self.failed),
            ("riverrun_edge_tls_slow_handshakes_total", &self.slow),
            ("riverrun_edge_tls_reloads_total", &self.reloads),
            ("riverrun_edge_tls_failed_reloads_total", &self.failed_reloads),
        ] {
            samples.push(Sample::new(name, &[], count.get()));
        }
    }
}

/// How a connection is kept secret, in the words of a CDN's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher {
    /// `TLSv1.3` or `TLSv1.2`.
    pub protocol: &'static str,
    /// The cipher's name as OpenSSL has it.
    pub name: &'static str,
}

impl Cipher {
    pub(super) fn of(connection: &ServerConnection) -> Self {
        use rustls::CipherSuite as Suite;
        let protocol = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let name = match connection.negotiated_cipher_suite().map(|suite| suite.suite()) {
            Some(Suite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
            Some(Suite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
            Some(Suite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
            Some(Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Some(Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Some(Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Some(Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => "ECDHE-RSA-AES128-GCM-SHA256",
            Some(Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => "ECDHE-RSA-AES256-GCM-SHA384",
            Some(Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-RSA-CHACHA20-POLY1305",
            _ => "-",
        };
        Self { protocol, name }
    }
}

fn stamps(settings: &TlsSettings) -> [Stamp; 2] {
    let stamp = |file: &Path| {
        let metadata: Metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [stamp(&settings.certificate), stamp(&settings.key)]
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(failed)?;
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let none = |file: &Path, what, why: String| TlsError::Pem { file: file.to_owned(), what, why };
    let (certificate, key) = (&settings.certificate, &settings.key);
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|error| none(certificate, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(none(certificate, "certificate", "there is no such block".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?);
    let secret = secret.map_err(|error| none(key, "private key", error.to_string()))?;
    let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
