//! Sends a good token in other places than it belongs, and requests without a token that an API may trust for another reason.

use http::{
    HeaderName, HeaderValue, Method,
    header::{CONTENT_TYPE, COOKIE},
};

use super::{
    api::{Answer, Attempt},
    kind::{Kind, Severity},
    run::{Probe, forged},
    unprobed::Unprobed,
};
use crate::entropy;

/// Headers that say who calls or where from, which an API believes that expects a proxy to set them. Each line is sent at once; `{scope}` is the scope
/// that the request needs.
const TRUSTED: [&[(&str, &str)]; 7] = [
    &[
        ("x-token-subject", "admin"),
        ("x-token-client", "admin"),
        ("x-token-scope", "{scope}"),
        ("x-token-issuer", "{issuer}"),
        ("x-token-claims", "e30"),
    ],
    &[("x-forwarded-user", "admin"), ("x-auth-request-user", "admin"), ("x-auth-request-email", "admin@example.com")],
    &[("x-remote-user", "admin"), ("remote-user", "admin"), ("x-user", "admin"), ("x-user-id", "1"), ("x-userinfo", "e30")],
    &[("x-authenticated", "true"), ("x-authenticated-userid", "admin"), ("x-consumer-username", "admin")],
    &[("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1"), ("x-client-ip", "127.0.0.1"), ("forwarded", "for=127.0.0.1")],
    &[("x-internal", "true"), ("x-internal-request", "true"), ("x-internal-call", "true"), ("x-service-call", "true")],
    &[("x-debug", "true"), ("x-test", "true"), ("x-skip-auth", "true"), ("x-no-auth", "true")],
];

/// The headers by which a browser asks whether another origin may send a token.
const PREFLIGHT: [(&str, &str); 3] =
    [("origin", "https://probe.example"), ("access-control-request-method", "GET"), ("access-control-request-headers", "authorization")];

/// Headers and cookies in which an API may look for a token besides `Authorization`.
const OTHER_HEADERS: [&str; 4] = ["x-access-token", "x-auth-token", "x-forwarded-access-token", "token"];
const COOKIES: &str = "access_token={token}; token={token}; jwt={token}; auth={token}";

impl Probe {
    /// A good token in the query, in a form, in another header, in a cookie.
    pub(super) async fn token_elsewhere(&mut self) -> Result<(), Unprobed> {
        let token = self.good().sign()?;
        for (severity, name, attempt) in self.elsewhere(&token) {
            let answer = self.api.send(&attempt).await;
            if self.succeeds(&answer) {
                self.findings.add(severity, Kind::TokenPlace, name, &answer);
            }
        }
        Ok(())
    }

    /// Whether a request succeeded that may also be refused because it is unusual, with any error.
    fn succeeds(&mut self, answer: &Answer) -> bool {
        !self.findings.is_unseen(answer) && answer.is_success()
    }

    fn elsewhere(&self, token: &str) -> Vec<(Severity, String, Attempt)> {
        let mut attempts = Vec::new();
        for name in ["access_token", "token"] {
            let mut attempt = self.api.plain();
            attempt.url.query_pairs_mut().append_pair(name, token);
            attempts.push((Severity::Weakness, format!("a good token in the query as {name}"), attempt));
        }
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut attempt = self.api.plain();
        attempt.headers.insert(CONTENT_TYPE, form);
        // A token has no character that a form encodes.
        attempt.body = Some(format!("access_token={token}"));
        attempts.push((Severity::Note, "a good token in a form as access_token".to_owned(), attempt));
        // A token is ASCII.
        let value = |text: &str| HeaderValue::from_str(text).ok();
        for name in OTHER_HEADERS {
            if let Some(value) = value(token) {
                let attempt = self.api.plain().header(HeaderName::from_static(name), value);
                attempts.push((Severity::Note, format!("a good token in the header {name}"), attempt));
            }
        }
        if let Some(cookies) = value(&COOKIES.replace("{token}", token)) {
            attempts.push((Severity::Note, "a good token in a cookie".to_owned(), self.api.plain().header(COOKIE, cookies)));
        }
        attempts
    }

