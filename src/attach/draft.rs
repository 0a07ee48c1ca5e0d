//! Reads the setting `to`.
//!
//! ```text
//! to     = route *( SP route )
//! route  = [ place "=" ] origin *( SP option )
//! place  = path / listener
//! option = "resource=" audience / "scope=" scope-token / "client=" client-id / "secret-file=" file / "key-file=" file
//! ```
//!
//! No part contains a space: neither an audience nor a scope token may (RFC 6749 section 3.3).

use std::{collections::BTreeSet, path::PathBuf, str::FromStr};

use super::{
    listen::ListenError,
    place::{InvalidPath, Place, Prefix},
    route::{MAX_ROUTES, OtherClient, OtherProof, Route, RouteError, Routes},
};
use crate::{
    protocol::{Audience, ClientId, ScopeToken},
    proxy::Origin,
};

impl FromStr for Routes {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let mut drafts: Vec<Draft> = Vec::new();
        for word in text.split_ascii_whitespace() {
            let Some((option, value)) = split_option(word) else {
                if drafts.len() == MAX_ROUTES {
                    return Err(RouteError::TooMany);
                }
                drafts.push(Draft::begin(word)?);
                continue;
            };
            let draft = drafts.last_mut().ok_or_else(|| RouteError::OptionFirst(option.name()))?;
            draft.set(option, value)?;
        }
        Self::new(drafts.into_iter().map(Draft::finish).collect::<Result<Vec<_>, _>>()?)
    }
}

/// What can be said of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
enum RouteOption {
    Resource,
    Scope,
    Client,
    SecretFile,
    KeyFile,
}

impl RouteOption {
    fn name(self) -> &'static str {
        self.into()
    }
}

fn split_option(word: &str) -> Option<(RouteOption, &str)> {
    let (name, value) = word.split_once('=')?;
    name.parse().ok().map(|option| (option, value))
}

