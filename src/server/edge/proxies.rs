//! Trusted proxies. `X-Forwarded-For` is accepted only from them, because anyone else can put any address there.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Maximum number of `X-Forwarded-For` entries that are read, from the end. No real chain of proxies is longer.
const LONGEST_CHAIN: usize = 16;

/// The networks of the proxies in front of this server.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Parses networks such as `10.0.0.0/8`, or single addresses, separated by commas.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let network = |part: &str| part.parse::<IpNet>().ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from));
        text.split(',').map(str::trim).map(network).collect::<Option<Vec<_>>>().map(Self)
    }

    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The source of a request over a connection from `peer`: the last address that is not a trusted proxy.
    ///
    /// Each proxy appends the address that it was called from. So the header is read from its end, as long as the writer of an entry is
    /// trusted. Anyone may have written the entries before that.
    pub(crate) fn source(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
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

/// Parses `192.0.2.1` and `2001:db8::1`, also with a port, which some proxies add.
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
    fn pw10_only_entries_that_a_trusted_proxy_wrote_are_accepted() {
        assert_eq!(source("10.0.0.0/8", "192.0.2.9", &["203.0.113.1"]), "192.0.2.9", "the peer is not trusted");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["198.51.100.7, 203.0.113.1"]), "203.0.113.1", "earlier entries are not trusted");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["198.51.100.7", "203.0.113.1, 10.0.0.2"]), "203.0.113.1", "two proxies");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["10.0.0.3"]), "10.0.0.3");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(source("10.0.0.0/8", "::ffff:10.0.0.1", &["::ffff:203.0.113.1"]), "203.0.113.1");
        assert_eq!(source("10.0.0.0/8,::1", "::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(source("10.0.0.1", "10.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
    }

    #[test]
    fn pw10_an_unreadable_entry_ends_the_chain_at_the_proxy_that_wrote_it() {
        for unreadable in ["unknown", "_hidden", "", "203.0.113.1 10.0.0.1", "203.0.113", "\"203.0.113.1\"", "1.2.3.4.5"] {
            assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.9", unreadable]), "10.0.0.1", "{unreadable}");
        }
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.9", "junk, 10.0.0.2"]), "10.0.0.2");
        let long = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(source("10.0.0.0/8", "10.0.0.1", &["203.0.113.9", &long]), "10.0.0.2");
    }

    #[test]
    fn networks_and_addresses_are_parsed() {
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0.0/8,", "10.0.0.0/8;::1"] {
            assert!(TrustedProxies::parse(text).is_none(), "{text:?}");
        }
        assert!(TrustedProxies::parse("10.0.0.0/8, 192.0.2.1, 2001:db8::/32").is_some());
    }
}
