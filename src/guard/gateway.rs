//! Gateways that ask the guard about each request: how they describe it, and which answers they pass on.
//!
//! A process serves one kind of gateway, and reads only what that kind writes. What the caller sends under the names of another kind has no
//! influence.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request::Parts};

use crate::server::settings::{Error, Setting, Values, setting};

const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// The status that the guard means, on every refusal to nginx.
const X_GUARD_STATUS: HeaderName = HeaderName::from_static("x-guard-status");

/// A kind of gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gateway {
    /// `auth_request`. It knows 2xx, 401 and 403, and takes everything else for a failure of the guard, which it answers with 500.
    Nginx,
    /// `forward_auth` of Caddy, `forwardAuth` of Traefik.
    ForwardAuth,
    /// `ext_authz` with an HTTP service, which asks with the method and the path of the request, below a prefix.
    Envoy { prefix: String },
    /// A Lua action that asks as nginx does, and passes every status on.
    Haproxy,
}

/// The request that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// Without the query, as it was sent.
    pub(super) path: String,
    pub(super) query: Option<String>,
}

/// Why a check does not say which request it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undescribed {
    /// The gateway does not set a header.
    #[error("the gateway does not send {header}: {advice}")]
    Missing { header: HeaderName, advice: &'static str },
    /// The gateway adds a header to that of the caller instead of replacing it.
    #[error("{header} arrived twice, so one may be the caller's: {advice}")]
    Twice { header: HeaderName, advice: &'static str },
    /// The path of a check does not begin with the prefix.
    #[error("the path of the check does not begin with the gateway_path_prefix {0:?}: set it to the path_prefix of Envoy's http_service")]
    OtherPrefix(String),
    /// The caller chose a method or a path that no request can have.
    #[error("the method or the path is not valid HTTP")]
    Invalid,
}

const NGINX: &str = "in the location that auth_request names, write `proxy_set_header X-Original-Method $request_method;` and \
    `proxy_set_header X-Original-URI $request_uri;`";
const FORWARD_AUTH: &str = "Caddy's forward_auth and Traefik's forwardAuth set X-Forwarded-Method and X-Forwarded-Uri by themselves; \
    another gateway must replace both";
const HAPROXY: &str = "before the action, write `http-request set-header X-Original-Method %[method]` and \
    `http-request set-header X-Original-URI %[pathq]`";

impl Gateway {
    pub(super) const SETTINGS: &'static [Setting] = &[
        setting(
            "gateway",
            None,
            "the gateway that asks this guard about each request and acts on the answer; set either this or upstream",
            "nginx, forward-auth (Caddy, Traefik), envoy or haproxy",
        ),
        setting(
            "gateway_path_prefix",
            None,
            "what Envoy puts before the path of each check (path_prefix of its http_service); by default nothing",
            "a path without a slash at its end, such as /check; only with gateway = envoy",
        ),
    ];

    /// `None` if no gateway is set.
    pub(super) fn read(values: &Values) -> Result<Option<Self>, Error> {
        let prefix = values.parse_if_any("gateway_path_prefix", |text| {
            let valid = text.starts_with('/')
                && !text.ends_with('/')
                && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte));
            if valid { Ok(text.to_owned()) } else { Err(None) }
        })?;
        let gateway = values.parse_if_any("gateway", |text| match text {
            "nginx" => Ok(Self::Nginx),
            "forward-auth" => Ok(Self::ForwardAuth),
            "envoy" => Ok(Self::Envoy { prefix: prefix.clone().unwrap_or_default() }),
            "haproxy" => Ok(Self::Haproxy),
            _ => Err(None),
        })?;
        if prefix.is_some() && !matches!(gateway, Some(Self::Envoy { .. })) {
            return Err(values.refuse("gateway_path_prefix", Some("only Envoy has it".to_owned())));
        }
        Ok(gateway)
    }

    /// Its name in the log.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::ForwardAuth => "forward-auth",
            Self::Envoy { .. } => "envoy",
            Self::Haproxy => "haproxy",
        }
    }

    /// The request that a check is about. Removes the headers that describe it, which are not the caller's.
    pub(super) fn asked(&self, check: &mut Parts) -> Result<Asked, Undescribed> {
        match self {
            Self::Nginx => described(&mut check.headers, X_ORIGINAL_METHOD, X_ORIGINAL_URI, NGINX),
            Self::ForwardAuth => described(&mut check.headers, X_FORWARDED_METHOD, X_FORWARDED_URI, FORWARD_AUTH),
            Self::Haproxy => described(&mut check.headers, X_ORIGINAL_METHOD, X_ORIGINAL_URI, HAPROXY),
            Self::Envoy { prefix } => {
                let path = check.uri.path().strip_prefix(prefix.as_str());
                // Of `OPTIONS *`, which any caller can send.
                if path == Some("*") {
                    return Err(Undescribed::Invalid);
                }
                let path = path.filter(|path| prefix.is_empty() || path.starts_with('/'));
                let path = path.ok_or_else(|| Undescribed::OtherPrefix(prefix.clone()))?.to_owned();
                Ok(Asked { method: check.method.clone(), path, query: check.uri.query().map(str::to_owned) })
            }
        }
    }

    /// Turns the status of a refusal into one that the gateway passes on. No refusal becomes a 2xx.
    pub(super) fn adapt(&self, status: StatusCode, headers: &mut HeaderMap) -> StatusCode {
        if *self != Self::Nginx {
            return status;
        }
        headers.insert(X_GUARD_STATUS, HeaderValue::from(status.as_u16()));
        match status {
            // A failure of the guard is one for nginx, too: it answers 500, unless an error_page says otherwise.
            status if status.is_server_error() || status == StatusCode::UNAUTHORIZED => status,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// The request that two headers describe.
fn described(headers: &mut HeaderMap, method: HeaderName, uri: HeaderName, advice: &'static str) -> Result<Asked, Undescribed> {
    let method = take_only(headers, method, advice)?;
    let uri = take_only(headers, uri, advice)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Undescribed::Invalid)?;
    let uri = uri.to_str().map_err(|_| Undescribed::Invalid)?;
    let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
    Ok(Asked { method, path: path.to_owned(), query: query.map(str::to_owned) })
}

/// Removes a header that must be there once.
fn take_only(headers: &mut HeaderMap, header: HeaderName, advice: &'static str) -> Result<HeaderValue, Undescribed> {
    let count = headers.get_all(&header).iter().count();
    match (headers.remove(&header), count) {
        (Some(value), 1) => Ok(value),
        (None, _) => Err(Undescribed::Missing { header, advice }),
        (Some(_), _) => Err(Undescribed::Twice { header, advice }),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn asked(gateway: &Gateway, uri: &str, headers: &[(&str, &str)]) -> Result<(String, String, Option<String>), Undescribed> {
        let request = headers.iter().fold(Request::post(uri), |request, (name, value)| request.header(*name, *value));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let asked = gateway.asked(&mut parts)?;
        assert!(headers.len() != 2 || parts.headers.is_empty(), "the headers that describe the request are removed");
        Ok((asked.method.to_string(), asked.path, asked.query))
    }

    fn envoy(prefix: &str) -> Gateway {
        Gateway::Envoy { prefix: prefix.to_owned() }
    }

    #[test]
    fn gd1_each_gateway_describes_a_request_in_its_own_way() {
        let original = [("x-original-method", "PUT"), ("x-original-uri", "/orders/1?a=b?c")];
        let forwarded = [("x-forwarded-method", "PUT"), ("x-forwarded-uri", "/orders/1?a=b?c")];
        let expected = Ok(("PUT".to_owned(), "/orders/1".to_owned(), Some("a=b?c".to_owned())));
        assert_eq!(asked(&Gateway::Nginx, "/check", &original), expected);
        assert_eq!(asked(&Gateway::Haproxy, "/check", &original), expected);
        assert_eq!(asked(&Gateway::ForwardAuth, "/check", &forwarded), expected);
        let expected = Ok(("POST".to_owned(), "/orders/1".to_owned(), Some("a=b".to_owned())));
        assert_eq!(asked(&envoy(""), "/orders/1?a=b", &[]), expected);
        assert_eq!(asked(&envoy("/check"), "/check/orders/1?a=b", &[]), expected);
    }

    #[test]
    fn gd1_headers_of_another_gateway_have_no_influence() {
        let forged = [
            ("x-original-method", "GET"),
            ("x-original-uri", "/public"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-uri", "/public"),
            ("x-envoy-original-path", "/public"),
        ];
        assert_eq!(asked(&envoy(""), "/orders", &forged), Ok(("POST".to_owned(), "/orders".to_owned(), None)));
        for gateway in [Gateway::Nginx, Gateway::Haproxy] {
            assert!(matches!(asked(&gateway, "/orders", &forged[2..]), Err(Undescribed::Missing { .. })));
        }
        assert!(matches!(asked(&Gateway::ForwardAuth, "/orders", &forged[..2]), Err(Undescribed::Missing { .. })));
    }

    #[test]
    fn gd1_a_description_that_is_missing_doubled_or_not_http_is_refused_and_says_what_to_configure() {
        let (method, uri) = (("x-original-method", "GET"), ("x-original-uri", "/public"));
        for (headers, word) in [
            (&[][..], "x-original-method"),
            (&[method], "x-original-uri"),
            (&[uri], "x-original-method"),
            (&[method, uri, ("x-original-uri", "/orders")], "arrived twice"),
            (&[method, method, uri], "arrived twice"),
            (&[("x-original-method", "GET POST"), uri], "not valid HTTP"),
            (&[("x-original-method", ""), uri], "not valid HTTP"),
            (&[method, ("x-original-uri", "/caf\u{e9}")], "not valid HTTP"),
        ] {
            let why = asked(&Gateway::Nginx, "/check", headers).unwrap_err().to_string();
            assert!(why.contains(word), "{why}");
            assert!(word.starts_with("not") || why.contains("proxy_set_header"), "{why}");
        }
        for path in ["/orders", "/checkorders", "/check", "/"] {
            let why = asked(&envoy("/check"), path, &[]).unwrap_err().to_string();
            assert!(why.contains("path_prefix"), "{path}: {why}");
        }
        for (gateway, path) in [(envoy("/check"), "/check*"), (envoy(""), "*")] {
            assert_eq!(asked(&gateway, path, &[]), Err(Undescribed::Invalid));
        }
    }

    #[test]
    fn gd1_no_refusal_to_nginx_opens_and_each_says_what_it_means() {
        for (status, passed_on) in [(400, 403), (401, 401), (403, 403), (408, 403), (500, 500), (502, 502), (503, 503)] {
            let mut headers = HeaderMap::new();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Gateway::Nginx.adapt(status, &mut headers).as_u16(), passed_on);
            assert_eq!(headers["x-guard-status"], status.as_str());
            assert_eq!(Gateway::ForwardAuth.adapt(status, &mut HeaderMap::new()), status);
        }
    }
}
