use std::{net::IpAddr, sync::Arc};

use rustls::pki_types::CertificateDer;

use super::{activity::Activity, budget::MemoryShare};

/// The remote side of a connection, which adds it to its requests.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The address's share of the memory budget.
    pub(crate) share: Arc<MemoryShare>,
    /// The certificate that it presented in the TLS handshake, if any.
    pub(crate) certificate: Option<Arc<CertificateDer<'static>>>,
    pub(super) activity: Arc<Activity>,
}

impl Peer {
    /// Records that a request of its connection is passed on: with [`Traffic::Streams`](super::Traffic), the connection may then be busy for as
    /// long as bytes move. Before, the limits of messages apply to it.
    pub(crate) fn begin_stream(&self) {
        self.activity.begin_stream();
    }

    /// The share of `source`: the peer itself, or the caller that it forwards a request for.
    pub(crate) fn share_of(&self, source: IpAddr) -> Arc<MemoryShare> {
        if self.share.is_of(source) { Arc::clone(&self.share) } else { self.share.of_another(source) }
    }
}
