//! An issuer for the tests of an API in any language: real keys over real HTTP, good tokens, and hostile ones.
//!
//! ```sh
//! cargo run --example test_issuer -- https://orders.example orders:read
//! ```
//!
//! The first argument is the audience of the API, the second a scope that it requires. One line of JSON contains the URL of the issuer and
//! the tokens; the issuer runs until standard input ends. Its clock stands at the time of its start, and the tokens are valid
//! for ten minutes.
//!
//! ```json
//! {"issuer": "http://127.0.0.1:40117",
//!  "good": [{"name": "of a client", "token": "eyJ..."}],
//!  "hostile": [{"name": "alg \"none\" with a kid, unsigned", "token": "eyJ...", "code": "algorithm_not_allowed", "in_header": "unchanged"}],
//!  "without_scope": [{"name": "no scope at all", "token": "eyJ...", "code": "insufficient_scope", "in_header": "unchanged"}]}
//! ```
//!
//! A good token must get 2xx, a hostile one 401, and one without the scope 403. `in_header` says whether the token arrives in an HTTP header as it
//! is: `unchanged`, `trimmed` (without the spaces at its ends), `impossible` (HTTP libraries refuse to send it) or `too_long` (for most servers).
//!
//! Each line of standard input is an object of claims, and is answered by a line with a token that has them in addition to the usual ones, such as
//! `{"scope": "orders:write"}`, or an `iat` a few seconds ahead.

use std::{env, error::Error, io};

use sealwright::verifier::testing::{Hostile, InHeader, Issuer};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// The name of a form in JSON.
fn in_header(form: InHeader) -> &'static str {
    match form {
        InHeader::Trimmed => "trimmed",
        InHeader::Impossible => "impossible",
        InHeader::TooLong => "too_long",
        _ => "unchanged",
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(audience), Some(scope), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: test_issuer AUDIENCE SCOPE".into());
    };
    let issuer = Issuer::start().await?;
    // Unusable keys are published beside the good one.
    for key in issuer.useless_keys()? {
        issuer.publish(key);
    }
    println!("{}", tokens(&issuer, &audience, &scope)?);
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let claims: Map<String, Value> = serde_json::from_str(&line)?;
        let token = claims.into_iter().fold(issuer.token(&audience), |token, (name, value)| token.claim(&name, value));
        println!("{}", token.sign()?);
    }
    Ok(())
}

fn tokens(issuer: &Issuer, audience: &str, scope: &str) -> io::Result<Value> {
    let token = || issuer.token(audience).scope(scope);
    let good = [
        ("of a client", token().sign()?),
        ("of a user", token().user("0192f0c1-2a3b-7c4d-8e5f-60718293a4b5").sign()?),
        ("for several audiences", token().claim("aud", json!(["https://other.example", audience])).sign()?),
        ("with a further claim", token().claim("tenant", "acme").sign()?),
        ("with one scope of several", token().scope(&format!("a:b {scope}")).sign()?),
    ];
    let good: Vec<_> = good.into_iter().map(|(name, token)| json!({ "name": name, "token": token })).collect();
    let refused = |tokens: Vec<Hostile>| -> Vec<Value> {
        tokens
            .into_iter()
            .map(|it| json!({ "name": it.name, "token": it.token, "code": it.code, "in_header": in_header(it.in_header) }))
            .collect()
    };
    Ok(json!({
        "issuer": issuer.url(),
        "good": good,
        "hostile": refused(issuer.hostile_tokens(audience, scope)?),
        "without_scope": refused(issuer.tokens_without_scope(audience, scope)?),
    }))
}
