//! Metrics by their Prometheus names. Names include the unit, and label values never come from callers.

mod connections;
mod process;

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

pub(crate) use connections::ConnectionMeters;
pub(crate) use process::ProcessMeters;

/// A gauge with a fractional value, such as seconds.
pub(crate) type Fraction = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Labels of a request to the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenRequest {
    /// The grant type, or `none` if the request failed before it was known.
    pub grant: &'static str,
    /// `ok`, the error code (RFC 6749 section 5.2), `limited` (429), or `abandoned` (the caller closed the connection).
    pub result: &'static str,
}

/// Labels of a request: its route as registered, or `none` if there is no such route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// Labels of a refused attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Guess {
    /// `client_secret`; `password` (limit per user name), `password_source` or `password_client` (limits for all names).
    pub kind: &'static str,
}

/// Labels of a signing key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) state: &'static str,
}

/// The algorithm of signing keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KeyAlgorithm {
    pub(crate) alg: &'static str,
}

/// The metrics of a thread pool.
#[derive(Debug, Clone)]
pub(crate) struct WorkMeters {
    /// The time until a thread takes the job.
    pub(crate) queued: Histogram,
    pub(crate) worked: Histogram,
    /// Jobs refused because the queue was full.
    pub(crate) shed: Counter,
}

/// All metrics of a server.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram>,
    /// Requests to the token endpoint.
    pub token_requests: Family<TokenRequest, Counter>,
    /// Tokens signed.
    pub tokens_issued: Counter,
    /// Digests of client secrets computed: one per attempt, successful or not.
    pub secret_digests: Counter,
    /// Passwords hashed for checking: one per attempt that got that far, successful or not.
    pub password_hashes: Counter,
    /// Clients read from the database because they were not cached.
    pub client_reads: Counter,
    /// Successful polls of the epochs.
    pub epoch_looks: Counter,
    /// Attempts refused because too many before them had failed.
    pub limited: Family<Guess, Counter>,
    /// Logins ended because a used-up refresh token came back.
    pub replays: Counter,
    /// Refresh tokens presented by a client that they were not issued to.
    pub foreign_refresh_tokens: Counter,
    /// Status lists signed.
    pub status_lists_signed: Counter,
    /// Withdrawals that have not reached all logins, as far as this node knows.
    pub(crate) withdrawals_open: Gauge,
    /// Those of the public listener.
    pub(crate) connections: ConnectionMeters,
    /// 1 while this node does not rotate signing keys.
    pub(crate) rotation_paused: Gauge,
    /// When the next signing key of an algorithm in use signs, in seconds since 1970-01-01T00:00:00Z. While rotation is paused, as it was
    /// planned before.
    pub(crate) next_activation: Family<KeyAlgorithm, Gauge>,
    pub(crate) clock_behind: Fraction,
    pub(crate) clock_set_forward: Fraction,
    pub(crate) signing: WorkMeters,
    pub(crate) hashing: WorkMeters,
    pub(crate) sampled: Sampled,
}

