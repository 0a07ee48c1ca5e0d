//! The addresses of the upstream.

use std::{
    future::{self, Future},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// The resolver of the system, except that `localhost` is this machine, whatever a name server says (RFC 6761 section 6.3).
#[derive(Debug, Clone)]
pub(super) struct Resolver(GaiResolver);

impl Resolver {
    pub(super) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<vec::IntoIter<SocketAddr>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_loopback(name.as_str()) {
            // The port follows later.
            let addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
            return Box::pin(future::ready(Ok(addresses.into_iter())));
        }
        let found = self.0.call(name);
        Box::pin(async move { found.await.map(|found| found.collect::<Vec<_>>().into_iter()) })
    }
}

fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn gd2_localhost_is_this_machine_without_asking_a_name_server() {
        for name in ["localhost", "localhost.", "orders.localhost"] {
            // Without a runtime, no other name could be resolved.
            let found = Resolver::new().call(name.parse().unwrap()).now_or_never().unwrap().unwrap();
            assert!(found.map(|address| address.ip()).eq(["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap())), "{name}");
        }
        assert!(!is_loopback("localhost.example") && !is_loopback("notlocalhost"));
    }
}
