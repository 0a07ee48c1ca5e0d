//! Identifiers in tokens and requests: issuer, audience, client, grant type and authentication method.

use std::{net::IpAddr, str::FromStr};

use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use url::{Host, Url};

use super::{Malformed, parsed_text, secret_forms::contains_secret};

const MAX_URI_LEN: usize = 255;

/// Whether `text` is printable ASCII without characters that must be escaped in a URI (RFC 3986 appendix A), in JSON or in a header.
///
/// `url::Url` would silently drop line breaks and escape the rest. Identifiers are compared byte by byte, so such a text is refused.
fn is_plain_uri_text(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
}

/// The issuer identifier (RFC 8414 section 2): an `https` URL without query and fragment, kept and compared byte by byte.
///
/// Plain `http` is valid only for a loopback host. At most 255 characters.
///
/// ```
/// use sealwright::protocol::Issuer;
///
/// let issuer: Issuer = "https://example.com/auth".parse().unwrap();
/// assert_eq!(issuer.path(), "/auth");
/// assert_eq!(issuer.endpoint("/oauth/token"), "https://example.com/auth/oauth/token");
/// assert!("http://example.com".parse::<Issuer>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Issuer(String);

parsed_text!(Issuer);

impl Issuer {
    /// The path under which all routes are served, without a trailing slash: `""` or `"/auth"`.
    #[must_use]
    pub fn path(&self) -> &str {
        let authority = self.0.find("://").map_or(0, |at| at + 3);
        let path = self.0[authority..].find('/').map_or("", |at| &self.0[authority + at..]);
        path.trim_end_matches('/')
    }

    /// The host, without a port.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        Url::parse(&self.0).ok()?.host_str().map(str::to_owned)
    }

    /// The URL of the endpoint at `route` (which begins with a slash), under the issuer's own path.
    #[must_use]
    pub fn endpoint(&self, route: &str) -> String {
        format!("{}{route}", self.0.trim_end_matches('/'))
    }
}

