//! The sockets that connections come from, and their streams.

#[cfg(unix)]
use std::net::Ipv4Addr;
use std::{io, iter, net::IpAddr};

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// The stream of a connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The source of all connections to a Unix socket: this machine.
#[cfg(unix)]
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Socket {
    /// The next connection, and its source.
    pub(super) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(stream, peer)| (Stream::Tcp(stream), peer.ip())),
            #[cfg(unix)]
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| (Stream::Unix(stream), LOCAL)),
        }
    }

    /// The connections that are in the kernel's queue. Their clients are connected already. The runtime may not know of them yet, so the
    /// kernel is asked.
    pub(super) fn rest(self) -> io::Result<Box<dyn Iterator<Item = (Stream, IpAddr)> + Send>> {
        Ok(match self {
            Self::Tcp(socket) => {
                let socket = socket.into_std()?;
                Box::new(iter::from_fn(move || {
                    let (stream, peer) = socket.accept().ok()?;
                    stream.set_nonblocking(true).ok()?;
                    Some((Stream::Tcp(TcpStream::from_std(stream).ok()?), peer.ip()))
                }))
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                let socket = socket.into_std()?;
                Box::new(iter::from_fn(move || {
                    let (stream, _) = socket.accept().ok()?;
                    stream.set_nonblocking(true).ok()?;
                    Some((Stream::Unix(UnixStream::from_std(stream).ok()?), LOCAL))
                }))
            }
        })
    }
}

impl Stream {
    /// Returns when the first byte has arrived, without reading it; `false` if none will.
    pub(super) async fn first_byte(&self) -> io::Result<bool> {
        match self {
            // Peeks, because a readiness event may be spurious.
            Self::Tcp(stream) => Ok(stream.peek(&mut [0]).await? == 1),
            // It cannot be peeked at.
            #[cfg(unix)]
            Self::Unix(stream) => stream.readable().await.map(|()| true),
        }
    }
}
