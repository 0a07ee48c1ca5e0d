//! TLS: a certificate and its key from files, which are read again when they change, without dropping connections.

use std::{fs, io, mem::Discriminant, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretSlice};
use tokio::{net::TcpStream, sync::Notify};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::certificate::{Certificate, Concern};
use crate::{
    clock::{SharedClock, Timestamp},
    server::{
        custody::{self, SecretFile},
        meters::{CertificateFile, Meters},
    },
};

/// How often the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the log repeats the problems of the certificate.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);

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
    /// The files' content when it was opened.
    opened: Arc<Pem>,
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
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((config, certificate))
    }
}

impl Tls {
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let opened = Arc::new(Pem::read(&files)?);
        let (config, certificate) = opened.parse(&files)?;
        let (config, certificate) = (Arc::new(ArcSwap::from_pointee(config)), Arc::new(ArcSwap::from_pointee(certificate)));
        Ok(Self { files, config, certificate, opened })
    }

    /// The current certificate.
    pub(crate) fn certificate(&self) -> Arc<Certificate> {
        self.certificate.load_full()
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }

    /// Sets the metric of the certificate's expiry.
    pub(crate) fn measure(&self, meters: &Meters) {
        let file = CertificateFile { file: self.files.certificate.display().to_string() };
        if let Some(end) = self.certificate.load().end() {
            meters.certificate_end.get_or_create(&file).set(end.seconds());
        }
    }

    /// Loads a new certificate when the files change, or at once on `reload`. An unusable one changes nothing and is reported once. Warns
    /// before the certificate expires. `host` is the issuer's host.
    pub(crate) async fn follow_files(self, clock: SharedClock, reload: Arc<Notify>, meters: Arc<Meters>, host: Option<String>) {
        let (mut seen, mut reported) = (Arc::clone(&self.opened), None);
        let mut reminder = Reminder::default();
        loop {
            reminder.remind(&self.certificate.load(), clock.now(), host.as_deref());
            let reload_requested = tokio::select! {
                () = clock.sleep_until(clock.now() + LOOK_EVERY) => false,
                () = reload.notified() => true,
            };
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || Pem::read(&files)).await else { continue };
            if read.as_ref().is_ok_and(|pem| pem == seen.as_ref()) {
                if reload_requested {
                    tracing::info!("reload: the certificate files have not changed; other settings need a restart");
                }
                continue;
            }
            match read.and_then(|pem| Ok((pem.parse(&self.files)?, pem))) {
                Ok(((config, certificate), pem)) => {
                    self.config.store(Arc::new(config));
                    self.certificate.store(Arc::new(certificate));
                    self.measure(&meters);
                    reminder = Reminder::default();
                    (seen, reported) = (Arc::new(pem), None);
                    tracing::info!(certificate = %self.files.certificate.display(), "new connections use the new certificate");
                }
                // The files may be incomplete while they are being replaced; the next check follows.
                Err(error) => {
                    let why = error.to_string();
                    if reload_requested || reported.as_ref() != Some(&why) {
                        tracing::error!(error = why, "the new certificate cannot be used; the previous one stays in use");
                        reported = Some(why);
                    }
                }
            }
        }
    }
}

/// The last reported problems of the certificate, and when they were reported.
#[derive(Debug, Default)]
struct Reminder(Option<(Vec<Discriminant<Concern>>, Timestamp)>);

impl Reminder {
    /// Logs the problems of the certificate when they change, and then daily.
    fn remind(&mut self, certificate: &Certificate, now: Timestamp, host: Option<&str>) {
        let concerns = certificate.concerns(now, host);
        let kinds: Vec<_> = concerns.iter().map(std::mem::discriminant).collect();
        let reported = self.0.as_ref().is_some_and(|(reported, at)| *reported == kinds && now.since(*at) < REMIND_EVERY);
        if reported || concerns.is_empty() {
            return;
        }
        for concern in &concerns {
            if concern.is_fatal() {
                tracing::error!(error = %concern, "clients refuse the TLS certificate");
            } else {
                tracing::warn!(warning = %concern, "the TLS certificate needs attention");
            }
        }
        self.0 = Some((kinds, now));
    }
}
