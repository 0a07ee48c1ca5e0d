//! The metrics of the listeners of a process: connections, and the certificate.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// The file of a TLS certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateFile {
    file: String,
}

/// The metrics of connections. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionMeters {
    pub(crate) open: Gauge,
    /// The maximum of `open`.
    pub(crate) most: Gauge,
    /// Connections closed because their source had too many.
    pub(crate) refused: Counter,
    /// Idle connections closed because their place was needed.
    pub(crate) evicted: Counter,
    /// Requests refused because the memory for unauthenticated requests was used up.
    pub(crate) memory_refused: Counter,
    /// When the TLS certificate expires, in seconds since 1970-01-01T00:00:00Z; absent without TLS.
    certificate_end: Family<CertificateFile, Gauge>,
}

impl ConnectionMeters {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections", self.open.clone());
        registry.register("connections_max", "Maximum number of open connections", self.most.clone());
        registry.register("connections_refused", "Connections closed because their source had too many", self.refused.clone());
        registry.register("connections_evicted", "Idle connections closed because their place was needed", self.evicted.clone());
        let help = "Requests refused because the memory for unauthenticated requests was used up";
        registry.register("unauthenticated_memory_refused", help, self.memory_refused.clone());
        let help = "When the TLS certificate expires, since 1970-01-01T00:00:00Z";
        registry.register_with_unit("tls_certificate_end_timestamp", help, Unit::Seconds, self.certificate_end.clone());
    }

    /// Sets when the certificate in `file` expires.
    pub(crate) fn certificate_ends(&self, file: String, seconds: i64) {
        self.certificate_end.get_or_create(&CertificateFile { file }).set(seconds);
    }
}