    /// A good token in an `Authorization` header that is not right, and in one that is.
    pub(super) async fn authorization_headers(&mut self) -> Result<(), Unprobed> {
        let token = self.good().sign()?;
        let forged = forged(&token);
        for (name, values) in [
            ("no scheme", vec![token.clone()]),
            ("the scheme Basic", vec![format!("Basic {token}")]),
            ("the scheme Token", vec![format!("Token {token}")]),
            ("Bearer twice", vec![format!("Bearer Bearer {token}")]),
            ("a word after the token", vec![format!("Bearer {token} x")]),
            ("a comma and a forged token after the token", vec![format!("Bearer {token}, Bearer {forged}")]),
            ("a second Authorization header with a forged token", vec![format!("Bearer {token}"), format!("Bearer {forged}")]),
            ("a first Authorization header with a forged token", vec![format!("Bearer {forged}"), format!("Bearer {token}")]),
        ] {
            let attempt = values.iter().try_fold(self.api.plain(), |attempt, value| attempt.authorization(value));
            let Some(attempt) = attempt else { continue };
            let answer = self.api.send(&attempt).await;
            if self.findings.refused(name, &answer) {
                self.findings.add(Severity::Note, Kind::AuthorizationHeader, format!("accepted: {name}"), &answer);
            }
        }
        for scheme in ["bearer", "BEARER"] {
            let Some(attempt) = self.api.plain().authorization(&format!("{scheme} {token}")) else { continue };
            let answer = self.api.send(&attempt).await;
            self.findings.accepted(Severity::Note, Kind::AuthorizationHeader, format!("refused: the scheme written as {scheme}"), &answer);
        }
        Ok(())
    }

    /// Requests without a token: with headers that claim something, with other methods, with other spellings of the path.
    pub(super) async fn requests_without_token(&mut self) {
        for group in TRUSTED {
            let attempt = group.iter().fold(self.api.plain(), |attempt, (name, value)| {
                let value = value.replace("{scope}", self.scope()).replace("{issuer}", self.options.issuer.as_str());
                match HeaderValue::from_str(&value) {
                    Ok(value) => attempt.header(HeaderName::from_static(name), value),
                    Err(_) => attempt,
                }
            });
            let answer = self.api.send(&attempt).await;
            let names: Vec<&str> = group.iter().map(|(name, _)| *name).collect();
            self.open(Severity::Hole, Kind::TrustedHeader, format!("no token, with {}", names.join(", ")), &answer);
        }
        self.other_methods().await;
        self.other_paths().await;
    }

    /// Adds a request without a token that must be refused and was not.
    fn open(&mut self, severity: Severity, kind: Kind, name: String, answer: &Answer) {
        if self.findings.refused(&name, answer) {
            self.findings.add(severity, kind, name, answer);
        }
    }

    async fn other_methods(&mut self) {
        if self.options.method == Method::GET {
            let answer = self.api.send(&Attempt { method: Method::HEAD, ..self.api.plain() }).await;
            self.open(Severity::Hole, Kind::Method, "no token, with HEAD".to_owned(), &answer);
        }
        // OPTIONS is answered without a token where CORS is allowed. What the good token got is not.
        let mut overriding = self.api.plain().headers;
        if let Ok(method) = HeaderValue::from_str(self.options.method.as_str()) {
            for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
                overriding.insert(HeaderName::from_static(name), method.clone());
            }
        }
        // Some libraries let a request pass that looks like the one by which a browser asks whether it may send a token.
        let mut preflight = overriding.clone();
        for (name, value) in PREFLIGHT {
            preflight.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        for (headers, how) in [(overriding, "OPTIONS"), (preflight, "OPTIONS of a browser (preflight)")] {
            let attempt = Attempt { method: Method::OPTIONS, headers, body: None, ..self.api.plain() };
            let answer = self.api.send(&attempt).await;
            if self.succeeds(&answer) && self.is_as_good(&answer) {
                let name = format!("no token, with {how} and X-HTTP-Method-Override: {}", self.options.method);
                self.findings.add(Severity::Hole, Kind::Method, name, &answer);
            }
        }
    }

