//! Where a listener accepts requests. Every process that reaches it acts as the client, so no other machine may.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{self, PathBuf},
    str::FromStr,
};

/// Marks a path of a Unix socket.
const UNIX: &str = "unix:";

/// A loopback address, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ListenAt {
    Loopback(SocketAddr),
    Unix(PathBuf),
}

/// Why a text is not the place of a listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListenError {
    #[error(
        "other machines can reach {0}, and every caller acts as the client: use a loopback address such as 127.0.0.1:9100, or unix:PATH"
    )]
    NotLoopback(SocketAddr),
    #[error("a Unix socket needs a path of at most {max} bytes, such as unix:/run/app/orders.sock", max = MAX_SOCKET_PATH)]
    SocketPath,
    #[error("this system has no Unix sockets: use a loopback address such as 127.0.0.1:9100")]
    NoUnixSockets,
    #[error("expected an IP address with a port, such as 127.0.0.1:9100, or unix:PATH")]
    Form,
}

/// The longest path that fits an address of a Unix socket everywhere (`sun_path` of 104 bytes with its end).
const MAX_SOCKET_PATH: usize = 103;

impl ListenAt {
    /// The address that a browser could reach it at.
    pub(super) const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Loopback(addr) => Some(addr.ip()),
            Self::Unix(_) => None,
        }
    }

    /// Whether both are one place, however they are written.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            // The system chooses a port of its own for each 0.
            (Self::Loopback(one), Self::Loopback(other)) => one == other && one.port() != 0,
            // Two paths that are one because of links are found when they are listened on, by the lock.
            (Self::Unix(one), Self::Unix(other)) => {
                matches!((path::absolute(one), path::absolute(other)), (Ok(one), Ok(other)) if one == other)
            }
            _ => false,
        }
    }
}

impl FromStr for ListenAt {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix(UNIX) {
            if cfg!(not(unix)) {
                return Err(ListenError::NoUnixSockets);
            }
            let valid = (1..=MAX_SOCKET_PATH).contains(&path.len()) && !path.contains('\0') && !path.ends_with('/');
            return if valid { Ok(Self::Unix(PathBuf::from(path))) } else { Err(ListenError::SocketPath) };
        }
        // `localhost` is a name, which may resolve to something else.
        let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        let addr: SocketAddr = text.parse().map_err(|_| ListenError::Form)?;
        let ip = addr.ip().to_canonical();
        if ip.is_loopback() { Ok(Self::Loopback(SocketAddr::new(ip, addr.port()))) } else { Err(ListenError::NotLoopback(addr)) }
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd4_a_listener_is_a_loopback_address_or_a_unix_socket() {
        for (text, shown) in [
            ("127.0.0.1:9100", "127.0.0.1:9100"),
            ("127.8.8.8:0", "127.8.8.8:0"),
            ("[::1]:9100", "[::1]:9100"),
            ("[::ffff:127.0.0.1]:9100", "127.0.0.1:9100"),
            ("localhost:9100", "127.0.0.1:9100"),
            ("unix:/run/app/orders.sock", "unix:/run/app/orders.sock"),
            ("unix:orders.sock", "unix:orders.sock"),
        ] {
            assert_eq!(text.parse::<ListenAt>().unwrap().to_string(), shown);
        }
        for text in ["0.0.0.0:9100", "[::]:9100", "192.0.2.1:9100", "[2001:db8::1]:9100", "[::ffff:192.0.2.1]:9100"] {
            let refused = text.parse::<ListenAt>().unwrap_err();
            assert!(matches!(refused, ListenError::NotLoopback(_)), "{text}");
            assert!(refused.to_string().contains("every caller acts as the client"), "{refused}");
        }
        for text in ["", "9100", ":9100", "127.0.0.1", "orders.example:9100", "localhost", "localhost:x", "/run/app/orders.sock"] {
            assert_eq!(text.parse::<ListenAt>(), Err(ListenError::Form), "{text:?}");
        }
        for path in ["", "/run/", &"x".repeat(MAX_SOCKET_PATH + 1)] {
            assert_eq!(format!("unix:{path}").parse::<ListenAt>(), Err(ListenError::SocketPath), "{path:?}");
        }
    }

    #[test]
    fn gd4_one_place_is_recognized_however_it_is_written() {
        let same = |one: &str, other: &str| one.parse::<ListenAt>().unwrap().is_same_as(&other.parse().unwrap());
        for (one, other) in [
            ("localhost:9100", "127.0.0.1:9100"),
            ("[::ffff:127.0.0.1]:9100", "127.0.0.1:9100"),
            ("unix:o.sock", "unix:./o.sock"),
            ("unix:/run//o.sock", "unix:/run/./o.sock"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:9100", "127.0.0.2:9100"),
            ("127.0.0.1:9100", "127.0.0.1:9101"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:9100", "unix:127.0.0.1:9100"),
            ("unix:o.sock", "unix:p.sock"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
