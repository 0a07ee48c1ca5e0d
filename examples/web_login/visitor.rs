//! The address of a visitor. The issuer gets it with each sign-in, to limit failed attempts by it.

use std::net::IpAddr;

use axum::http::HeaderMap;

/// How the address of a visitor is found.
#[derive(Clone, Copy)]
pub(crate) struct Visitors {
    /// The proxy in front of this application, if there is one.
    pub(crate) proxy: Option<IpAddr>,
}

impl Visitors {
    /// The peer address; if that is the proxy, the last address in `X-Forwarded-For`, which the proxy appended. The rest of the header
    /// comes from the visitor and must not be used: an attacker who can choose the address is not limited.
    pub(crate) fn address(self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.proxy.is_none_or(|proxy| proxy.to_canonical() != peer) {
            return peer;
        }
        let last = headers.get_all("x-forwarded-for").iter().next_back();
        let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        last.unwrap_or(peer)
    }
}
