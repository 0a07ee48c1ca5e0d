/// A setting. It is set with `--its-name`, with `SEALWRIGHT_ITS_NAME`, or with `its_name` in the file.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Setting {
    /// Its name in the file.
    pub name: &'static str,
    /// Its purpose, in a phrase.
    pub help: &'static str,
    /// The allowed values, in words.
    pub allowed: &'static str,
    /// Its default. If there is none, `help` describes what happens.
    pub default: Option<&'static str>,
    /// Whether its value must not be shown. Such a setting has no flag, because other users can read a command line.
    pub secret: bool,
}

impl Setting {
    /// Whether a value must not be shown: even an invalid URL may contain a password, in several places. Such a setting has a variable
    /// that names a file instead.
    pub(crate) fn may_be_secret(&self) -> bool {
        self.secret || self.name == "database_url"
    }

    /// Whether other users must not read this value.
    pub(super) fn holds_secret(&self, value: &str) -> bool {
        let user = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map_or("", |(user, _)| user);
        self.secret || self.name == "database_url" && (user.contains(':') || value.contains("password="))
    }
}

const fn setting(name: &'static str, default: Option<&'static str>, help: &'static str, allowed: &'static str) -> Setting {
    Setting { name, help, allowed, default, secret: false }
}

/// All settings. The command line, the environment, the file and the error messages follow this table.
pub const SETTINGS: &[Setting] = &[
    setting(
        "issuer",
        None,
        "the issuer identifier of all tokens, whose path is the prefix of all routes; by default http://localhost with the listener's port",
        "an https URL without query and fragment, such as https://auth.example",
    ),
    setting(
        "listen",
        Some("127.0.0.1:8080"),
        "the address to listen on",
        "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080 (port 0 takes a free one); an address beyond loopback requires an https issuer, and tls_cert and tls_key, or behind_proxy",
    ),
    setting("tls_cert", None, "the certificate chain for TLS, in PEM; reloaded when the file changes", "a path"),
    setting("tls_key", None, "the private key of tls_cert, in PEM", "a path"),
    setting(
        "behind_proxy",
        None,
        "the proxies that terminate TLS in front of this server and whose X-Forwarded-For is trusted; plain HTTP is then allowed on any address",
        "comma-separated addresses or networks, such as 10.0.0.5,10.0.0.6",
    ),
    setting(
        "connections",
        Some("4096"),
        "maximum number of open connections; another one closes the connection that has been idle longest",
        "a number from 1 to 100000",
    ),
    setting(
        "connections_per_source",
        Some("256"),
        "maximum number of open connections per address (per /64 in IPv6), except trusted proxies; another one closes an idle one of the same address",
        "a number from 1 to 100000",
    ),
    setting(
        "connection_idle",
        Some("75s"),
        "how long a connection may be idle; set it longer than the idle timeout of a proxy in front",
        "a duration from 1s to 1h",
    ),
    setting(
        "connection_age",
        Some("1h"),
        "maximum age of a connection; it is closed after the next response",
        "a duration from 1s to 7days",
    ),
    setting(
        "unauthenticated_memory_mib",
        Some("64"),
        "memory for headers and bodies of requests that are not authenticated yet, a quarter of it per source; further requests are answered with 503",
        "a number from 1 to 65536",
    ),
    setting(
        "management_listen",
        Some("127.0.0.1:8081"),
        "the address for metrics and health checks; an address beyond loopback requires management_unprotected",
        "an IP address and a port, or off",
    ),
    setting(
        "management_unprotected",
        Some("false"),
        "whether management_listen may be an address beyond loopback, where it is served in plain HTTP without authentication",
        "true or false",
    ),
    setting(
        "management_hosts",
        None,
        "host names of the management listener besides localhost; requests with another Host are refused",
        "comma-separated DNS names without ports, such as sealwright.internal",
    ),
    setting("database_url", Some("sqlite://sealwright.db"), "the database", crate::server::store::DatabaseUrl::ALLOWED),
    setting(
        "database_tls",
        Some("verified"),
        "how connections to a remote PostgreSQL server are secured; with unverified and off, an attacker in between can read the password",
        "verified, unverified or off",
    ),
    setting(
        "database_connections",
        Some("8"),
        "maximum number of connections to the database, besides one that polls for changes",
        "a number from 1 to 100",
    ),
    setting("keys_dir", Some("keys"), "the folder of sealing.key", "a path"),
    Setting {
        name: "sealing_key",
        help: "the sealing key itself instead of a file: the content of a sealing.key",
        allowed: "a JWK set with at least one oct key of 256 bits that has a kid",
        default: None,
        secret: true,
    },
    setting(
        "key_publish_lead",
        Some("24h"),
        "how long a new key is published before it signs, which limits how long verifiers may cache keys",
        "a duration from 2h to 30days",
    ),
    setting(
        "rsa_bits",
        Some("2048"),
        "the size of the RSA key that the first start creates; a signature with 3072 bits takes about 3 times as long, with 4096 about 6 times",
        "2048, 3072 or 4096",
    ),
    setting("signing_threads", None, "number of signing threads; by default one per core", "a number from 1 to 256"),
    setting(
        "signing_queue",
        Some("1024"),
        "maximum number of queued signatures; further requests are answered with 503",
        "a number from 1 to 100000",
    ),
    setting(
        "token_lifetime",
        Some("10m"),
        "lifetime of tokens, unless their client or resource sets another",
        crate::server::model::TokenLifetime::RANGE,
    ),
    setting(
        "registry_stale_for",
        Some("10s"),
        "how long cached clients are served while the database is unreachable",
        "a duration from 1s to 1h",
    ),
    setting(
        "api_docs",
        Some("true"),
        "whether the API's description (/openapi.yaml, /openapi.json) and its page (/docs) are served",
        "true or false",
    ),
    setting("cached_clients", Some("10000"), "maximum number of clients cached in memory", "a number from 1 to 1000000"),
    setting(
        "password_grant",
        Some("true"),
        "whether the password grant is enabled; even then, only clients that have it may use it",
        "true or false",
    ),
    setting("login_lifetime", Some("30days"), "maximum time that a user stays signed in", "a duration from 1h to 366days"),
    setting("login_idle_lifetime", Some("7days"), "how long a user stays signed in without a refresh", "a duration from 5m to 366days"),
    setting(
        "logins_per_user",
        Some("100"),
        "maximum number of logins of one user with one client; another one ends the least recently used",
        "a number from 1 to 10000",
    ),
    setting("password_min_length", Some("15"), "minimum length of a new password, in characters", "a number from 8 to 64"),
    setting(
        "password_memory_kib",
        Some("19456"),
        "memory of one password hash, in KiB; raising it rehashes each password when it is next used",
        "a number from 19456 to 1048576",
    ),
    setting("password_passes", Some("2"), "number of passes of one password hash", "a number from 2 to 20"),
    setting(
        "password_threads",
        None,
        "number of threads that hash passwords, each using the memory of one hash; by default half the cores",
        "a number from 1 to 64",
    ),
    setting(
        "password_queue",
        Some("64"),
        "maximum number of queued password hashes; further requests are answered with 503",
        "a number from 1 to 10000",
    ),
    setting(
        "failed_attempts_burst",
        Some("10"),
        "failed attempts before the limit applies: wrong passwords per client and user name, wrong secrets per client and source",
        "a number from 1 to 1000",
    ),
    setting("failed_attempts_interval", Some("10s"), "time after which one more failed attempt is allowed", "a duration from 1s to 1h"),
    setting(
        "failed_attempts_per_source",
        Some("100"),
        "failed passwords for all user names, per client and source, before the limit applies; it refills in failed_attempts_burst times failed_attempts_interval",
        "a number from 1 to 10000",
    ),
    setting(
        "failed_attempts_per_client",
        Some("1000"),
        "failed passwords for all user names and sources, per client, before the limit applies; it refills in the same time",
        "a number from 1 to 100000",
    ),
    setting(
        "drain_delay",
        Some("0s"),
        "how long a stopping server keeps serving while it reports that it is not ready, so that load balancers notice",
        "a duration from 0s to 5m",
    ),
    setting(
        "drain_linger",
        Some("1s"),
        "how long a stopping server keeps idle connections open, so that requests in transit are not cut off",
        "a duration from 0s to 5m",
    ),
    setting("drain_timeout", Some("20s"), "how long a stopping server waits for requests in progress", "a duration from 0s to 5m"),
    setting("log", Some("info"), "the log filter", "off, error, warn, info, debug, trace, or a list such as info,sqlx=warn"),
    setting("log_format", Some("auto"), "the log format; auto is text on a terminal and JSON otherwise", "auto, text or json"),
    setting(
        "otlp_endpoint",
        None,
        "the base URL for sending spans by OTLP over HTTP (to /v1/traces); by default none are sent",
        "an http or https URL, such as http://127.0.0.1:4318",
    ),
];

pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The setting whose name is most similar to `name`, if any is similar enough.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let likeness = |setting: &Setting| strsim::jaro_winkler(&name.to_lowercase(), setting.name);
    let best = SETTINGS.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(best) > 0.7).then_some(best.name)
}
