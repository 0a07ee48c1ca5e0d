//! TLS of our own: a certificate and its key from files, read anew when they change, while connections go on.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::clock::SharedClock;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where the certificate is.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// PEM: the server's certificate, then those between it and a root.
    pub(crate) certificate: PathBuf,
    /// PEM: its private key (PKCS #8, PKCS #1 or SEC 1), without a passphrase.
    pub(crate) key: PathBuf,
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} holds no {what} in PEM", path.display())]
    NoPem { path: PathBuf, what: &'static str },
    #[error("the certificate in {} and the key in {} cannot be used together: {source}", certificate.display(), key.display())]
    Mismatch { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

/// The certificate that connections are served with. A handle.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    files: TlsFiles,
    config: Arc<ArcSwap<ServerConfig>>,
    /// What the files held when it was opened.
    opened: Arc<Pem>,
}

/// The files' bytes, to see whether they changed.
#[derive(Debug, PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| fs::read(path).map_err(|source| TlsError::File { path: path.clone(), source });
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)?.into() })
    }

    fn parse(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let no_pem = |path: &PathBuf, what| TlsError::NoPem { path: path.clone(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| no_pem(&files.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| no_pem(&files.key, "private key"))?;
        let mismatch = |source| TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone(), source };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(mismatch)?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(mismatch)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Tls {
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let opened = Arc::new(Pem::read(&files)?);
        let config = opened.parse(&files)?;
        Ok(Self { files, config: Arc::new(ArcSwap::from_pointee(config)), opened })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }

    /// Takes a new certificate into use when the files change. One that cannot be used changes nothing, and is reported once.
    pub(crate) async fn follow_files(self, clock: SharedClock) {
        let (mut seen, mut reported) = (Arc::clone(&self.opened), None);
        loop {
            clock.sleep_until(clock.now() + LOOK_EVERY).await;
            let files = self.files.clone();
            let Ok(looked) = tokio::task::spawn_blocking(move || Pem::read(&files)).await else { continue };
            if looked.as_ref().is_ok_and(|pem| pem == seen.as_ref()) {
                continue;
            }
            match looked.and_then(|pem| Ok((pem.parse(&self.files)?, pem))) {
                Ok((config, pem)) => {
                    self.config.store(Arc::new(config));
                    (seen, reported) = (Arc::new(pem), None);
                    tracing::info!(certificate = %self.files.certificate.display(), "new connections are served with the new certificate");
                }
                // A file may be half written, or its key not yet there: the next look tells.
                Err(error) => {
                    let why = error.to_string();
                    if reported.as_ref() != Some(&why) {
                        tracing::error!(error = why, "the new certificate cannot be used; serving with the one before");
                        reported = Some(why);
                    }
                }
            }
        }
    }
}
