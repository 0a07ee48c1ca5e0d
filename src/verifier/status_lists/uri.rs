//! Which status lists may be fetched.

use url::Url;

use crate::protocol::Issuer;

/// Maximum length in bytes.
const MAX_LEN: usize = 512;

/// Parses the URI of a status list. Returns it only if it lies below the issuer: a token must not make the verifier send requests anywhere else.
///
/// The issuer is in normal form, so the comparison is one of texts. Percent-encoding is not allowed, because two readers could decode it to
/// different paths.
pub(super) fn under_issuer(uri: &str, issuer: &Issuer) -> Option<Url> {
    if uri.len() > MAX_LEN {
        return None;
    }
    let path = uri.strip_prefix(issuer.as_str().trim_end_matches('/'))?.strip_prefix('/')?;
    let plain = |segment: &str| {
        let valid = segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b));
        valid && !["", ".", ".."].contains(&segment)
    };
    let url = Url::parse(uri).ok().filter(|_| path.split('/').all(plain))?;
    (url.as_str() == uri).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sl3_a_status_list_must_lie_below_the_issuer() {
        for issuer in ["https://auth.example", "https://auth.example/", "https://auth.example/tenant", "http://127.0.0.1:8080"] {
            let issuer: Issuer = issuer.parse().unwrap();
            let base = issuer.as_str().trim_end_matches('/');
            for path in ["/oauth/status-lists/x", "/1", "/a-b.c_d~e", "/a/b/c"] {
                assert!(under_issuer(&format!("{base}{path}"), &issuer).is_some(), "{base}{path}");
            }
            let long = format!("/{}", "x".repeat(MAX_LEN));
            for path in [
                "",
                "/",
                "/a/",
                "//a",
                "/a//b",
                "/./a",
                "/a/..",
                "/../a",
                "/%2e%2e/a",
                "/a%2fb",
                "/a?b",
                "/a#b",
                "/a\\b",
                "/a b",
                "/\u{e4}",
                "@evil.example/a",
                ":1/a",
                ".evil.example/a",
                "x/a",
                &long,
            ] {
                assert!(under_issuer(&format!("{base}{path}"), &issuer).is_none(), "{base}{path}");
            }
            for uri in [
                "https://evil.example/oauth/status-lists/x",
                "https://a:b@auth.example/x",
                "https://AUTH.example/x",
                "https://auth.example:443/tenant/x",
                "http://auth.example/tenant/x",
                "file:///etc/passwd",
                "https://auth.example/tenant2/x/../../other/x",
                "",
            ] {
                assert!(under_issuer(uri, &issuer).is_none(), "{uri}");
            }
        }
    }
}