impl FromStr for Issuer {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "issuer", rule };
        if text.len() > MAX_URI_LEN || !is_plain_uri_text(text) {
            return Err(refuse("it must be a URL of at most 255 printable ASCII characters"));
        }
        let url = Url::parse(text).map_err(|_| refuse("it must be a URL such as https://auth.example"))?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => url.host().is_some_and(|host| is_loopback(&host)),
            _ => false,
        };
        if !secure {
            return Err(refuse("it must begin with https:// (http:// is allowed only for localhost and loopback addresses)"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it must not have a query or a fragment (RFC 8414 section 2)"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it must not contain a user name or a password"));
        }
        // A text that the URL parser normalises (case of the host, `..`, a missing `//`) would not compare equal elsewhere.
        if url.as_str().trim_end_matches('/') != text.trim_end_matches('/') || url.path().contains("//") {
            return Err(refuse("it must be in normal form: lower-case host, no default port, no empty or dotted path segments"));
        }
        let reserved = |segment: &str| segment.starts_with([':', '*']);
        if url.path().split('/').any(reserved) || url.path().starts_with("/.well-known") {
            return Err(refuse("no path segment may begin with a colon or an asterisk, and the path may not be a well-known path"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether `host` is this machine.
pub(crate) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => IpAddr::from(*ip).is_loopback(),
        Host::Ipv6(ip) => IpAddr::from(*ip).is_loopback(),
    }
}

/// The name of a resource (a protected API) in the `aud` of its tokens and the `resource` parameter, kept and compared byte by byte. At most 255
/// characters.
///
/// It is an absolute URI without a fragment (RFC 8707 section 2), or another text without a colon (RFC 7519 section 2): some clouds prescribe an
/// audience that is not a URI, and Vault and Kubernetes are often configured with one. A name never looks like a secret or a
/// token: audiences are logged.
///
/// ```
/// use sealwright::protocol::Audience;
///
/// let audience: Audience = "https://orders.example".parse().unwrap();
/// assert!(audience.is_uri());
/// let audience: Audience = "sts.amazonaws.com".parse().unwrap();
/// assert!(!audience.is_uri());
/// assert!("the orders".parse::<Audience>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(String);

parsed_text!(Audience);

impl FromStr for Audience {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "resource", rule };
        if text.is_empty() || text.len() > MAX_URI_LEN || !is_plain_uri_text(text) {
            return Err(refuse("it must be 1 to 255 printable ASCII characters without spaces and without any of \"<>\\^`{|}"));
        }
        if text.contains('#') {
            return Err(refuse("it must not contain # (RFC 8707 section 2)"));
        }
        if text.contains(':') {
            Url::parse(text)
                .map_err(|_| refuse("with a colon, it must be an absolute URI such as https://orders.example (RFC 7519 section 2)"))?;
        } else if contains_secret(text) {
            return Err(refuse("it must not look like a secret or a token, because audiences are logged"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Audience {
    /// Whether it is an absolute URI, as RFC 8707 wants.
    #[must_use]
    pub fn is_uri(&self) -> bool {
        self.0.contains(':')
    }
}

/// The name of a client, as the operator chose it.
///
/// ```text
/// client-id = ( %x61-7A / DIGIT ) *63( %x61-7A / DIGIT / "." / "_" / "-" )
/// ```
///
/// Never a UUID: the `sub` of a user is one, so no client can take the name of a user (RFC 9700 section 4.15). Never a text that looks
/// like a secret or a token: client ids are logged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(String);

parsed_text!(ClientId);

impl FromStr for ClientId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "client id", rule };
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if !first || !rest || text.len() > 64 {
            return Err(refuse("it must be 1 to 64 characters of a-z, 0-9, dot, underscore and hyphen, and begin with a letter or digit"));
        }
        if is_uuid_shaped(text) {
            return Err(refuse("it must not have the form of a UUID, because users are named by UUIDs"));
        }
        if contains_secret(text) {
            return Err(refuse("it must not look like a secret or a token, because client ids are logged"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Hexadecimal digits in groups of 8-4-4-4-12, or all 32 without hyphens.
fn is_uuid_shaped(text: &str) -> bool {
    let hyphen_at = [8, 13, 18, 23];
    let hex = |b: u8| b.is_ascii_hexdigit();
    match text.len() {
        32 => text.bytes().all(hex),
        36 => text.bytes().enumerate().all(|(at, b)| if hyphen_at.contains(&at) { b == b'-' } else { hex(b) }),
        _ => false,
    }
}

/// A grant type (RFC 6749 section 4, registered by RFC 7591 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Display, EnumString, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Malformed, parse_err_fn = not_a_grant_type)]
pub enum GrantType {
    /// RFC 6749 section 4.4: a trusted app acts for itself.
    ClientCredentials,
    /// RFC 6749 section 4.3: an app presents a user's password.
    Password,
    /// RFC 6749 section 6: an app continues a login.
    RefreshToken,
}

impl GrantType {
    /// All values.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The registered name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn not_a_grant_type(_: &str) -> Malformed {
    Malformed { what: "grant type", rule: "it must be client_credentials, password or refresh_token" }
}

/// How a client authenticates (registered by RFC 7591 section 2, and OpenID Connect Core 1.0 section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Display, EnumString, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Malformed, parse_err_fn = not_an_auth_method)]
pub enum AuthMethod {
    /// By a secret in the `Authorization` header (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// By a secret in the body of the request (RFC 6749 section 2.3.1).
    ClientSecretPost,
    /// By a JWT that it signs with a key of its own (RFC 7523 section 2.2).
    PrivateKeyJwt,
}

impl AuthMethod {
    /// All values.
    pub const ALL: &'static [Self] = Self::VARIANTS;
    /// The `client_assertion_type` of [`PrivateKeyJwt`](Self::PrivateKeyJwt) (RFC 7523 section 2.2).
    pub const ASSERTION_TYPE: &'static str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    /// Those by which a client sends a secret.
    pub const BY_SECRET: &'static [Self] = &[Self::ClientSecretBasic, Self::ClientSecretPost];

    /// The registered name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn not_an_auth_method(_: &str) -> Malformed {
    Malformed { what: "authentication method", rule: "it must be client_secret_basic, client_secret_post or private_key_jwt" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_short_plain_text_and_never_a_uuid() {
        for valid in ["a", "0", "billing", "orders-api", "a.b_c-d", &"x".repeat(64)] {
            assert!(valid.parse::<ClientId>().is_ok(), "{valid:?}");
        }
        let uuids = ["0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "0197a1b2c3d47e5f8a9b0c1d2e3f4a5b"];
        for invalid in ["", "-a", ".a", "Billing", "a b", "a:b", "ü", "a\n", &"x".repeat(65), uuids[0], uuids[1]] {
            assert!(invalid.parse::<ClientId>().is_err(), "{invalid:?}");
        }
        let secrets =
            ["sw_09a27efed3ca36ae", "sw_09a27efed3ca36aez4scn9tjqsubfyz4ffxzahelin3z9j-gvxnxybrayws", "swr_di5g35zktxqqixjo7rrsta"];
        for secret in secrets {
            assert!(secret.parse::<ClientId>().is_err(), "{secret:?}");
        }
        assert!("sw_importer".parse::<ClientId>().is_ok());
    }

    #[test]
    fn an_issuer_is_https_or_loopback_and_keeps_its_text() {
        for valid in [
            "https://auth.example",
            "https://auth.example/",
            "https://auth.example:8443/a/b",
            "http://localhost:8080",
            "http://127.0.0.1:1",
            "http://[::1]:8080",
        ] {
            assert_eq!(valid.parse::<Issuer>().map(|issuer| issuer.to_string()), Ok(valid.to_owned()));
        }
        for invalid in [
            "",
            "auth.example",
            "http://auth.example",
            "ftp://auth.example",
            "https://auth.example?x",
            "https://auth.example#x",
            "https://u:p@auth.example",
            "https://AUTH.example",
            "https://auth.example:443",
            "https://auth.example/a/../b",
            "https://auth.example//a",
            "https://auth.example/{a}",
            "https://a b",
            "https://auth.example/:a",
            "https://auth.example/a/*b",
            "https://auth.example/.well-known/oauth-authorization-server",
        ] {
            assert!(invalid.parse::<Issuer>().is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn an_issuer_has_the_path_under_which_its_routes_are_served() {
        for (text, path) in
            [("https://a.example", ""), ("https://a.example/", ""), ("https://a.example/x", "/x"), ("https://a.example/x/y/", "/x/y")]
        {
            let issuer: Issuer = text.parse().unwrap();
            assert_eq!(issuer.path(), path);
            assert_eq!(issuer.endpoint("/e"), format!("https://a.example{path}/e"));
        }
    }

    #[test]
    fn wi3_an_audience_is_an_absolute_uri_without_fragment_or_another_name_without_a_colon() {
        for uri in ["https://orders.example", "https://orders.example/", "urn:example:orders", "https://orders.example/v1?x=y", "api://x"] {
            assert!(uri.parse::<Audience>().unwrap().is_uri(), "{uri:?}");
        }
        let google = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/sealwright";
        for name in ["sts.amazonaws.com", "vault", google, &"x".repeat(255)] {
            assert!(!name.parse::<Audience>().unwrap().is_uri(), "{name:?}");
        }
        let texts =
            ["", "https://orders.example#x", "orders#x", "https://a b", "a b", "https://a\n.example", "https://\"", "https://é.example"];
        let secret = "sw_09a27efed3ca36aeZ4Scn9TjQsubFyZ4fFxZahelin3z9J-GvXnxYbRaywS";
        for invalid in texts.into_iter().chain([secret, "1:x", ":", "https:///", "https://", &"x".repeat(256)]) {
            assert!(invalid.parse::<Audience>().is_err(), "{invalid:?}");
        }
    }
}
