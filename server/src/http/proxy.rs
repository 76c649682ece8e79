//! The PROXY protocol, versions 1 and 2: before anything else a proxy says whom it passes on.

use std::io::{self, Cursor};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, Chain, Join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::request::Peer;
use crate::config::{Behavior, ProxyProtocol};

/// How long a header may take, with the bytes that show that there is none.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The longest header of version 1, as the protocol has it.
const TEXT_SIZE_MAX: usize = 107;
/// The longest rest of a header of version 2: addresses, and what proxies like to add.
const REST_SIZE_MAX: usize = 4096;
/// How a header of version 2 begins: this, version and command, family, and the length of the rest.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const BINARY_HEAD_SIZE: usize = 16;
const TEXT: &[u8] = b"PROXY ";

/// A connection whose first bytes have been looked at: those that are no header are read once more.
pub(crate) type Opened = Join<Chain<Cursor<Vec<u8>>, OwnedReadHalf>, OwnedWriteHalf>;

/// Reads the header, if there is one, and says who is at the other end then.
///
/// # Errors
/// If whoever connects may not, or the header is not right. The connection is to be closed without a word.
pub(crate) async fn open(rule: &ProxyProtocol, mut stream: TcpStream, peer: &mut Peer) -> io::Result<Opened> {
    let believed = peer.address.is_some_and(|address| rule.believed.iter().any(|it| it.contains(address)));
    if rule.behavior == Behavior::DenyUnauthorized && !believed {
        return Err(wrong("a connection that does not come from a believed proxy"));
    }
    let read = tokio::time::timeout(HEADER_TIME, header(&mut stream));
    let (client, seen) =
        read.await.map_err(|_| wrong("the header of the PROXY protocol took too long"))??;
    if let Some(client) = client.filter(|_| believed || rule.behavior == Behavior::UseAlways) {
        peer.address = Some(client.ip().to_canonical());
        peer.port = client.port();
    }
    let (reader, writer) = stream.into_split();
    Ok(tokio::io::join(Cursor::new(seen).chain(reader), writer))
}

/// Whom the header names, if anybody; and bytes that are no header.
async fn header(stream: &mut TcpStream) -> io::Result<(Option<SocketAddr>, Vec<u8>)> {
    let mut seen = Vec::with_capacity(TEXT_SIZE_MAX);
    // Never a byte more than the shortest header has, so that none of what follows is taken for a part of it.
    while seen.len() < SIGNATURE.len() {
        let wanted = u64::try_from(SIGNATURE.len() - seen.len()).unwrap_or_default();
        if (&mut *stream).take(wanted).read_buf(&mut seen).await? == 0 {
            return Ok((None, seen));
        }
        let begins = |whole: &[u8]| seen.iter().zip(whole).all(|(byte, known)| byte == known);
        if !begins(&SIGNATURE) && !begins(TEXT) {
            return Ok((None, seen));
        }
    }
    if seen == SIGNATURE {
        let mut head = [0; BINARY_HEAD_SIZE - SIGNATURE.len()];
        stream.read_exact(&mut head).await?;
        let [version_and_command, family, high, low] = head;
        let size = usize::from(u16::from_be_bytes([high, low]));
        if size > REST_SIZE_MAX {
            return Err(wrong("a header of the PROXY protocol that is too long"));
        }
        let mut rest = vec![0; size];
        stream.read_exact(&mut rest).await?;
        return Ok((binary(version_and_command, family, &rest)?, Vec::new()));
    }
    while !seen.ends_with(b"\r\n") {
        if seen.len() >= TEXT_SIZE_MAX {
            return Err(wrong("a header of the PROXY protocol without an end"));
        }
        seen.push(stream.read_u8().await?);
    }
    Ok((text(&seen)?, Vec::new()))
}

/// `PROXY TCP4 203.0.113.7 192.0.2.1 56324 443`, or `PROXY UNKNOWN` and anything.
fn text(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let refused = || wrong("a header of the PROXY protocol, version 1, that does not read");
    let line = std::str::from_utf8(line).map_err(|_| refused())?.trim_end_matches("\r\n");
    let words: Vec<&str> = line.split(' ').collect();
    let (source, target, from, to) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, target, from, to] => {
            let address = |text: &str| -> Option<IpAddr> {
                if family == "TCP4" {
                    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
                } else {
                    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
                }
            };
            (address(source), address(target), port(from), port(to))
        }
        _ => return Err(refused()),
    };
    match (source, target, from, to) {
        (Some(source), Some(_), Some(from), Some(_)) => Ok(Some(SocketAddr::new(source, from))),
        _ => Err(refused()),
    }
}

/// A port as the protocol spells it: no sign, no zero in front.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn binary(version_and_command: u8, family: u8, rest: &[u8]) -> io::Result<Option<SocketAddr>> {
    let short = || wrong("a header of the PROXY protocol, version 2, that is too short");
    match version_and_command {
        // The proxy itself, which looks whether this server is well.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(wrong("a header of a version of the PROXY protocol that is not known")),
    }
    match family {
        0x11 => {
            let [source @ .., _, _, _, _, high, low, _, _] = rest.first_chunk::<12>().ok_or_else(short)?;
            Ok(Some(SocketAddr::new(Ipv4Addr::from(*source).into(), u16::from_be_bytes([*high, *low]))))
        }
        0x21 => {
            let source = rest.first_chunk::<16>().ok_or_else(short)?;
            let [_, _, _, _] = rest.get(32..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(short)?;
            let ports = rest.get(32..).and_then(<[u8]>::first_chunk::<2>).ok_or_else(short)?;
            Ok(Some(SocketAddr::new(Ipv6Addr::from(*source).into(), u16::from_be_bytes(*ports))))
        }
        // Datagrams, sockets in a file system, nothing: there is no address that counts here.
        _ => Ok(None),
    }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: Option<Option<&str>>) {
        let found = text(line.as_bytes()).ok();
        assert_eq!(found, expect.map(|named| named.map(|it| it.parse().unwrap())), "{line:?}");
    }

    #[test]
    fn version_one_is_read_to_the_letter() {
        check("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", Some(Some("203.0.113.7:56324")));
        check("PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", Some(Some("[2001:db8::7]:1")));
        check("PROXY UNKNOWN\r\n", Some(None));
        check("PROXY UNKNOWN whatever it says\r\n", Some(None));
        for bad in [
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 more\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 +1 2\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 65536 2\r\n",
            "PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY\r\n",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn version_two_names_an_address_or_nobody() {
        let four = [203, 0, 113, 7, 192, 0, 2, 1, 0xdc, 0x04, 1, 187];
        let named = binary(0x21, 0x11, &four).unwrap();
        assert_eq!(named, Some("203.0.113.7:56324".parse().unwrap()));
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[32..34].copy_from_slice(&[0, 7]);
        assert_eq!(binary(0x21, 0x21, &six).unwrap(), Some("[2001::]:7".parse().unwrap()));
        assert_eq!(binary(0x20, 0x11, &four).unwrap(), None, "the proxy itself");
        assert_eq!(binary(0x21, 0x00, &[]).unwrap(), None);
        assert!(binary(0x21, 0x11, &four[..11]).is_err());
        assert!(binary(0x21, 0x21, &six[..35]).is_err());
        assert!(binary(0x31, 0x11, &four).is_err());
        assert!(binary(0x22, 0x11, &four).is_err());
    }
}
