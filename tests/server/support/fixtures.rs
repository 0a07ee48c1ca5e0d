//! What a test finds in its database: made by the commands in this process, without a process of the command line for each.

use std::{collections::BTreeMap, future::Future};

use sealwright::{
    clock::{Clock, SystemClock},
    protocol::{Audience, Scope},
    server::{
        Config,
        commands::{Act, Commands, NewClient, NewResource, NewUser, Password},
        config::Sources,
    },
};

use super::{Credential, ORDERS, TestDatabase};

/// The grant types of an app by which users sign in and stay in.
const ALL_GRANTS: [&str; 3] = ["client_credentials", "password", "refresh_token"];

/// The operator of a test.
pub(crate) struct Operator {
    pub(crate) commands: Commands,
    pub(crate) act: Act,
}

impl TestDatabase {
    /// Runs `job` on the commands of this database. It has a thread of its own, so that tests need not await it.
    pub(crate) fn operate<T: Send>(&self, job: impl AsyncFnOnce(&Operator) -> T + Send) -> T {
        let flags = vec![("keys_dir".to_owned(), self.keys_dir().display().to_string())];
        let environment = vec![("SEALWRIGHT_DATABASE_URL".to_owned(), self.url.clone())];
        let policy = Config::load(Sources { flags, environment, ..Sources::default() }).unwrap().commands();
        on_a_thread(|| async move {
            let operator = Operator { commands: Commands::open(policy).await.unwrap(), act: Act::of_process(SystemClock.now()) };
            let done = job(&operator).await;
            operator.commands.close().await;
            done
        })
    }

    /// The resource `https://orders.example` with these scopes.
    pub(crate) fn orders(&self, scope: &str) {
        let new = NewResource { audience: ORDERS.parse().unwrap(), scope: scope.parse().unwrap(), token_lifetime: None };
        self.operate(async |operator| operator.commands.resources().create(&operator.act, new).await.map(drop).unwrap());
    }

    /// A client that may have `scope` at `https://orders.example`.
    pub(crate) fn client(&self, id: &str, grants: &[&str], scope: &str) -> Credential {
        let new = NewClient {
            id: id.parse().unwrap(),
            auth_methods: [].into(),
            grants: grants.iter().map(|grant| grant.parse().unwrap()).collect(),
            permissions: at_orders(scope),
            introspects: [].into(),
            token_lifetime: None,
            secret_lifetime: None,
        };
        let (_, secret) = self.operate(async |operator| operator.commands.clients().create(&operator.act, new).await.unwrap());
        Credential { id: id.to_owned(), secret: secret.expose().to_owned() }
    }

    /// A client by which users sign in and stay in.
    pub(crate) fn app_for_users(&self, id: &str, scope: &str) -> Credential {
        self.client(id, &ALL_GRANTS, scope)
    }

    /// A user who may have `scope` at `https://orders.example`.
    pub(crate) fn user(&self, name: &str, password: &str, scope: &str) {
        let username = name.parse().unwrap();
        let new = NewUser { username, password: Password::parse(password).unwrap(), permissions: at_orders(scope) };
        self.operate(async |operator| operator.commands.users().create(&operator.act, new).await.map(drop).unwrap());
    }
}

fn at_orders(scope: &str) -> BTreeMap<Audience, Scope> {
    [(ORDERS.parse().unwrap(), scope.parse().unwrap())].into()
}

/// Runs `job` to its end on a runtime of its own.
fn on_a_thread<T: Send, F: Future<Output = T>>(job: impl FnOnce() -> F + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(job()));
        thread.join().unwrap()
    })
}
