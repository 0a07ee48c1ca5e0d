//! TLS in front of the probe's issuer, for an API that trusts an `https` issuer.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{options::Certificate, unprobed::Unprobed};
use crate::{
    clock::{Clock, SystemClock},
    server::custody::{self, SecretFile},
};

/// Answers TLS at `listener` until the process ends, and passes on what arrives to the listener that it returns, on this machine.
pub(super) async fn in_front(listener: TcpListener, certificate: &Certificate) -> Result<TcpListener, Unprobed> {
    let acceptor = TlsAcceptor::from(Arc::new(config(certificate)?));
    let behind = TcpListener::bind("127.0.0.1:0").await?;
    let address = behind.local_addr()?;
    tokio::spawn(async move {
        loop {
            // No file descriptors left, or a client that disconnected: both are temporary.
            let Ok((stream, _)) = listener.accept().await else {
                SystemClock.sleep_until("probe accept", SystemClock.now() + Duration::from_millis(10)).await;
                continue;
            };
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // The API sees a failed handshake or a broken connection, and says so in its log.
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                if let Ok(mut inner) = TcpStream::connect(address).await {
                    let _ = copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    });
    Ok(behind)
}

fn config(files: &Certificate) -> Result<ServerConfig, Unprobed> {
    let refuse = |path: &Path, why: &dyn std::fmt::Display| Unprobed::Certificate(format!("{}: {why}", path.display()));
    custody::require_private(SecretFile::TlsKey, &files.key).map_err(|error| Unprobed::Certificate(error.to_string()))?;
    let read = |path: &Path| fs::read(path).map_err(|error| refuse(path, &error));
    let (chain, key) = (read(&files.chain)?, read(&files.key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().map_err(|error| refuse(&files.chain, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| refuse(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Unprobed::Certificate(error.to_string()))?;
    builder.with_no_client_auth().with_single_cert(chain, key).map_err(|error| refuse(&files.chain, &error))
}
