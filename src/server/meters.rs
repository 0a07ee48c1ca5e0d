//! What is counted and measured, by the names under which Prometheus knows it: with units, and with labels whose values are ours.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::protocol::GrantType;

/// A gauge of seconds or other parts.
pub(crate) type Fraction = Gauge<f64, std::sync::atomic::AtomicU64>;

/// A request to the token endpoint, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenRequest {
    /// The grant type, or `none` where the request got no further than its client.
    pub grant: &'static str,
    /// `ok`, the error code (RFC 6749 section 5.2), `limited` (429), or `abandoned` by who asked.
    pub result: &'static str,
}

/// A request by its route as it was registered, `none` where there is no such route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// Whose guesses were limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Guess {
    /// `client_secret`; `password` by the limit of a user name, `password_source` and `password_client` by those over all names.
    pub kind: &'static str,
}

/// The signing key that a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) state: &'static str,
}

/// What lines of the log are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LogLines {
    pub(crate) kind: &'static str,
}

/// The file of a TLS certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CertificateFile {
    pub(crate) file: String,
}

/// What work on a pool of threads takes.
#[derive(Debug, Clone)]
pub(crate) struct WorkMeters {
    /// Until a thread takes it up.
    pub(crate) queued: Histogram,
    pub(crate) worked: Histogram,
    /// Jobs that the queue had no room for.
    pub(crate) shed: Counter,
}

/// Everything that this process counts.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram>,
    /// Requests to the token endpoint.
    pub token_requests: Family<TokenRequest, Counter>,
    /// Tokens signed.
    pub tokens_issued: Counter,
    /// Digests of client secrets computed: one for every attempt, whatever its outcome.
    pub secret_digests: Counter,
    /// Passwords checked by hashing: one for every attempt that got that far, whatever its outcome.
    pub password_hashes: Counter,
    /// Clients read from the database, because the cache had none of them.
    pub client_reads: Counter,
    /// Looks at the epochs that succeeded.
    pub epoch_looks: Counter,
    /// Attempts refused because too many before them had failed.
    pub limited: Family<Guess, Counter>,
    /// Logins ended because a used-up refresh token came back.
    pub replays: Counter,
    /// Refresh tokens presented by a client that they were not issued to.
    pub foreign_refresh_tokens: Counter,
    /// Connections closed because their source had too many.
    pub(crate) connections_refused: Counter,
    /// Idle connections closed because their place was needed.
    pub(crate) connections_evicted: Counter,
    /// Requests refused because the memory for unauthenticated requests was used up.
    pub(crate) memory_refused: Counter,
    /// When the TLS certificate ends, in seconds since 1970-01-01T00:00:00Z; there is none without TLS.
    pub(crate) certificate_end: Family<CertificateFile, Gauge>,
    pub(crate) connections: Gauge,
    pub(crate) connections_max: Gauge,
    pub(crate) signing: WorkMeters,
    pub(crate) hashing: WorkMeters,
    pub(crate) sampled: Sampled,
}

/// What is looked up when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    pub(crate) signing_waiting: Gauge,
    pub(crate) hashing_waiting: Gauge,
    pub(crate) database_connections: Gauge,
    pub(crate) database_idle: Gauge,
    pub(crate) epoch_age: Fraction,
    pub(crate) clock_set_back: Fraction,
    pub(crate) key_age: Family<Key, Fraction>,
    pub(crate) log_lines_dropped: Counter,
    pub(crate) log_lines_left_out: Family<LogLines, Counter>,
    pub(crate) process: ProcessGauges,
}

/// The figures that every process exports under these names.
#[derive(Debug, Default)]
pub(crate) struct ProcessGauges {
    pub(crate) cpu_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    pub(crate) resident_bytes: Gauge,
    pub(crate) virtual_bytes: Gauge,
    pub(crate) open_fds: Gauge,
    pub(crate) max_fds: Gauge,
    pub(crate) threads: Gauge,
    pub(crate) start_time: Fraction,
}

/// From a fraction of a millisecond to half a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.5, 14))
}

impl Default for WorkMeters {
    fn default() -> Self {
        Self { queued: seconds(), worked: seconds(), shed: Counter::default() }
    }
}

impl WorkMeters {
    fn register(&self, registry: &mut Registry, name: &str, what: &str) {
        let waited = format!("How long {what} waited for a thread");
        registry.register_with_unit(format!("{name}_queue"), waited, Unit::Seconds, self.queued.clone());
        registry.register_with_unit(name, format!("How long {what} took on its thread"), Unit::Seconds, self.worked.clone());
        registry.register(format!("{name}_shed"), format!("How often {what} was refused because too many waited"), self.shed.clone());
    }
}

