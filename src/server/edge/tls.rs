//! TLS: a certificate and its key from files, which are read again when they change, without dropping connections.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretSlice};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::certificate::Certificate;
use crate::server::{
    custody::{self, SecretFile},
    meters::ConnectionMeters,
};

/// The name of HTTP/2 in a TLS handshake (RFC 9113 section 3.1).
pub(super) const HTTP_2: &[u8] = b"h2";

/// The files of the certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// PEM: the server's certificate, followed by the intermediate certificates.
    pub(crate) certificate: PathBuf,
    /// PEM: its private key (PKCS #8, PKCS #1 or SEC 1), without a passphrase.
    pub(crate) key: PathBuf,
}

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Exposed(#[from] custody::Exposed),
    #[error("{} contains no {what} in PEM", path.display())]
    NoPem { path: PathBuf, what: &'static str },
    #[error("the certificate in {} and the key in {} cannot be used together: {source}", certificate.display(), key.display())]
    Mismatch { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

/// The certificate for connections. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    files: TlsFiles,
    config: Arc<ArcSwap<ServerConfig>>,
    certificate: Arc<ArcSwap<Certificate>>,
    /// The content of the files from which it was read.
    pem: Arc<ArcSwap<Pem>>,
}

/// The files' content, to detect changes.
#[derive(Debug)]
struct Pem {
    certificate: Vec<u8>,
    key: SecretSlice<u8>,
}

impl PartialEq for Pem {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.key.expose_secret() == other.key.expose_secret()
    }
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        custody::require_private(SecretFile::TlsKey, &files.key)?;
        let read = |path: &PathBuf| fs::read(path).map_err(|source| TlsError::File { path: path.clone(), source });
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)?.into() })
    }

    fn parse(&self, files: &TlsFiles) -> Result<(ServerConfig, Certificate), TlsError> {
        let no_pem = |path: &PathBuf, what| TlsError::NoPem { path: path.clone(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| no_pem(&files.certificate, "certificate"))?;
        let certificate = Certificate::new(&chain[0]);
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret()).map_err(|_| no_pem(&files.key, "private key"))?;
        let mismatch = |source| TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone(), source };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(mismatch)?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(mismatch)?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        Ok((config, certificate))
    }
}

impl Tls {
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let pem = Pem::read(&files)?;
        let (config, certificate) = pem.parse(&files)?;
        let (config, certificate) = (Arc::new(ArcSwap::from_pointee(config)), Arc::new(ArcSwap::from_pointee(certificate)));
        Ok(Self { files, config, certificate, pem: Arc::new(ArcSwap::from_pointee(pem)) })
    }

    /// Reads the files again. Returns whether they have changed; new connections then use the new certificate. An unusable one changes
    /// nothing. It blocks.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let pem = Pem::read(&self.files)?;
        if pem == **self.pem.load() {
            return Ok(false);
        }
        let (config, certificate) = pem.parse(&self.files)?;
        self.config.store(Arc::new(config));
        self.certificate.store(Arc::new(certificate));
        self.pem.store(Arc::new(pem));
        Ok(true)
    }

    /// The file of the certificate.
    pub(crate) fn certificate_file(&self) -> &Path {
        &self.files.certificate
    }

    /// The current certificate.
    pub(crate) fn certificate(&self) -> Arc<Certificate> {
        self.certificate.load_full()
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }

    /// Sets the metric of the certificate's expiry.
    pub(crate) fn measure(&self, meters: &ConnectionMeters) {
        if let Some(end) = self.certificate.load().end() {
            meters.certificate_ends(self.files.certificate.display().to_string(), end.seconds());
        }
    }
}
