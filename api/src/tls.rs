//! TLS: the server's certificate and key, which are taken up when they are renewed on disk.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The files are looked at this often.
const LOOK: Duration = Duration::from_secs(10);

/// A certificate and its key, as they are now. Clones share them.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    acceptor: TlsAcceptor,
    every: Duration,
}

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
    /// What was read last, whether it is used or not.
    read: Mutex<Option<Pem>>,
    current: RwLock<Arc<CertifiedKey>>,
}

#[derive(PartialEq, Eq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// With the certificate chain in one file and its key in another, both PEM.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = Pem::read(cert, key)?;
        let current = RwLock::new(Arc::new(pem.certified(cert, key)?));
        let read = Mutex::new(Some(pem));
        let files = Arc::new(Files { cert: cert.to_owned(), key: key.to_owned(), read, current });
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let unfit = |error: rustls::Error| TlsError::Unfit { path: cert.to_owned(), what: error.to_string() };
        let config = config.with_safe_default_protocol_versions().map_err(unfit)?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Files>::clone(&files);
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files, acceptor: TlsAcceptor::from(Arc::new(config)), every: LOOK })
    }

    /// Looks at the files this often.
    #[must_use]
    pub fn look_every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    pub(crate) async fn accept<I: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: I,
    ) -> io::Result<TlsStream<I>> {
        self.acceptor.accept(stream).await
    }

    /// Takes up what is new in the files, for ever.
    pub(crate) async fn renew(self) {
        loop {
            tokio::time::sleep(self.every).await;
            let files = Arc::clone(&self.files);
            match tokio::task::spawn_blocking(move || files.look()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    tracing::info!(file = %self.files.cert.display(), "a new certificate is used");
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "a new certificate or key is not fit for use: the old ones stay");
                }
                Err(error) => tracing::error!(%error, "looking for a new certificate crashed"),
            }
        }
    }
}

impl Files {
    /// Whether there was something new, which is used from now on. What is wrong is told once.
    fn look(&self) -> Result<bool, TlsError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let pem = match Pem::read(&self.cert, &self.key) {
            Ok(pem) => pem,
            Err(error) => return read.take().map_or(Ok(false), |_| Err(error)),
        };
        if read.as_ref() == Some(&pem) {
            return Ok(false);
        }
        let certified = pem.certified(&self.cert, &self.key);
        *read = Some(pem);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified?);
        Ok(true)
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("cert", &self.cert).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Pem {
    fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| TlsError::Unreadable { path: path.to_owned(), error })
        };
        Ok(Self { cert: read(cert)?, key: read(key)? })
    }

    fn certified(&self, cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
        let unfit = |path: &Path, what: String| TlsError::Unfit { path: path.to_owned(), what };
        let chain = CertificateDer::pem_slice_iter(&self.cert).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| unfit(cert, format!("not PEM: {error}")))?;
        if chain.is_empty() {
            return Err(unfit(cert, "there is no certificate in it (-----BEGIN CERTIFICATE-----)".into()));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            unfit(key, format!("there is no private key in it that is PEM and not encrypted: {error}"))
        })?;
        let signing = ring::default_provider().key_provider.load_private_key(private);
        let signing = signing.map_err(|error| unfit(key, format!("no key that can be used: {error}")))?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(unfit(key, format!("it is not the key of the certificate in {}", cert.display())))
            }
            Err(error) => Err(unfit(cert, format!("no certificate that can be used: {error}"))),
        }
    }
}