/// A route whose options are being read.
#[derive(Debug)]
struct Draft {
    place: Place,
    origin: Origin,
    resource: Option<Audience>,
    scopes: BTreeSet<ScopeToken>,
    client: Option<ClientId>,
    secret_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Draft {
    fn begin(word: &str) -> Result<Self, RouteError> {
        let is_origin = |text: &str| text.starts_with("https://") || text.starts_with("http://");
        let (place, origin) = match word.split_once('=') {
            _ if is_origin(word) => (Place::Path(Prefix::everything()), word),
            Some((place, origin)) if is_origin(origin) => (place_of(place)?, origin),
            _ => return Err(RouteError::Form(shown(word))),
        };
        let origin = origin.parse().map_err(|_| RouteError::Origin(shown(origin)))?;
        Ok(Self { place, origin, resource: None, scopes: BTreeSet::new(), client: None, secret_file: None, key_file: None })
    }

    fn set(&mut self, option: RouteOption, value: &str) -> Result<(), RouteError> {
        let twice = match option {
            RouteOption::Resource => self.resource.replace(value.parse().map_err(RouteError::Value)?).is_some(),
            RouteOption::Scope => {
                self.scopes.insert(value.parse().map_err(RouteError::Value)?);
                false
            }
            RouteOption::Client => self.client.replace(value.parse().map_err(RouteError::Value)?).is_some(),
            RouteOption::SecretFile => self.secret_file.replace(PathBuf::from(value)).is_some(),
            RouteOption::KeyFile => self.key_file.replace(PathBuf::from(value)).is_some(),
        };
        if twice { Err(RouteError::Twice(option.name())) } else { Ok(()) }
    }

    fn finish(self) -> Result<Route, RouteError> {
        let Self { place, origin, resource, scopes, client, secret_file, key_file } = self;
        let proof = match (secret_file, key_file) {
            (None, None) => None,
            (Some(file), None) if !file.as_os_str().is_empty() => Some(OtherProof::Secret(file)),
            (None, Some(file)) if !file.as_os_str().is_empty() => Some(OtherProof::Key(file)),
            _ => return Err(RouteError::HalfAClient),
        };
        let client = match (client, proof) {
            (None, None) => None,
            (Some(id), Some(proof)) => Some(OtherClient { id, proof }),
            _ => return Err(RouteError::HalfAClient),
        };
        Ok(Route { place, origin, resource, scopes, client })
    }
}

fn place_of(text: &str) -> Result<Place, RouteError> {
    if text.starts_with('/') {
        return text.parse().map(Place::Path).map_err(|InvalidPath| RouteError::Path(shown(text)));
    }
    let listener = text.parse().map_err(|source| match source {
        ListenError::Form => RouteError::Form(shown(text)),
        source => RouteError::Listener { place: shown(text), source },
    })?;
    Ok(Place::Listener(listener))
}

/// A part of the setting, for a message. A URL with a user name may contain a password.
fn shown(text: &str) -> String {
    if text.contains('@') { "(a text with a user name)".to_owned() } else { text.chars().take(100).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> RouteError {
        text.parse::<Routes>().map(|_| ()).expect_err(text)
    }

    #[test]
    fn gd4_routes_are_origins_with_a_place_and_options() {
        let text = "/orders=https://orders.example resource=https://orders.example scope=orders:read scope=orders:write \
                    127.0.0.1:9101=https://stock.example:8443 resource=urn:stock client=warehouse secret-file=/run/secrets/warehouse";
        let routes: Routes = text.parse().unwrap();
        let [orders, stock] = routes.iter().collect::<Vec<_>>()[..] else { panic!("{routes:?}") };
        assert_eq!((orders.place.to_string(), orders.origin.to_string()), ("/orders".to_owned(), "https://orders.example".to_owned()));
        assert_eq!(orders.scopes.iter().map(ScopeToken::as_str).collect::<Vec<_>>(), ["orders:read", "orders:write"]);
        assert_eq!(orders.client, None);
        assert_eq!((stock.place.to_string(), stock.scopes.len()), ("127.0.0.1:9101".to_owned(), 0));
        assert_eq!(stock.resource.as_ref().map(Audience::as_str), Some("urn:stock"));
        let client = stock.client.as_ref().unwrap();
        assert_eq!((client.id.as_str(), &client.proof), ("warehouse", &OtherProof::Secret("/run/secrets/warehouse".into())));
        let by_key: Routes = "https://a.example client=a key-file=/run/secrets/a.pem".parse().unwrap();
        assert_eq!(by_key.proofs().collect::<Vec<_>>(), [&OtherProof::Key("/run/secrets/a.pem".into())]);

        let one: Routes = "https://orders.example".parse().unwrap();
        let one = one.iter().next().unwrap();
        assert_eq!((one.place.to_string(), one.resource.is_none()), ("/".to_owned(), true));
        for text in [
            "/a=https://orders.example scope=orders:read /b=https://orders.example scope=orders:write",
            "127.0.0.1:0=https://orders.example 127.0.0.1:0=https://orders.example",
            "unix:/run/app/orders.sock=https://orders.example",
            "https://orders.example /stock=https://orders.example",
        ] {
            assert!(text.parse::<Routes>().is_ok(), "{text}");
        }
    }

    #[test]
    fn gd4_what_is_not_a_route_is_refused_with_its_reason() {
        assert_eq!(refused(" "), RouteError::Empty);
        assert_eq!(refused("scope=a https://orders.example"), RouteError::OptionFirst("scope"));
        for text in ["orders.example", "https://a.example ressource=x", "orders=https://a.example", "=https://a.example", "/orders"] {
            assert!(matches!(refused(text), RouteError::Form(_)), "{text}");
        }
        for path in ["//", "/a//b", "/./a", "/a/..", "/a?b", "/a#b", "/\u{e9}"] {
            assert!(matches!(refused(&format!("{path}=https://a.example")), RouteError::Path(_)), "{path}");
        }
        for origin in ["https://a.example/v1", "https://a.example?x", "https://", "https://a.example:x", "https://u:hunter2@a.example"] {
            let refused = refused(origin);
            assert!(matches!(refused, RouteError::Origin(_)), "{origin}: {refused:?}");
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
        assert!(matches!(refused("0.0.0.0:9101=https://a.example"), RouteError::Listener { .. }));
        assert!(matches!(refused("https://a.example resource=orders#1"), RouteError::Value(_)));
        assert!(matches!(refused("https://a.example scope=\"a\""), RouteError::Value(_)));
        assert_eq!(refused("https://a.example resource=urn:a resource=urn:b"), RouteError::Twice("resource"));
        assert_eq!(refused("https://a.example client=a client=b"), RouteError::Twice("client"));
        assert_eq!(refused("https://a.example secret-file=/a secret-file=/b"), RouteError::Twice("secret-file"));
        for half in [
            "client=a",
            "secret-file=/a",
            "client=a secret-file=",
            "key-file=/a",
            "client=a key-file=",
            "client=a key-file=/a secret-file=/a",
        ] {
            assert_eq!(refused(&format!("https://a.example {half}")), RouteError::HalfAClient);
        }
        for client in ["", "Billing", "0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"] {
            assert!(matches!(refused(&format!("https://a.example client={client} secret-file=/a")), RouteError::Value(_)), "{client}");
        }
        assert!(matches!(refused("https://a.example /=https://a.example"), RouteError::SamePlace(_)));
        assert!(matches!(refused("/a=https://a.example /a/=https://a.example"), RouteError::SamePlace(_)));
        assert!(matches!(refused("localhost:9101=https://a.example 127.0.0.1:9101=https://a.example"), RouteError::SamePlace(_)));
        assert!(matches!(refused("unix:a.sock=https://a.example unix:./a.sock=https://a.example"), RouteError::SamePlace(_)));
        assert_eq!(refused(&"/a=https://a.example ".repeat(MAX_ROUTES + 1)), RouteError::TooMany);
    }
}
