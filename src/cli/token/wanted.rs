//! What a script wants: the token, and the credentials with which it is requested.

use std::{collections::BTreeSet, fmt};

use aws_lc_rs::hmac;
use url::form_urlencoded::byte_serialize;

use crate::{
    cli::error::Error,
    client::{self, Credentials, PrivateKey, Proof, Secret, SingleFetch},
    server::caller_text::{self, HIDDEN},
};

/// Everything that decides which token the issuer returns.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) proof: WantedProof<'a>,
    pub(super) resource: Option<&'a str>,
    pub(super) scopes: &'a [String],
    /// The name and the password of a user.
    pub(super) user: Option<(&'a str, &'a str)>,
}

/// What the client proves its identity with.
#[derive(Clone, Copy)]
pub(super) enum WantedProof<'a> {
    Secret(&'a str),
    /// A private key, in PEM.
    Key(&'a str),
}

impl<'a> WantedProof<'a> {
    const fn text(self) -> &'a str {
        match self {
            Self::Secret(text) | Self::Key(text) => text,
        }
    }
}

impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("issuer", &self.issuer).field("client", &self.client).finish_non_exhaustive()
    }
}

impl Wanted<'_> {
    /// A digest of all of it: a token is found only with the secret and the password with which it was requested.
    ///
    /// The digest is the name of a file. A password could be guessed from a plain digest. The client's secret or private key, which is random and not
    /// stored here, is the key, so that only those who have it can try.
    pub(super) fn digest(&self) -> [u8; 32] {
        const FORMAT: &str = "sealwright token get 1";
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.proof.text().as_bytes()));
        let mut add = |name: &str, value: &str| {
            // With their lengths, so that no two lists of parts look the same.
            for part in [name, value] {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part.as_bytes());
            }
        };
        add("format", FORMAT);
        add("issuer", self.issuer);
        add("client", self.client);
        if let Some(resource) = self.resource {
            add("resource", resource);
        }
        // A scope is a set (RFC 6749 section 3.3).
        for scope in self.scopes.iter().collect::<BTreeSet<_>>() {
            add("scope", scope);
        }
        if let Some((username, password)) = self.user {
            add("username", username);
            add("password", password);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(mac.sign().as_ref());
        digest
    }

    /// Prepares the requests for it.
    pub(super) fn fetch(&self) -> Result<SingleFetch, Error> {
        let proof: Proof = match self.proof {
            WantedProof::Secret(secret) => Secret::value(secret).into(),
            WantedProof::Key(pem) => PrivateKey::pem(pem).into(),
        };
        let builder = match self.user {
            Some((username, password)) => Credentials::password(self.client, proof, username, Secret::value(password)),
            None => Credentials::client(self.client, proof),
        };
        let builder = builder.issuer(self.issuer).scopes(self.scopes);
        let builder = match self.resource {
            Some(resource) => builder.resource(resource),
            None => builder,
        };
        builder.single_fetch().map_err(|error| match error {
            client::BuildError::Issuer(why) => {
                Error::InvalidOption { option: "issuer", why: format!("{why}; use exactly the `issuer` of its metadata") }
            }
            client::BuildError::ClientId => Error::InvalidOption {
                option: "client",
                why: "it is empty, longer than 255 characters, or contains control characters; use the id that the issuer assigned"
                    .to_owned(),
            },
            client::BuildError::Scope(why) => {
                Error::InvalidOption { option: "scope", why: format!("{why}; repeat the option for each scope token") }
            }
            client::BuildError::Resource(why) => {
                Error::InvalidOption { option: "resource", why: format!("{why}; use the API's audience as registered at the issuer") }
            }
            other => Error::NoToken(other.to_string()),
        })
    }

    /// Why there is no token, in the terms of the command line.
    pub(super) fn why_none(&self, error: &client::Error) -> String {
        let text = match error {
            client::Error::NotAnIssuer(why) => {
                let why = self.without_secrets(why);
                format!("the server at the issuer's URL does not answer as an issuer ({why}): check --issuer, and any proxy on the way")
            }
            client::Error::OtherIssuer { claimed } => format!(
                "the metadata at the issuer's URL names the issuer {:?}: if that is the right one, set --issuer to exactly this text; if not, do not \
                 trust it",
                self.without_secrets(claimed)
            ),
            client::Error::WrongSecret => {
                "the issuer does not accept this client with this secret: ask its operator whether the client of \
                 --client exists and is enabled, or for a new secret"
                    .to_owned()
            }
            client::Error::WrongKey => {
                "the issuer does not accept this client with this key: ask its operator whether the client of --client exists and is enabled, \
                 and whether it has the public half of this key; and check the clock of this machine"
                    .to_owned()
            }
            client::Error::PrivateKey(why) => format!("the private key of --key-file cannot be used ({why})"),
            client::Error::WrongPassword => {
                "the user name or the password is wrong, or the user may not sign in: check --username and the password".to_owned()
            }
            client::Error::Refused { code, description } => format!(
                "the issuer refuses the request ({}: {}): request with --scope and --resource what this client may have, or have its operator \
                 allow it",
                self.without_secrets(code),
                self.without_secrets(description)
            ),
            other => other.to_string(),
        };
        caller_text::words(&text)
    }

    /// A text of the issuer without the credentials: it may repeat what it was sent.
    fn without_secrets(&self, text: &str) -> String {
        /// What is shorter is not a secret, and would be found in other words.
        const LEAST: usize = 4;
        let mut text = text.to_owned();
        let secrets = [Some(self.proof.text()), self.user.map(|(_, password)| password)];
        for secret in secrets.into_iter().flatten().filter(|secret| secret.len() >= LEAST) {
            // In a form, a space is a plus sign or %20.
            let encoded: String = byte_serialize(secret.as_bytes()).collect();
            for form in [secret, encoded.as_str(), encoded.replace('+', "%20").as_str()] {
                text = text.replace(form, HIDDEN);
            }
        }
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use super::*;

    pub(in crate::cli::token) const WANTED: Wanted<'_> = Wanted {
        issuer: "https://auth.example",
        client: "billing",
        proof: WantedProof::Secret("sw_1"),
        resource: None,
        scopes: &[],
        user: None,
    };

    #[test]
    fn the_name_of_a_cached_token_depends_on_all_that_decides_which_token_it_is() {
        let scopes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (read, write, both) = (scopes(&["read"]), scopes(&["write"]), scopes(&["read", "write"]));
        let different = [
            WANTED,
            Wanted { issuer: "https://auth.example/", ..WANTED },
            Wanted { client: "billing2", ..WANTED },
            Wanted { proof: WantedProof::Secret("sw_2"), ..WANTED },
            Wanted { resource: Some("https://orders.example"), ..WANTED },
            Wanted { resource: Some("read"), ..WANTED },
            Wanted { scopes: &read, ..WANTED },
            Wanted { scopes: &write, ..WANTED },
            Wanted { scopes: &both, ..WANTED },
            Wanted { user: Some(("alice", "a")), ..WANTED },
            Wanted { user: Some(("alice", "b")), ..WANTED },
            Wanted { user: Some(("alic", "ea")), ..WANTED },
        ];
        let digests: HashSet<_> = different.iter().map(Wanted::digest).collect();
        assert_eq!(digests.len(), different.len());
        let (reversed, twice) = (scopes(&["write", "read"]), scopes(&["read", "write", "read"]));
        for same in [&reversed, &twice] {
            assert_eq!(Wanted { scopes: same, ..WANTED }.digest(), Wanted { scopes: &both, ..WANTED }.digest());
        }
    }

    #[test]
    fn hd7_what_an_issuer_repeats_of_the_credentials_is_hidden() {
        let wanted = Wanted { proof: WantedProof::Secret("x9-wrong-credential"), user: Some(("alice", "plum trousers")), ..WANTED };
        for echo in [
            "the password plum trousers is wrong",
            "the body was username=alice&password=plum+trousers",
            "the body was password=plum%20trousers&x=1",
            "client_secret=x9-wrong-credential",
            "YmlsbGluZzp4OS13cm9uZy1jcmVkZW50aWFs",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJiaWxsaW5nIn0.",
        ] {
            let error = client::Error::Refused { code: "invalid_request".to_owned(), description: echo.to_owned() };
            let shown = wanted.why_none(&error);
            for hidden in ["plum", "trousers", "x9-wrong", "YmlsbGlu", "eyJ"] {
                assert!(!shown.contains(hidden), "{shown}");
            }
            assert!(shown.contains("invalid_request") && shown.contains(HIDDEN), "{shown}");
        }
    }
}