/// The metrics that are sampled at each scrape.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    pub(crate) signing_waiting: Gauge,
    pub(crate) hashing_waiting: Gauge,
    pub(crate) database_connections: Gauge,
    pub(crate) database_idle: Gauge,
    pub(crate) epoch_age: Fraction,
    pub(crate) clock_set_back: Fraction,
    pub(crate) key_age: Family<Key, Fraction>,
    pub(crate) keys_quarantined: Gauge,
    pub(crate) status_lists: Gauge,
    pub(crate) status_lists_held: Gauge,
    pub(crate) positions_revoked: Gauge,
    pub(crate) process: ProcessMeters,
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
            status_lists_signed: Counter::default(),
            withdrawals_open: Gauge::default(),
            connections: ConnectionMeters::default(),
            rotation_paused: Gauge::default(),
            next_activation: Family::default(),
            clock_behind: Fraction::default(),
            clock_set_forward: Fraction::default(),
            signing: WorkMeters::default(),
            hashing: WorkMeters::default(),
            sampled: Sampled::default(),
        };
        let mut all = Registry::default();
        meters.register(all.sub_registry_with_prefix("sealwright"));
        meters.sampled.process.register(all.sub_registry_with_prefix("process"));
        meters.registry = all;
        // Created at zero, so that a rate can be computed when the first attack happens.
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
        registry.register("client_reads", "Clients read from the database because they were not cached", self.client_reads.clone());
        registry.register("epoch_looks", "Successful polls of the database for changes", self.epoch_looks.clone());
        registry.register("attempts_limited", "Attempts refused because too many earlier ones had failed", self.limited.clone());
        registry.register("refresh_replays", "Logins ended because a used-up refresh token came back", self.replays.clone());
        let help = "Refresh tokens presented by a client that they were not issued to";
        registry.register("refresh_tokens_foreign", help, self.foreign_refresh_tokens.clone());
        registry.register("status_lists_signed", "Status lists signed, each after a change", self.status_lists_signed.clone());
        let help = "Changes by operators that have not reached all logins yet, at the last look";
        registry.register("withdrawals_open", help, self.withdrawals_open.clone());
        self.connections.register(registry);
        let help = "1 while this node does not rotate signing keys, because its clock or the database cannot be trusted";
        registry.register("key_rotation_paused", help, self.rotation_paused.clone());
        let help = "When the next signing key signs, as planned, since 1970-01-01T00:00:00Z";
        registry.register_with_unit("signing_key_next_activation_timestamp", help, Unit::Seconds, self.next_activation.clone());
        let help = "How far the wall clock is behind that of another server that is alive";
        registry.register_with_unit("clock_behind", help, Unit::Seconds, self.clock_behind.clone());
        let help = "By how much the wall clock was set forward within the last hour";
        registry.register_with_unit("clock_set_forward", help, Unit::Seconds, self.clock_set_forward.clone());
        self.signing.register(registry, "signing", "a signature");
        self.hashing.register(registry, "password_hashing", "the hash of a password");
        let sampled = &self.sampled;
        registry.register("signing_waiting", "Signatures waiting for their turn", sampled.signing_waiting.clone());
        registry.register("password_hashing_waiting", "Password hashes waiting for a thread", sampled.hashing_waiting.clone());
        registry.register("database_connections", "Connections to the database", sampled.database_connections.clone());
        registry.register("database_connections_idle", "Idle connections to the database", sampled.database_idle.clone());
        let help = "Time since this node last polled the database successfully";
        registry.register_with_unit("epoch_age", help, Unit::Seconds, sampled.epoch_age.clone());
        let help = "How far the wall clock is behind the latest time it showed since the start";
        registry.register_with_unit("clock_set_back", help, Unit::Seconds, sampled.clock_set_back.clone());
        let help = "Time since the signing key was published";
        registry.register_with_unit("signing_key_age", help, Unit::Seconds, sampled.key_age.clone());
        let help = "Signing keys of the database that are damaged";
        registry.register("signing_keys_quarantined", help, sampled.keys_quarantined.clone());
        registry.register("status_lists", "Status lists that this node knows", sampled.status_lists.clone());
        let help = "Status lists that this node keeps signed, because they were requested within the last hour";
        registry.register("status_lists_held", help, sampled.status_lists_held.clone());
        registry.register("positions_revoked", "Positions of status lists that are set", sampled.positions_revoked.clone());
        sampled.process.register_log(registry);
    }

    /// The number of open connections.
    #[must_use]
    pub fn open_connections(&self) -> i64 {
        self.connections.open.get()
    }

    pub(crate) fn observe_request(&self, route: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { route: route.to_owned(), status }).inc();
        self.request_seconds.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// All metrics in the format of Prometheus (OpenMetrics 1.0).
    ///
    /// # Errors
    ///
    /// None is known: it writes into memory.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
