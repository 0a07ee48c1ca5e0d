//! What a trusted app embeds to get its tokens and attach them, so that nobody does it by hand.
//!
//! ```
//! use sealwright::client::{BuildError, Client, Credentials, Error, Secret};
//!
//! /// Once, at the start. Nothing is fetched: it works while the issuer is down.
//! fn orders_api() -> Result<Client, BuildError> {
//!     Credentials::client("billing", Secret::file("/run/secrets/billing"))
//!         .issuer("https://auth.example")
//!         .scopes(["orders:read"])
//!         .resource("https://orders.example")
//!         .attach_to(["https://orders.example"])          // no other origin ever sees the token
//!         .build()
//! }
//!
//! /// From then on: the token is there, good, and on the request.
//! async fn orders(api: &Client) -> Result<String, Error> {
//!     let answer = api.get("https://orders.example/orders").send().await?;
//!     Ok(answer.text().await?)
//! }
//! # orders_api().unwrap();
//! ```
//!
//! For tonic, websockets and other HTTP clients there is the bare [`TokenSource`]; for the users of a web application, [`Users`].
//!
//! # When a token is fetched
//!
//! With the first request that needs it, by one fetch that all who need it share. It is then used from memory, and fetched anew in the
//! background at four fifths of its life (less up to a tenth, so that many apps do not come at the same moment) if it was used; the last
//! tenth of it, at most 30 s, is left unused. So nobody waits for a token but the first.
//!
//! - **While the issuer is down** the token at hand is used to its end, and no caller notices. An attempt that fails never takes a good
//!   token away. The pauses between attempts grow from 1 to 30 s; `Retry-After` is obeyed up to an hour.
//! - **A secret in a file or a variable is read each time**, so that it can be replaced while the app runs. When the issuer does not take
//!   it, it is asked again a minute later.
//! - **When an API answers 401**, and blames the token or nothing, the request is sent once more with another token: not when the
//!   body is a stream, nor when the token is younger than 10 s.
//! - **A user's refresh token is never used twice at once**, and when an answer is lost the same one is sent again, which the issuer
//!   answers with the same successor.
//!
//! The task in the background ends with the last clone of the client.
//!
//! # Where a token goes
//!
//! To the origins that were named by [`Builder::attach_to`], and to no other: a request that goes elsewhere is sent without. A redirect to
//! another host or port loses it, one from `https` to `http` is not followed. Origins are `https`, or `http` to this machine.
//!
//! # When there is none
//!
//! [`Error`] says which [`Party`] has to do what: the app, the issuer's operator, the network, the user, or the API. No secret and no
//! token stands in an error, in `Debug` or in the log. Spans named `fetch_token` say what became of each attempt.

mod connection;
mod credentials;
mod error;
mod exchange;
mod request;
mod secret;
mod token_source;
mod users;

use std::fmt;

pub use credentials::{Builder, Credentials};
pub use error::{BuildError, Error, Party};
pub use request::RequestBuilder;
/// The HTTP client below; what [`Builder::http`] and [`RequestBuilder::map`] hand out is its.
pub use reqwest;
pub use secret::Secret;
pub use token_source::{AccessToken, Status, TokenSource, Tokens};
pub use users::Users;

use request::Origins;

/// An HTTP client that attaches its token by itself, to the origins that it was given. Its clones share the token and the connections.
#[derive(Clone)]
pub struct Client {
    source: TokenSource,
    http: reqwest::Client,
    origins: Origins,
    /// Who is to know under which refresh token this login goes on.
    users: Option<Users>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("source", &self.source).field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl Client {
    fn new(source: TokenSource, http: reqwest::Client, origins: Origins) -> Self {
        Self { source, http, origins, users: None }
    }

    /// The source of its tokens, for whatever does not go through it.
    #[must_use]
    pub fn token_source(&self) -> TokenSource {
        self.source.clone()
    }

    /// How it is doing. Waits for nothing, and fetches nothing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.source.status()
    }

    /// What it holds now, for an application that stores its users' logins. None: nothing was fetched yet.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        let tokens = self.source.tokens()?;
        if let Some(users) = &self.users {
            users.know(&self.source, &tokens);
        }
        Some(tokens)
    }

    /// The tokens of the login, renewed if it is time: for an application that is to know what the user may do before it asks an API.
    ///
    /// # Errors
    ///
    /// When there is no token that is good.
    pub async fn renewed(&self) -> Result<Tokens, Error> {
        self.source.token().await?;
        self.tokens().ok_or(Error::LoginEnded)
    }

    /// Ends the login at the issuer (RFC 7009), and gives up what is held here. An access token that others have is good until it
    /// expires. Without a login it only forgets.
    ///
    /// # Errors
    ///
    /// When the issuer did not take it: the login lives on there until it ends by itself.
    pub async fn sign_out(&self) -> Result<(), Error> {
        self.source.revoke().await
    }
}
