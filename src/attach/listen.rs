//! Where a listener accepts requests. Every process that reaches it acts as the client, so no other machine may.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

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
        if addr.ip().to_canonical().is_loopback() { Ok(Self::Loopback(addr)) } else { Err(ListenError::NotLoopback(addr)) }
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
}