impl Default for Meters {
    fn default() -> Self {
        let mut meters = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            token_requests: Family::default(),
            tokens_issued: Counter::default(),
            secret_digests: Counter::default(),
            password_hashes: Counter::default(),
            client_reads: Counter::default(),
            epoch_looks: Counter::default(),
            limited: Family::default(),
            replays: Counter::default(),
            foreign_refresh_tokens: Counter::default(),
            connections_refused: Counter::default(),
            connections_evicted: Counter::default(),
            memory_refused: Counter::default(),
            certificate_end: Family::default(),
            connections: Gauge::default(),
            connections_max: Gauge::default(),
            signing: WorkMeters::default(),
            hashing: WorkMeters::default(),
            sampled: Sampled::default(),
        };
        let mut all = Registry::default();
        meters.register(all.sub_registry_with_prefix("sealwright"));
        meters.sampled.process.register(all.sub_registry_with_prefix("process"));
        meters.registry = all;
        // There from the start, at zero: a rate needs two values, and the first attack should be seen.
        for kind in ["client_secret", "password", "password_source", "password_client"] {
            drop(meters.limited.get_or_create(&Guess { kind }));
        }
        for grant in GrantType::ALL.iter().map(|grant| grant.as_str()).chain(["none"]) {
            for result in ["ok", "server_error", "temporarily_unavailable"] {
                drop(meters.token_requests.get_or_create(&TokenRequest { grant, result }));
            }
        }
        meters
    }
}

impl Meters {
    fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests by route and status", self.requests.clone());
        let help = "How long requests took, from their headers to their answer";
        registry.register_with_unit("http_request", help, Unit::Seconds, self.request_seconds.clone());
        registry.register("token_requests", "Requests to the token endpoint by grant and result", self.token_requests.clone());
        registry.register("tokens_issued", "Access tokens signed", self.tokens_issued.clone());
        registry.register("secret_digests", "Client secrets checked", self.secret_digests.clone());
        registry.register("password_hashes", "Passwords checked by hashing", self.password_hashes.clone());
        registry.register("client_reads", "Clients read from the database for want of them in memory", self.client_reads.clone());
        registry.register("epoch_looks", "Looks at the database for changes that succeeded", self.epoch_looks.clone());
        registry.register("attempts_limited", "Attempts refused because too many before had failed", self.limited.clone());
        registry.register("refresh_replays", "Logins ended because a used-up refresh token came back", self.replays.clone());
        let help = "Refresh tokens presented by a client that they were not issued to";
        registry.register("refresh_tokens_foreign", help, self.foreign_refresh_tokens.clone());
        let help = "Connections closed because their source had too many";
        registry.register("connections_refused", help, self.connections_refused.clone());
        let help = "Idle connections closed because their place was needed";
        registry.register("connections_evicted", help, self.connections_evicted.clone());
        let help = "Requests refused because the memory for unauthenticated requests was used up";
        registry.register("unauthenticated_memory_refused", help, self.memory_refused.clone());
        let help = "When the TLS certificate ends, since 1970-01-01T00:00:00Z";
        registry.register_with_unit("tls_certificate_end_timestamp", help, Unit::Seconds, self.certificate_end.clone());
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register("connections_max", "Connections that may be open", self.connections_max.clone());
        self.signing.register(registry, "signing", "a signature");
        self.hashing.register(registry, "password_hashing", "the hash of a password");
        let sampled = &self.sampled;
        registry.register("signing_waiting", "Signatures that wait for a thread", sampled.signing_waiting.clone());
        registry.register("password_hashing_waiting", "Password hashes that wait for a thread", sampled.hashing_waiting.clone());
        registry.register("database_connections", "Connections to the database", sampled.database_connections.clone());
        registry.register("database_connections_idle", "Connections to the database that nobody uses", sampled.database_idle.clone());
        let help = "Time since this node last saw that it knows what the database holds";
        registry.register_with_unit("epoch_age", help, Unit::Seconds, sampled.epoch_age.clone());
        let help = "How far the wall clock is behind the latest time that it has shown since the start";
        registry.register_with_unit("clock_set_back", help, Unit::Seconds, sampled.clock_set_back.clone());
        let help = "Time since the signing key was published";
        registry.register_with_unit("signing_key_age", help, Unit::Seconds, sampled.key_age.clone());
        registry.register("log_lines_dropped", "Lines of the log that could not be written", sampled.log_lines_dropped.clone());
        let help = "Lines that were left out of the log because there were too many of their kind";
        registry.register("log_lines_left_out", help, sampled.log_lines_left_out.clone());
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> i64 {
        self.connections.get()
    }

    pub(crate) fn observe_request(&self, route: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { route: route.to_owned(), status }).inc();
        self.request_seconds.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Everything, as Prometheus reads it (OpenMetrics 1.0).
    ///
    /// # Errors
    ///
    /// None that is known: it writes into memory.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl ProcessGauges {
    fn register(&self, registry: &mut Registry) {
        registry.register_with_unit("cpu", "Time that the process computed", Unit::Seconds, self.cpu_seconds.clone());
        registry.register_with_unit("resident_memory", "Memory that is in use", Unit::Bytes, self.resident_bytes.clone());
        registry.register_with_unit("virtual_memory", "Memory that is mapped", Unit::Bytes, self.virtual_bytes.clone());
        registry.register("open_fds", "File descriptors that are open", self.open_fds.clone());
        registry.register("max_fds", "File descriptors that may be open", self.max_fds.clone());
        registry.register("threads", "Threads of the process", self.threads.clone());
        let help = "When the process started, since 1970-01-01T00:00:00Z";
        registry.register_with_unit("start_time", help, Unit::Seconds, self.start_time.clone());
    }
}
