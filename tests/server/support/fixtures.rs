//! Test data, created by the commands in this process instead of processes of the command line.

use std::{collections::BTreeMap, future::Future, sync::LazyLock, time::Duration};

use sealwright::{
    clock::{Clock, SystemClock},
    protocol::{Audience, GrantType, Scope},
    server::{
        Config,
        commands::{
            Act, ClientChange, ClientKey, Commands, CredentialDrop, CredentialId, LoginsOf, NewClient, NewResource, NewUser, Password,
            ResourceChange, TokenLifetime, UserChange,
        },
        config::Sources,
    },
};
use tokio::runtime::{Builder, Runtime};

use super::{Backend, Credential, ORDERS, TestDatabase};

/// The grant types of an app for users.
const ALL_GRANTS: [&str; 3] = ["client_credentials", "password", "refresh_token"];

/// The operator of a test.
pub(crate) struct Operator {
    pub(crate) commands: Commands,
    pub(crate) act: Act,
}

impl TestDatabase {
    /// Runs `job` on the commands of this database, on a separate thread, so that tests need not await it. Connections to PostgreSQL are
    /// kept, because opening them takes longer than most jobs.
    pub(crate) fn operate<T: Send>(&self, job: impl AsyncFnOnce(&Operator) -> T + Send) -> T {
        let flags = vec![("keys_dir".to_owned(), self.keys_dir().display().to_string())];
        let environment = vec![("SEALWRIGHT_DATABASE_URL".to_owned(), self.url.clone())];
        let policy = Config::load(Sources { flags, environment, ..Sources::default() }).unwrap().commands();
        on_a_thread(|| async {
            let open = async || Commands::open(policy).await.unwrap();
            let keep = self.backend() == Backend::Postgres;
            let commands = if keep { self.commands.get_or_init(open).await.clone() } else { open().await };
            let operator = Operator { commands, act: Act::of_process(SystemClock.now()) };
            let done = job(&operator).await;
            if !keep {
                operator.commands.close().await;
            }
            done
        })
    }

    /// The resource `https://orders.example` with these scopes.
    pub(crate) fn orders(&self, scope: &str) {
        self.resource(ORDERS, scope, None);
    }

    pub(crate) fn resource(&self, audience: &str, scope: &str, lifetime: Option<TokenLifetime>) {
        let new = NewResource {
            audience: audience.parse().unwrap(),
            scope: scope.parse().unwrap(),
            token_lifetime: lifetime,
            fixed_claims: Default::default(),
            claims: [].into(),
            algorithm: sealwright::protocol::Algorithm::Rs256,
        };
        self.operate(async |operator| operator.commands.resources().create(&operator.act, new).await.map(drop).unwrap());
    }

    pub(crate) fn update_resource(&self, audience: &str, change: ResourceChange) {
        let audience = audience.parse().unwrap();
        self.operate(async |operator| operator.commands.resources().update(&operator.act, audience, change).await.map(drop).unwrap());
    }

    /// A client that may have `scope` at `https://orders.example`.
    pub(crate) fn client(&self, id: &str, grants: &[&str], scope: &str) -> Credential {
        self.client_with(id, |new| {
            new.grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
            new.permissions = at_orders(scope);
        })
    }

    /// A client that may have `orders:read` at `https://orders.example` by client credentials, except for what `adjust` changes.
    pub(crate) fn client_with(&self, id: &str, adjust: impl FnOnce(&mut NewClient)) -> Credential {
        let mut new = new_client(id);
        adjust(&mut new);
        let (_, secret) = self.operate(async |operator| operator.commands.clients().create(&operator.act, new).await.unwrap());
        Credential { id: id.to_owned(), secret: secret.expose().to_owned() }
    }

    /// The same client with a key and without a secret.
    pub(crate) fn client_with_key(&self, id: &str, key: ClientKey, adjust: impl FnOnce(&mut NewClient)) {
        let mut new = new_client(id);
        adjust(&mut new);
        self.operate(async |operator| operator.commands.clients().create_with_key(&operator.act, new, key).await.map(drop).unwrap());
    }

    pub(crate) fn add_key(&self, id: &str, key: ClientKey, lifetime: Option<Duration>) {
        let id = id.parse().unwrap();
        self.operate(async |operator| operator.commands.clients().add_key(&operator.act, id, key, lifetime).await.unwrap());
    }

    /// A client for users, with all grants.
    pub(crate) fn app_for_users(&self, id: &str, scope: &str) -> Credential {
        self.client(id, &ALL_GRANTS, scope)
    }

    /// A client that gets no tokens, and introspects those of `https://orders.example`.
    pub(crate) fn api(&self, id: &str) -> Credential {
        self.client_with(id, |new| {
            new.grants = [].into();
            new.permissions = [].into();
            new.introspects = [ORDERS.parse().unwrap()].into();
        })
    }

