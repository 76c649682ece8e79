use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use kit::{Error, Result, Time};
use rustix::net::{RecvFlags, recv};

use crate::audit::options::Given;
use crate::audit::queue::{Carrier, Failure};

/// How long one line may take, if nothing else is said.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// No device may keep a request for longer than this.
const WRITE_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Where a device of type `socket` writes to.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// As Go calls it.
    name: &'static str,
    network: Network,
    address: String,
    pub(crate) write_timeout: Duration,
}

/// The networks, under the names that Go gives them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Network {
    Tcp(Family),
    Udp(Family),
    Unix,
    UnixDatagram,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    Any,
    V4,
    V6,
}

const NETWORKS: [(&str, Network); 8] = [
    ("tcp", Network::Tcp(Family::Any)),
    ("tcp4", Network::Tcp(Family::V4)),
    ("tcp6", Network::Tcp(Family::V6)),
    ("udp", Network::Udp(Family::Any)),
    ("udp4", Network::Udp(Family::V4)),
    ("udp6", Network::Udp(Family::V6)),
    ("unix", Network::Unix),
    ("unixgram", Network::UnixDatagram),
];

impl Address {
    /// Reads the options of a socket.
    pub(crate) fn read(given: &Given<'_>) -> Result<Self> {
        let address = given.text("address");
        if address.is_empty() {
            return Err(Error::invalid("address is required"));
        }
        let name = Some(given.text("socket_type")).filter(|name| !name.is_empty()).unwrap_or("tcp");
        let known = NETWORKS.iter().find(|(known, _)| *known == name).copied();
        let (name, network) = known.ok_or_else(|| {
            Error::invalid(format!(
                "audit backend failed test message: dial {name}: unknown network {name}; socket_type is tcp, udp, unix or unixgram"
            ))
        })?;
        let write_timeout = write_timeout(given)?;
        Ok(Self { name, network, address: address.to_owned(), write_timeout })
    }
}

/// How long one line may take.
pub(crate) fn write_timeout(given: &Given<'_>) -> Result<Duration> {
    let span = given.span("write_timeout", WRITE_TIMEOUT)?;
    if span.is_zero() || span > WRITE_TIMEOUT_MAX {
        return Err(Error::invalid(
            "the audit option \"write_timeout\" must be more than nothing and a minute at most",
        ));
    }
    Ok(span)
}

/// A connection to it, made when it is needed.
pub(crate) struct Socket {
    at: Address,
    stream: Option<Stream>,
}

enum Stream {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixStream),
    UnixDatagram(UnixDatagram),
}

impl Socket {
    pub(crate) fn new(at: Address) -> Self {
        Self { at, stream: None }
    }

    fn dial(&self) -> io::Result<Stream> {
        let Address { network, address, write_timeout, .. } = &self.at;
        let stream = match network {
            Network::Tcp(family) => {
                let tried = addresses(address, *family)?
                    .map(|at| TcpStream::connect_timeout(&at, *write_timeout))
                    .reduce(|earlier, next| earlier.or(next));
                let stream =
                    tried.unwrap_or_else(|| Err(io::Error::other("the name has no such address")))?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(*write_timeout))?;
                Stream::Tcp(stream)
            }
            Network::Udp(family) => {
                let at = addresses(address, *family)?
                    .next()
                    .ok_or_else(|| io::Error::other("the name has no such address"))?;
                let socket = match at {
                    SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
                    SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
                };
                socket.connect(at)?;
                socket.set_write_timeout(Some(*write_timeout))?;
                Stream::Udp(socket)
            }
            Network::Unix => {
                let stream = UnixStream::connect(address)?;
                stream.set_write_timeout(Some(*write_timeout))?;
                Stream::Unix(stream)
            }
            Network::UnixDatagram => Stream::UnixDatagram(datagrams(address, *write_timeout)?),
        };
        Ok(stream)
    }

    fn try_carry(&mut self, line: &[u8]) -> io::Result<()> {
        let stream = match self.stream.take().filter(Stream::is_alive) {
            Some(stream) => stream,
            None => self.dial().map_err(|error| {
                let Address { name, address, .. } = &self.at;
                io::Error::new(error.kind(), format!("dial {name} {address}: {error}"))
            })?,
        };
        stream.write(line)?;
        // Only after a whole line: of one that was cut off, nothing more must follow on the same connection.
        self.stream = Some(stream);
        Ok(())
    }
}

impl Carrier for Socket {
    fn carry(&mut self, line: &[u8], _: Time) -> Result<(), Failure> {
        let kept = self.stream.is_some();
        let again = |error: &io::Error| kept && !too_long(error) && error.kind() != io::ErrorKind::WouldBlock;
        let carried = match self.try_carry(line) {
            // The other side may have gone long ago, and be there again.
            Err(error) if again(&error) => self.try_carry(line),
            carried => carried,
        };
        carried.map_err(|error| match too_long(&error) {
            true => Failure::Line(error),
            false => Failure::Carrier(error),
        })
    }
}

impl Stream {
    /// Whether the other side has not hung up. A write to one that has would seem to work, once.
    fn is_alive(&self) -> bool {
        let look = |fd: std::os::fd::BorrowedFd<'_>| {
            let read = recv(fd, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
            match read {
                Ok((_, count)) => count > 0,
                Err(error) => error == rustix::io::Errno::AGAIN,
            }
        };
        match self {
            Self::Tcp(stream) => look(stream.as_fd()),
            Self::Unix(stream) => look(stream.as_fd()),
            Self::Udp(_) | Self::UnixDatagram(_) => true,
        }
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let whole = |count: usize| match count == line.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        };
        match self {
            Self::Tcp(stream) => (&*stream).write_all(line),
            Self::Unix(stream) => (&*stream).write_all(line),
            Self::Udp(socket) => socket.send(line).and_then(whole),
            Self::UnixDatagram(socket) => socket.send(line).and_then(whole),
        }
    }
}

/// A connected socket for datagrams at a path.
pub(crate) fn datagrams(path: &str, write_timeout: Duration) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(write_timeout))?;
    Ok(socket)
}

/// A datagram that is larger than a datagram can be.
pub(crate) fn too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

fn addresses(address: &str, family: Family) -> io::Result<impl Iterator<Item = SocketAddr>> {
    let fits = move |at: &SocketAddr| match family {
        Family::Any => true,
        Family::V4 => at.is_ipv4(),
        Family::V6 => at.is_ipv6(),
    };
    Ok(address.to_socket_addrs()?.filter(fits))
}
