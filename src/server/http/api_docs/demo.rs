//! What the page shows of a demo.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// The credentials of a demo, which are public, and the address of its API.
#[derive(Debug, Clone)]
pub(crate) struct Demo {
    /// The trusted app, which gets tokens for itself.
    pub(crate) app: DemoClient,
    /// The web shop, in which users sign in.
    pub(crate) shop: DemoClient,
    /// The id under which the API is a client.
    pub(crate) api: String,
    pub(crate) username: String,
    pub(crate) password: SecretString,
    /// The URL at which the API has its orders.
    pub(crate) orders: String,
}

/// A client of a demo.
#[derive(Debug, Clone)]
pub(crate) struct DemoClient {
    pub(crate) id: String,
    pub(crate) secret: SecretString,
}

impl Demo {
    /// The demo as JSON, or `null`. In a script element, `<` could end the element (HTML, section 4.12.1.3).
    pub(super) fn in_a_script_element(demo: Option<&Self>) -> String {
        json!(demo.map(Self::in_json)).to_string().replace('<', "\\u003c")
    }

    fn in_json(&self) -> Value {
        let client = |client: &DemoClient| json!({ "id": client.id, "secret": client.secret.expose_secret() });
        json!({
            "app": client(&self.app), "shop": client(&self.shop), "api": self.api,
            "username": self.username, "password": self.password.expose_secret(), "orders": self.orders,
        })
    }
}