    pub(crate) fn update_client(&self, id: &str, change: ClientChange) {
        let id = id.parse().unwrap();
        self.operate(async |operator| operator.commands.clients().update(&operator.act, id, change).await.map(drop).unwrap());
    }

    pub(crate) fn disable_client(&self, id: &str) {
        let id = id.parse().unwrap();
        self.operate(async |operator| operator.commands.clients().disable(&operator.act, id).await.map(drop).unwrap());
    }

    pub(crate) fn enable_client(&self, id: &str) {
        let id = id.parse().unwrap();
        self.operate(async |operator| operator.commands.clients().enable(&operator.act, id).await.map(drop).unwrap());
    }

    pub(crate) fn delete_client(&self, id: &str) {
        let id = id.parse().unwrap();
        self.operate(async |operator| operator.commands.clients().delete(&operator.act, id).await.unwrap());
    }

    /// Another secret of the same client.
    pub(crate) fn add_secret(&self, client: &Credential, lifetime: Option<Duration>) -> Credential {
        let id = client.id.parse().unwrap();
        let secret = self.operate(async |operator| operator.commands.clients().add_secret(&operator.act, id, lifetime).await.unwrap());
        Credential { id: client.id.clone(), secret: secret.expose().to_owned() }
    }

    /// Deletes this secret of the client, even if it is the last one.
    pub(crate) fn drop_secret(&self, client: &Credential) {
        let id = client.id.parse().unwrap();
        let credential = CredentialId::Secret(client.secret[3..19].parse().unwrap());
        let dropped = CredentialDrop { credential, allow_last: true, compromised: false };
        self.operate(async |operator| operator.commands.clients().drop_credential(&operator.act, id, dropped).await.map(drop).unwrap());
    }

    /// A user who may have `scope` at `https://orders.example`.
    pub(crate) fn user(&self, name: &str, password: &str, scope: &str) {
        self.try_user(name, password, at_orders(scope)).unwrap();
    }

    /// Creates a user, or returns the error.
    pub(crate) fn try_user(&self, name: &str, password: &str, permissions: BTreeMap<Audience, Scope>) -> Result<(), String> {
        let password = Password::parse(password).map_err(|error| error.to_string())?;
        let new = NewUser { username: name.parse().unwrap(), password, permissions, attributes: Default::default() };
        let created = self.operate(async |operator| operator.commands.users().create(&operator.act, new).await.map(drop));
        created.map_err(|error| error.to_string())
    }

    pub(crate) fn set_password(&self, name: &str, password: &str) -> Result<(), String> {
        let password = Password::parse(password).map_err(|error| error.to_string())?;
        let name = name.parse().unwrap();
        let set = self.operate(async |operator| operator.commands.users().set_password(&operator.act, name, password).await);
        set.map(drop).map_err(|error| error.to_string())
    }

    pub(crate) fn update_user(&self, name: &str, change: UserChange) {
        let name = name.parse().unwrap();
        self.operate(async |operator| operator.commands.users().update(&operator.act, name, change).await.map(drop).unwrap());
    }

    pub(crate) fn disable_user(&self, name: &str) {
        let name = name.parse().unwrap();
        self.operate(async |operator| operator.commands.users().disable(&operator.act, name).await.map(drop).unwrap());
    }

    pub(crate) fn enable_user(&self, name: &str) {
        let name = name.parse().unwrap();
        self.operate(async |operator| operator.commands.users().enable(&operator.act, name).await.map(drop).unwrap());
    }

    pub(crate) fn delete_user(&self, name: &str) {
        let name = name.parse().unwrap();
        self.operate(async |operator| operator.commands.users().delete(&operator.act, name).await.unwrap());
    }

    pub(crate) fn end_logins(&self, of: LoginsOf) {
        self.operate(async |operator| operator.commands.logins().end(&operator.act, of).await.map(drop).unwrap());
    }
}

/// `scope` at `https://orders.example`.
pub(crate) fn at_orders(scope: &str) -> BTreeMap<Audience, Scope> {
    [(ORDERS.parse().unwrap(), scope.parse().unwrap())].into()
}

pub(crate) fn lifetime(seconds: u64) -> Option<TokenLifetime> {
    Some(TokenLifetime::new(Duration::from_secs(seconds)).unwrap())
}

/// Runs `job` on a separate runtime, to which kept connections belong.
fn on_a_thread<T: Send, F: Future<Output = T>>(job: impl FnOnce() -> F + Send) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    std::thread::scope(|scope| scope.spawn(|| RUNTIME.block_on(job())).join().unwrap())
}

fn new_client(id: &str) -> NewClient {
    NewClient {
        id: id.parse().unwrap(),
        auth_methods: [].into(),
        grants: [GrantType::ClientCredentials].into(),
        permissions: at_orders("orders:read"),
        introspects: [].into(),
        token_lifetime: None,
        fixed_claims: Default::default(),
        credential_lifetime: None,
    }
}