    async fn other_paths(&mut self) {
        // A page that answers every path, such as that of a single-page application, is not the handler.
        let anywhere = self.at_path(&format!("/{}", entropy::unique_id()));
        let is_fallback = self.api.send(&anywhere).await.is_success();
        let path = self.options.url.path().to_owned();
        for spelled in spellings(&path) {
            let attempt = self.at_path(&spelled);
            // A URL is in normal form, where two spellings can be one.
            if attempt.url == self.options.url {
                continue;
            }
            let answer = self.api.send(&attempt).await;
            if self.succeeds(&answer) && (!is_fallback || self.is_as_good(&answer)) {
                self.findings.add(Severity::Hole, Kind::Path, format!("no token, to {}", attempt.url.path()), &answer);
            }
        }
    }

    fn at_path(&self, path: &str) -> Attempt {
        let mut attempt = self.api.plain();
        attempt.url.set_path(path);
        attempt
    }

    /// Whether the answer has the content that the good token got.
    fn is_as_good(&self, answer: &Answer) -> bool {
        !self.good_body.is_empty() && answer.given().is_some_and(|given| given.body == self.good_body)
    }

    /// Forged copies of a token that the API has just accepted.
    pub(super) async fn remembered_tokens(&mut self) -> Result<(), Unprobed> {
        let (known, other) = (self.good(), self.good().sign()?);
        let token = known.sign()?;
        let forged_claims = known.claim("sub", "admin").unsigned();
        let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
        let (_, other_signature) = other.rsplit_once('.').unwrap_or_default();
        let forged = [
            ("a copy of a token that was accepted before, with another signature", format!("{signed}.{other_signature}")),
            ("the jti and the signature of a token that was accepted before, with other claims", format!("{forged_claims}.{signature}")),
        ];
        let mut forged_answers = Vec::new();
        let Some(attempt) = self.api.with_token(&token) else { return Ok(()) };
        self.api.send(&attempt).await;
        for (name, token) in forged {
            let Some(attempt) = self.api.with_token(&token) else { continue };
            forged_answers.push((name, self.api.send(&attempt).await));
        }
        for (name, answer) in forged_answers {
            // Where no signature is checked, this says nothing new.
            if self.findings.refused(name, &answer) && !self.findings.has(Severity::Hole, Kind::Key) {
                self.findings.add(Severity::Hole, Kind::CachedToken, name, &answer);
            }
        }
        Ok(())
    }
}

/// Other spellings of a path, which a router may take for the same.
fn spellings(path: &str) -> Vec<String> {
    let (before, last) = path.rsplit_once('/').unwrap_or(("", path));
    let encoded = last.chars().next().filter(char::is_ascii_alphanumeric);
    let mut spellings = vec![
        path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned),
        path.to_uppercase(),
        format!("/{path}"),
        format!("{path};x=y"),
        format!("{path}.json"),
        format!("/.;{path}"),
    ];
    spellings.extend(encoded.map(|first| format!("{before}/%{:02x}{}", u32::from(first), &last[1..])));
    // A path without letters has no other case.
    spellings.retain(|spelled| spelled != path);
    spellings
}

#[cfg(test)]
mod tests {
    use super::spellings;

    #[test]
    fn a_path_is_spelled_in_ways_that_stay_different_in_a_url() {
        let spelled = spellings("/api/orders");
        assert_eq!(spelled[0], "/api/orders/");
        assert_eq!(spelled.last().map(String::as_str), Some("/api/%6frders"));
        for path in ["/", "/orders/", "/1", "/\u{e4}"] {
            assert!(spellings(path).iter().all(|other| other != path), "{path}");
        }
    }
}
