//! Decides about requests: what the rules need, and whether the token has it.

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::{
    gateway::Asked,
    refusal::Refusal,
    rules::{Decision, Rules},
};
use crate::verifier::{Claims, Error, Verifier, bearer};

/// The rules and the verifier.
#[derive(Debug)]
pub(super) struct Gate {
    rules: Rules,
    verifier: Verifier,
}

impl Gate {
    pub(super) const fn new(rules: Rules, verifier: Verifier) -> Self {
        Self { rules, verifier }
    }

    pub(super) const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Admits a request, and returns the claims of its token. `None` if it has none and needs none: a token that is sent must be valid,
    /// whether or not it is needed.
    pub(super) async fn admit(&self, asked: &Asked, headers: &HeaderMap) -> Result<Option<Claims>, Refusal> {
        let decision = self.rules.decide(&asked.method, &asked.path, asked.query.as_deref(), headers)?;
        let claims = match (token(asked.query.as_deref(), headers), &decision) {
            (Err(Error::NoToken), Decision::Public) => return Ok(None),
            // The answer does not depend on whether there is a rule: strangers would learn which paths there are.
            (Err(error), decision) => return Err(Refusal::Token { error, no_rule: matches!(decision, Decision::NoRule) }),
            (Ok(token), _) => self.verifier.verify(token).await?,
        };
        match decision {
            Decision::Public => {}
            Decision::NoRule => return Err(Refusal::NoRule(Box::new(claims))),
            Decision::Needs(needed) => {
                if let Err(error) = needed.check(&claims) {
                    return Err(Refusal::Insufficient(error, Box::new(claims)));
                }
            }
        }
        Ok(Some(claims))
    }
}

/// The token of a request: from its header and nowhere else.
fn token<'a>(query: Option<&str>, headers: &'a HeaderMap) -> Result<&'a str, Error> {
    let token = bearer(headers)?;
    // RFC 6750 section 2: a caller must not use more than one method, and the API may read the other one.
    if query.is_some_and(has_token) { Err(Error::BadRequest("the request has a token in its header and in its URL")) } else { Ok(token) }
}

/// Whether a query has the parameter of RFC 6750 section 2.3, however it is encoded.
fn has_token(query: &str) -> bool {
    let mut names = query.split(['&', ';']).map(|parameter| parameter.split('=').next().unwrap_or_default());
    names.any(|name| percent_decode_str(name).eq("access_token".bytes()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn vf15_a_second_token_in_the_query_is_refused_and_one_that_is_there_alone_is_none() {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer abc"))]);
        for query in ["access_token=x", "a=b&access_token=x", "access%5Ftoken=x", "access_token", "a;access_token=x"] {
            assert!(matches!(token(Some(query), &headers), Err(Error::BadRequest(_))), "{query}");
            assert_eq!(token(Some(query), &HeaderMap::new()), Err(Error::NoToken), "{query}");
        }
        for query in [None, Some(""), Some("access_tokens=x"), Some("a=access_token")] {
            assert_eq!(token(query, &headers), Ok("abc"), "{query:?}");
        }
    }
}
