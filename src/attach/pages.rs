//! Requests that a web page caused. A page of any site can make a browser on this machine send requests to a loopback address, and every
//! request that arrives there is sent on with a token: the page would act as the client.
//!
//! A page that has its own name resolve to this machine (DNS rebinding) is refused by the `Host` of its requests, like everywhere in this
//! program. This file refuses the others.

use http::{HeaderMap, HeaderName, header};

/// What a browser says about the page that caused a request (Fetch Metadata Request Headers, section 2). Programs do not send it. Node's
/// `fetch` sends `Sec-Fetch-Mode`, which is not looked at.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a web page caused this request. A browser adds `Origin` to every request of a script that is not a plain GET of its own site, to
/// every form that is posted and to every WebSocket (RFC 6455 section 4.1), and `Sec-Fetch-Site` to everything else. Its value `none` means
/// that a person typed the address, or followed a link in another program, where anyone may have put it.
pub(super) fn caused_by_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(SITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd4_a_request_of_a_web_page_is_recognized_by_what_browsers_add() {
        let caused = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            caused_by_a_page(&headers)
        };
        for origin in ["https://evil.example", "null", "http://127.0.0.1:9100", "http://localhost:3000", ""] {
            assert!(caused("origin", origin), "{origin:?}");
        }
        for site in ["cross-site", "same-site", "same-origin", "none", "none, cross-site", ""] {
            assert!(caused("sec-fetch-site", site), "{site:?}");
        }
        assert!(!caused("sec-fetch-mode", "cors") && !caused("referer", "https://evil.example/"));
    }
}
