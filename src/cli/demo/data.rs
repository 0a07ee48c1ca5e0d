//! What is registered in the demo: an API, three clients with a role each, and a user.

use std::collections::BTreeMap;

use crate::{
    cli::error::Error,
    clock::{Clock, SystemClock},
    entropy,
    protocol::{Algorithm, Audience, GrantType, Scope},
    server::{
        Config,
        commands::{Act, Commands, NewClient, NewResource, NewSecret, NewUser, Password},
        http::{Demo, DemoClient},
    },
};

pub(super) const RESOURCE: &str = "https://orders.example";
pub(super) const SCOPE: &str = "orders:read orders:write";
/// What the trusted app may do.
pub(super) const READ: &str = "orders:read";
/// The trusted app, which gets tokens for itself.
pub(super) const APP: &str = "billing";
/// The web shop, in which users sign in.
pub(super) const SHOP: &str = "shop";
/// The API, which asks whether tokens are still valid.
pub(super) const API: &str = "orders-api";
pub(super) const USER: &str = "alice";

/// The generated credentials, which are only printed.
pub(super) struct DemoData {
    pub(super) app: NewSecret,
    pub(super) shop: NewSecret,
    pub(super) api: NewSecret,
    pub(super) password: String,
}

impl DemoData {
    /// Registers it all.
    pub(super) async fn register(config: &Config) -> Result<Self, Error> {
        let commands = Commands::create(config.commands()).await?;
        let act = Act::of_process(SystemClock.now());
        let new = NewResource {
            audience: audience(),
            scope: scope(SCOPE),
            token_lifetime: None,
            algorithm: Algorithm::Rs256,
            fixed_claims: Default::default(),
            claims: [].into(),
        };
        commands.resources().create(&act, new).await?;
        let at_orders = |allowed| BTreeMap::from([(audience(), scope(allowed))]);
        let app = NewClient { permissions: at_orders(READ), ..client(APP, &[GrantType::ClientCredentials]) };
        let (_, app) = commands.clients().create(&act, app).await?;
        let shop = NewClient { permissions: at_orders(SCOPE), ..client(SHOP, GrantType::ALL) };
        let (_, shop) = commands.clients().create(&act, shop).await?;
        let api = NewClient { introspects: [audience()].into(), ..client(API, &[]) };
        let (_, api) = commands.clients().create(&act, api).await?;
        let password = entropy::unique_id();
        let user = NewUser {
            username: USER.parse().expect("the demo's user name is valid"),
            password: Password::parse(&password).expect("base64url is a valid password"),
            permissions: at_orders(SCOPE),
            attributes: Default::default(),
        };
        commands.users().create(&act, user).await?;
        commands.close().await;
        Ok(Self { app, shop, api, password })
    }

    /// The values that the API's page shows. `orders` is the URL at which the demo's API has its orders.
    pub(super) fn on_the_page(&self, orders: String) -> Demo {
        let client = |id: &str, secret: &NewSecret| DemoClient { id: id.to_owned(), secret: secret.expose().into() };
        Demo {
            app: client(APP, &self.app),
            shop: client(SHOP, &self.shop),
            api: API.to_owned(),
            username: USER.to_owned(),
            password: self.password.as_str().into(),
            orders,
        }
    }
}

fn audience() -> Audience {
    RESOURCE.parse().expect("the demo's resource is valid")
}

fn scope(text: &str) -> Scope {
    text.parse().expect("the demo's scopes are valid")
}

/// A client that may use these grants and nothing else.
fn client(id: &str, grants: &[GrantType]) -> NewClient {
    NewClient {
        id: id.parse().expect("the demo's client ids are valid"),
        auth_methods: [].into(),
        grants: grants.iter().copied().collect(),
        permissions: BTreeMap::new(),
        introspects: [].into(),
        token_lifetime: None,
        fixed_claims: Default::default(),
        credential_lifetime: None,
    }
}
