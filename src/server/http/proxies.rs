//! Proxies whose word on the caller's address is taken: `X-Forwarded-For` from anybody else is a claim of the caller's own.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Addresses of `X-Forwarded-For` that are looked at, from its end: no honest chain of proxies is longer.
const LONGEST_CHAIN: usize = 16;

/// The networks of the proxies in front of this server.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Networks such as `10.0.0.0/8`, or single addresses, with commas between.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let network = |part: &str| part.parse::<IpNet>().ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from));
        text.split(',').map(str::trim).map(network).collect::<Option<Vec<_>>>().map(Self)
    }

    pub(super) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request that came over a connection from `peer`: the last address that no trusted proxy vouches for.
    ///
    /// Each proxy appends the address that it was called from, so the header is read from its end, and only as long as whoever
    /// wrote an entry is trusted. What is before that anybody may have written.
    pub(super) fn source(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return peer;
        }
        let values = headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or_default());
        let chain: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
        let mut source = peer;
        for entry in chain.iter().rev().take(LONGEST_CHAIN) {
            let Some(address) = address(entry.trim()) else { break };
            source = address;
            if !self.trust(address) {
                break;
            }
        }
        source
    }
}

/// `192.0.2.1`, `2001:db8::1`, and both with a port behind, as some proxies write them.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    let bracketed = || text.strip_prefix('[')?.split_once(']')?.0.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    bare.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(trusted: &str, peer: &str, headers: &[&str]) -> String {
        let headers = headers.iter().map(|value| (FORWARDED_FOR.parse().unwrap(), value.parse().unwrap())).collect();
        TrustedProxies::parse(trusted).unwrap().source(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn pw10_only_a_trusted_proxy_says_who_called_and_only_its_own_entry_counts() {
        assert_eq!(source("10.0.0.0/8", "192.0.2.9", &["203.0.113.1"]), "192.0.2.9", "a caller's own claim");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["198.51.100.7, 203.0.113.1"]), "203.0.113.1", "what is before it anybody wrote");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["198.51.100.7", "203.0.113.1, 10.0.0.2"]), "203.0.113.1", "two proxies");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["10.0.0.3"]), "10.0.0.3");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(source("10.0.0.0/8", "::ffff:10.0.0.1", &["::ffff:203.0.113.1"]), "203.0.113.1");
        assert_eq!(source("10.0.0.0/8,::1", "::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(source("10.0.0.1", "10.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
    }

    #[test]
    fn pw10_what_cannot_be_read_ends_the_chain_at_who_wrote_it() {
        for unreadable in ["unknown", "_hidden", "", "203.0.113.1 10.0.0.1", "203.0.113", "\"203.0.113.1\"", "1.2.3.4.5"] {
            assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.9", unreadable]), "10.0.0.1", "{unreadable}");
        }
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.9", "junk, 10.0.0.2"]), "10.0.0.2");
        let long = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.9", &long]), "10.0.0.2");
    }

    #[test]
    fn networks_are_written_as_networks_or_addresses() {
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0.0/8,", "10.0.0.0/8;::1"] {
            assert!(TrustedProxies::parse(text).is_none(), "{text:?}");
        }
        assert!(TrustedProxies::parse("10.0.0.0/8, 192.0.2.1, 2001:db8::/32").is_some());
    }
}
