//! The parts of a server, which its listeners and tasks share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use super::{
    config::Config,
    document::Document,
    edge::{Stopping, Tls},
    error::StartError,
    http::{ApiDocs, App},
    issuer::{DatabaseTurns, TokenIssuer},
    keys::{ALGORITHMS, ClockCheck, JwksFetchers, KeyRing, MacKey, SealingKeys, refuse_beside_later_servers},
    logins::Logins,
    meters::Meters,
    registry::Registry,
    restore::{self, Record, RecordFile, Witness},
    revocation::{Look, Publisher, Revocations},
    store::{Epochs, Opening, Store},
};
use crate::{
    clock::{SharedClock, Timestamp},
    entropy,
    protocol::{Issuer, ServerMetadata},
};

/// The parts of a server: its database is open, its keys are in memory.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) clock: SharedClock,
    /// When they were opened, by the steady clock.
    pub(super) opened: Timestamp,
    pub(super) meters: Arc<Meters>,
    pub(super) issuer: Issuer,
    /// `None` if this server serves plain HTTP.
    pub(super) tls: Option<Tls>,
    pub(super) store: Store,
    pub(super) sealing: SealingKeys,
    /// Identifies this server among those on the database.
    pub(super) server_id: String,
    pub(super) mac_keys: [MacKey; 2],
    pub(super) keys: KeyRing,
    pub(super) registry: Registry,
    pub(super) revocations: Revocations,
    pub(super) publisher: Publisher,
    pub(super) app: Arc<App>,
}

/// The database as it was when the parts were opened.
#[derive(Debug)]
pub(super) struct LastSeen {
    pub(super) epochs: Epochs,
    pub(super) witness: Witness,
    pub(super) clock_check: ClockCheck,
    /// The cautious heartbeat, before this server wrote its own.
    pub(super) heartbeat: Option<Timestamp>,
}

impl Parts {
    /// Opens all parts. `public` is the address of the public listener.
    pub(super) async fn open(
        config: &Config,
        clock: SharedClock,
        tls: Option<Tls>,
        public: SocketAddr,
    ) -> Result<(Self, LastSeen), StartError> {
        let meters = Arc::new(Meters::default());
        let record = restore::require_known(&config.store, &config.keys).await?;
        let record_file = RecordFile::of(&config.keys);
        let store = Store::open(&config.store, Opening::CreateIfMissing).await?;
        refuse_beside_later_servers(&store, &*clock).await?;
        let sealing = SealingKeys::open_or_create(&config.keys, &store).await?;
        let refresh_tokens = MacKey::open(Logins::KEY, &sealing, &store).await?;
        let sources = MacKey::open(Registry::SOURCE_KEY, &sealing, &store).await?;
        // Reads the epochs first, so that the data read later is at least as new as they indicate.
        let opened = clock.steady();
        let epochs = store.read_epochs().await?;
        let heartbeat = store.find_cautious_heartbeat().await?;
        let mut clock_check = ClockCheck::new(&*clock, heartbeat);
        // It may have been replaced since it was opened. A later replacement raises the epoch of keys.
        sealing.refresh(&store).await?;
        let keys = KeyRing::open(&config.keys, sealing.clone(), store.clone(), meters.signing.clone(), opened).await?;
        let seen = record.as_ref().map_or(0, Record::newest_revocations);
        let witness = Witness::open(record_file, record, &store, store.read_epochs().await?, keys.live_kids(opened)).await?;
        let policy = config.registry.clone();
        let issuer = config.issuer.clone().unwrap_or_else(|| loopback_issuer(public, tls.is_some()));
        let read = (epochs.registry, opened);
        let registry = Registry::open(policy, store.clone(), Arc::clone(&meters), sources.clone(), &clock, issuer.clone(), read);
        let registry = registry.map_err(StartError::Threads)?;
        let look = Look {
            epoch: epochs.revocations,
            read_at: clock.steady(),
            now: clock.now(),
            monotonic: clock.monotonic(),
            cautious_now: clock_check.cautious_now(&*clock),
            was_blind: false,
        };
        let (policy, cached) = (config.revocation, config.registry.cached_clients);
        let revocations = Revocations::open(policy, cached, store.clone(), &clock, &issuer, look, seen).await?;
        let publisher = Publisher::new(revocations.clone(), keys.clone(), Arc::clone(&clock), Arc::clone(&meters));
        let algorithms = ALGORITHMS.map(|algorithm| algorithm.published_as(config.keys.ed25519_alg)).to_vec();
        let mut metadata = ServerMetadata::new(issuer.clone(), config.tokens.served().collect(), algorithms);
        if revocations.are_published() {
            metadata = metadata.with_status_lists();
        }
        let app = Arc::new(App {
            clock: Arc::clone(&clock),
            registry: registry.clone(),
            issuer: TokenIssuer {
                policy: config.tokens.clone(),
                issuer: issuer.clone(),
                registry: registry.clone(),
                logins: Logins::new(config.logins, store.clone(), refresh_tokens.clone(), Arc::clone(&clock)),
                keys: keys.clone(),
                revocations: revocations.clone(),
                turns: DatabaseTurns::new(config.store.connections, store.is_file()),
                store: store.clone(),
                meters: Arc::clone(&meters),
            },
            keys: keys.clone(),
            publisher: publisher.clone(),
            fetchers: Arc::new(JwksFetchers::new(opened)),
            metadata: Document::new(serde_json::json!(metadata).to_string()),
            api_docs: ApiDocs::render(&config.http.api_docs, &issuer).map(Arc::new),
            proxies: Arc::new(config.http.listener.proxies.clone()),
            meters: Arc::clone(&meters),
            stopping: Stopping::default(),
        });
        let (server_id, mac_keys) = (entropy::unique_id(), [refresh_tokens, sources]);
        let parts =
            Self { clock, opened, meters, issuer, tls, store, sealing, server_id, mac_keys, keys, registry, revocations, publisher, app };
        Ok((parts, LastSeen { epochs, witness, clock_check, heartbeat }))
    }
}

/// The issuer of a server without the setting: it is reachable only from this machine.
fn loopback_issuer(addr: SocketAddr, tls: bool) -> Issuer {
    let (scheme, default_port) = if tls { ("https", ":443") } else { ("http", ":80") };
    let text = match addr {
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::LOCALHOST => format!("{scheme}://localhost:{}", addr.port()),
        _ => format!("{scheme}://{addr}"),
    };
    // The normal form of a URL omits the scheme's default port.
    let text = text.strip_suffix(default_port).unwrap_or(&text);
    text.parse().expect("a loopback address is a valid issuer")
}
