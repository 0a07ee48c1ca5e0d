/// One thing that can be set: by `--its-name`, by `SEALWRIGHT_ITS_NAME`, or by `its_name` in the file.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Setting {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is for, in a phrase.
    pub help: &'static str,
    /// What it takes, in words.
    pub allowed: &'static str,
    /// What it is unless set. Without one, `help` says what happens.
    pub default: Option<&'static str>,
    /// Whether its value must not be shown. There is no flag for such a setting: others can read a command line.
    pub secret: bool,
}

const fn setting(name: &'static str, default: Option<&'static str>, help: &'static str, allowed: &'static str) -> Setting {
    Setting { name, help, allowed, default, secret: false }
}

/// All settings. The command line, the environment, the file and the error messages follow this table.
pub const SETTINGS: &[Setting] = &[
    setting(
        "issuer",
        None,
        "the issuer identifier, which every token carries and under whose path every route stands; by default http://localhost with the listener's port",
        "an https URL without query and fragment, such as https://auth.example",
    ),
    setting(
        "listen",
        Some("127.0.0.1:8080"),
        "where to serve",
        "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, where port 0 takes a free one; beyond loopback it needs an https issuer, and tls_cert and tls_key, or behind_proxy",
    ),
    setting("tls_cert", None, "the certificate chain to serve TLS with, in PEM; read anew when it changes", "a path"),
    setting("tls_key", None, "the private key of tls_cert, in PEM", "a path"),
    setting(
        "behind_proxy",
        None,
        "the proxies that end TLS in front of this server, whose X-Forwarded-For is believed; plain HTTP is then served on any address",
        "addresses or networks with commas between, such as 10.0.0.5,10.0.0.6",
    ),
    setting(
        "connections",
        Some("4096"),
        "connections that are open at once; for one more the one that has been idle longest is closed",
        "a number from 1 to 100000",
    ),
    setting(
        "connections_per_source",
        Some("256"),
        "connections of one address, in IPv6 of one /64, that are open at once, trusted proxies excepted; for one more its own idle one is closed",
        "a number from 1 to 100000",
    ),
    setting(
        "connection_idle",
        Some("75s"),
        "how long a connection may stay without a request; longer than a proxy in front keeps its own",
        "a duration from 1s to 1h",
    ),
    setting("connection_age", Some("1h"), "how long a connection is used; then its next answer is the last", "a duration from 1s to 7days"),
    setting(
        "unauthenticated_memory_mib",
        Some("64"),
        "memory for the headers and bodies of requests whose client is not authenticated yet, a quarter of it for one source; a request beyond it is answered 503",
        "a number from 1 to 65536",
    ),
    setting(
        "management_listen",
        Some("127.0.0.1:8081"),
        "where to serve metrics and health, for operators alone; beyond loopback it needs management_unprotected",
        "an IP address and a port, or off",
    ),
    setting(
        "management_unprotected",
        Some("false"),
        "whether management_listen may be beyond loopback, where it is served in the clear and to everyone who asks",
        "true or false",
    ),
    setting(
        "management_hosts",
        None,
        "DNS names by which the management listener may be asked, besides localhost; requests with another Host are refused",
        "DNS names with commas between, without ports, such as sealwright.internal",
    ),
    setting("database_url", Some("sqlite://sealwright.db"), "the database", crate::server::store::DatabaseUrl::ALLOWED),
    setting(
        "database_tls",
        Some("verified"),
        "how connections to PostgreSQL beyond this machine are protected; unverified and off let whoever is on the way read the password",
        "verified, unverified or off",
    ),
    setting(
        "database_connections",
        Some("8"),
        "connections to the database at most, besides one for what other nodes changed",
        "a number from 1 to 100",
    ),
    setting("keys_dir", Some("keys"), "the folder of sealing.key", "a path"),
    Setting {
        name: "sealing_key",
        help: "the sealing key itself, instead of the file: the text of a sealing.key",
        allowed: "a JWK set with at least one oct key of 256 bits that has a kid",
        default: None,
        secret: true,
    },
    setting(
        "key_publish_lead",
        Some("24h"),
        "how long a new key is published before it signs, which bounds how long verifiers may keep the keys; no command makes one yet",
        "a duration from 2h to 30days",
    ),
    setting(
        "rsa_bits",
        Some("2048"),
        "the size of the RSA key that the first start makes; a signature by 3072 bits takes about 3 times as long, by 4096 about 6 times",
        "2048, 3072 or 4096",
    ),
    setting("signing_threads", None, "threads that sign; by default one per core", "a number from 1 to 256"),
    setting(
        "signing_queue",
        Some("1024"),
        "signatures that wait at most; a request beyond it is answered 503",
        "a number from 1 to 100000",
    ),
    setting(
        "token_lifetime",
        Some("10m"),
        "how long a token is good when neither its client nor its resource says so",
        crate::server::model::TokenLifetime::RANGE,
    ),
    setting(
        "registry_stale_for",
        Some("10s"),
        "for how long known clients are served while the database is out of reach",
        "a duration from 1s to 1h",
    ),
    setting(
        "api_docs",
        Some("true"),
        "whether the API's description (/openapi.yaml, /openapi.json) and its page (/docs) are served",
        "true or false",
    ),
    setting("cached_clients", Some("10000"), "clients kept in memory at most", "a number from 1 to 1000000"),
    setting(
        "password_grant",
        Some("true"),
        "whether the password grant is served at all; even then it is for clients that were given it",
        "true or false",
    ),
    setting("login_lifetime", Some("30days"), "how long a user stays signed in at most", "a duration from 1h to 366days"),
    setting("login_idle_lifetime", Some("7days"), "how long a user stays signed in without a refresh", "a duration from 5m to 366days"),
    setting(
        "logins_per_user",
        Some("100"),
        "logins of one user by one client; one more ends the least recently used one",
        "a number from 1 to 10000",
    ),
    setting("password_min_length", Some("15"), "characters that a new password has at least", "a number from 8 to 64"),
    setting(
        "password_memory_kib",
        Some("19456"),
        "memory of one password hash, in KiB; raising it rehashes each password at its next use",
        "a number from 19456 to 1048576",
    ),
    setting("password_passes", Some("2"), "passes of one password hash over its memory", "a number from 2 to 20"),
    setting(
        "password_threads",
        None,
        "threads that hash passwords, each with the memory of one hash; by default half the cores",
        "a number from 1 to 64",
    ),
    setting(
        "password_queue",
        Some("64"),
        "password hashes that wait at most; a request beyond it is answered 503",
        "a number from 1 to 10000",
    ),
    setting(
        "failed_attempts_burst",
        Some("10"),
        "failures that are free: wrong passwords per client and user name, wrong secrets per client and source",
        "a number from 1 to 1000",
    ),
    setting("failed_attempts_interval", Some("10s"), "time after which one more failed attempt is free", "a duration from 1s to 1h"),
    setting(
        "failed_attempts_per_source",
        Some("100"),
        "failed passwords over all user names that are free, per client and source; the limit refills in failed_attempts_burst times failed_attempts_interval",
        "a number from 1 to 10000",
    ),
    setting(
        "failed_attempts_per_client",
        Some("1000"),
        "failed passwords over all user names and sources that are free, per client; the limit refills in the same time",
        "a number from 1 to 100000",
    ),
    setting(
        "drain_delay",
        Some("0s"),
        "how long the server goes on when it is told to stop, saying that it is not ready: until a load balancer has noticed",
        "a duration from 0s to 5m",
    ),
    setting(
        "drain_linger",
        Some("1s"),
        "how long connections without a request are kept when the server stops, so that a request on its way is not cut off",
        "a duration from 0s to 5m",
    ),
    setting(
        "drain_timeout",
        Some("20s"),
        "how long requests under way may go on once the server is told to stop",
        "a duration from 0s to 5m",
    ),
    setting("log", Some("info"), "what is logged", "off, error, warn, info, debug, trace, or a list such as info,sqlx=warn"),
    setting("log_format", Some("auto"), "how it is logged; auto is text on a terminal and JSON otherwise", "auto, text or json"),
    setting(
        "otlp_endpoint",
        None,
        "where spans are sent by OTLP over HTTP, below /v1/traces; by default nowhere",
        "an http or https URL, such as http://127.0.0.1:4318",
    ),
];
