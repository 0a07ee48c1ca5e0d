//! Host names that a listener accepts. By DNS rebinding, a foreign site can make a browser on this machine send requests here under the
//! site's own name and read the answers; then the request names a foreign host.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

/// The names that are accepted.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    /// The address that the listener is bound to.
    bound: IpAddr,
    /// DNS names besides `localhost`.
    names: Vec<String>,
    /// What to do after a refusal.
    advice: &'static str,
}

impl Hosts {
    pub(crate) fn new(bound: IpAddr, names: Vec<String>, advice: &'static str) -> Self {
        Self { bound: bound.to_canonical(), names, advice }
    }

    /// Parses DNS names without ports, separated by commas.
    pub(crate) fn parse(text: &str) -> Option<Vec<String>> {
        let plain = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        text.split(',').map(str::trim).map(|name| plain(name).then(|| name.to_owned())).collect()
    }

    /// Refuses requests to `router` that name another host.
    pub(crate) fn guard(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::new(self), check))
    }

    /// Whether `host`, without a port, is accepted. An IP address is not the name of a foreign site, unless the site is reached at that
    /// address.
    ///
    /// Loopback is 127.0.0.0/8 and ::1, as browsers count it (Secure Contexts, section 3.1). Under `[::ffff:127.0.0.1]`, this machine is
    /// reached too, but browsers do not trust that address: they send no `Sec-Fetch-Site` there, by which `attach` recognizes pages.
    fn accept_name(&self, host: &str) -> bool {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return address.is_loopback() || address == self.bound || !self.bound.is_loopback();
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost") || self.names.iter().any(|name| name.eq_ignore_ascii_case(&host))
    }

    /// Whether a request with this target and these headers names an accepted host.
    pub(crate) fn accept(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let in_header = |value: &HeaderValue| {
            let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
            authority.is_some_and(|authority| self.accept_name(authority.host()))
        };
        // HTTP/2 has it in `:authority`. A browser always sends one.
        uri.host().is_none_or(|host| self.accept_name(host)) && headers.get_all(header::HOST).iter().all(in_header)
    }
}

async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    if hosts.accept(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let sentence = format!("This server does not accept the host name of this request. {}\n", hosts.advice);
    (StatusCode::MISDIRECTED_REQUEST, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], sentence).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(bound: &str, names: &[&str], host: &str) -> bool {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Hosts::new(bound.parse().unwrap(), names, "").accept_name(host)
    }

    #[test]
    fn hd14_loopback_the_bound_address_and_given_names_are_accepted() {
        for host in ["localhost", "LOCALHOST.", "app.localhost", "127.0.0.1", "127.8.8.8", "[::1]"] {
            assert!(accepted("127.0.0.1", &[], host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "evillocalhost", "192.0.2.1", "", "0x7f000001", "127.1"] {
            assert!(!accepted("127.0.0.1", &[], host), "{host}");
        }
        for host in ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f08:0808]", "[::127.0.0.1]", "0.0.0.0", "[::]"] {
            for bound in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                assert!(!accepted(bound, &[], host), "{host} at {bound}: browsers do not count it as loopback");
            }
        }
        assert!(accepted("0.0.0.0", &["metrics.internal"], "Metrics.Internal"));
        assert!(accepted("0.0.0.0", &[], "10.1.2.3"), "a scraper that was given an address");
        assert!(!accepted("0.0.0.0", &["metrics.internal"], "evil.example"));
    }

    #[test]
    fn names_are_dns_names_without_ports() {
        assert_eq!(Hosts::parse("a.example, b_c").unwrap(), ["a.example", "b_c"]);
        for text in ["", "a,", "a:80", "*", "http://a"] {
            assert!(Hosts::parse(text).is_none(), "{text:?}");
        }
    }
}
