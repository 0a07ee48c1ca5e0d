//! The sockets that connections come from, and their streams.

#[cfg(unix)]
use std::net::Ipv4Addr;
use std::{io, iter, net::IpAddr};

#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpListener, TcpStream};

#[cfg(unix)]
use super::pathname::PathnameSocket;

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(PathnameSocket),
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
            Self::Unix(socket) => socket.listener().accept().await.map(|(stream, _)| (Stream::Unix(stream), LOCAL)),
        }
    }

    /// Makes the kernel queue no further clients. Those in the queue stay.
    pub(super) fn close_queue(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => drop_new_syns(socket),
            #[cfg(unix)]
            Self::Unix(socket) => {
                socket.withdraw();
                Ok(())
            }
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
                let socket = socket.into_listener().into_std()?;
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

/// Makes the kernel drop new SYN packets, as if the network had lost them: clients retry after a second, are refused then, and go
/// elsewhere. Half-open connections can still complete; closing the port now would cut them off.
#[cfg(target_os = "linux")]
fn drop_new_syns(socket: &TcpListener) -> io::Result<()> {
    use socket2::SockFilter;

    // Classic BPF over the TCP header (RFC 9293 section 3.1): drop packets with SYN and without ACK among the flags in byte 13.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    socket2::SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, SYN),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}

#[cfg(not(target_os = "linux"))]
fn drop_new_syns(_: &TcpListener) -> io::Result<()> {
    Ok(())
}
