//! HTTP/2 by the frame, for what no honest client sends.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection of HTTP/2, and the stream that comes next.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
    next: u32,
    /// What the server is ready to read of bodies, all together.
    window: u32,
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    /// Its kind (RFC 9113, section 6).
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status of an answer, if this is the first of its kind on the connection: later ones refer to it.
    pub fn status(&self) -> Option<u16> {
        // RFC 7541, appendix A; else three digits in the code of appendix B.
        const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match *self.payload.as_slice() {
            [index @ 0x88..=0x8e, ..] => Some(KNOWN[usize::from(index - 0x88)]),
            [0x08 | 0x48, 0x82 | 0x83, a, b, c, ..] => digits(u32::from_be_bytes([a, b, c, 0xff])),
            _ => None,
        }
    }
}

/// Three digits: 0, 1 and 2 have five bits, the others six.
fn digits(mut bits: u32) -> Option<u16> {
    let mut number = 0;
    for _ in 0..3 {
        let digit = match bits >> 26 {
            short @ 0..6 => short / 2,
            long @ 0b01_1001..=0b01_1111 => long - 0b01_1001 + 3,
            _ => return None,
        };
        bits = bits.wrapping_shl(if digit < 3 { 5 } else { 6 });
        number = number * 10 + u16::try_from(digit).ok()?;
    }
    Some(number)
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A header, written out, that is not kept in the table.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A header, written out, that is put into the table; [`LATEST`] refers to it.
pub fn kept(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], text(name), text(value)].concat()
}

/// The header that was put into the table last.
pub const LATEST: u8 = 0xbe;

/// Text as HPACK has it: its length, in seven bits if they hold it, and its bytes (RFC 7541, section 5).
fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match u8::try_from(text.len()) {
        Ok(length @ ..127) => out.push(length),
        _ => {
            out.push(127);
            let mut left = text.len() - 127;
            while left >= 128 {
                out.push(u8::try_from(left % 128).unwrap() | 128);
                left /= 128;
            }
            out.push(u8::try_from(left).unwrap());
        }
    }
    out.extend_from_slice(text.as_bytes());
    out
}

/// The head of a request.
pub fn head(verb: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", verb), (":scheme", "http"), (":path", target), (":authority", "x")];
    own.iter().chain(headers).flat_map(|(name, value)| literal(name, value)).collect()
}

impl Frames {
    /// Connects, with these settings by their numbers.
    pub fn connect(to: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut frames = Self { stream, next: 1, window: 65_535 };
        frames.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        let one = |(number, value): &(u16, u32)| [&number.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frames.send(SETTINGS, 0, 0, &settings.iter().flat_map(one).collect::<Vec<_>>())?;
        frames.send(SETTINGS, 1, 0, &[])?;
        Ok(frames)
    }

    /// Begins a request with this head; without a body it ends there. Its stream.
    pub fn request(&mut self, head: &[u8], has_body: bool) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        let end = if has_body { 0 } else { END_STREAM };
        self.send(HEADERS, END_HEADERS | end, stream, head)?;
        Ok(stream)
    }

    /// A part of a body, once the connection has room for it. Fails if an answer comes before.
    pub fn data(&mut self, stream: u32, part: &[u8], last: bool) -> io::Result<()> {
        let size = u32::try_from(part.len()).unwrap();
        while self.window < size {
            match self.read() {
                Some(frame) if frame.kind != HEADERS => {}
                _ => return Err(io::Error::other("answered before all was sent")),
            }
        }
        self.window -= size;
        self.send(DATA, u8::from(last), stream, part)
    }

    /// Takes a request back.
    pub fn reset(&mut self, stream: u32) -> io::Result<()> {
        self.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
    }

    /// Says that it is there.
    pub fn ping(&mut self) -> io::Result<()> {
        self.send(PING, 0, 0, b"are you?")
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat())
    }

    /// The next frame; nothing once the connection is closed.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        if kind == WINDOW_UPDATE && stream == [0; 4] {
            self.window += u32::from_be_bytes(payload.as_slice().try_into().ok()?);
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Waits until the server has read all that was sent: it answers a ping in turn.
    pub fn settle(&mut self) {
        self.ping().unwrap();
        while let Some(frame) = self.read() {
            if frame.kind == PING && frame.flags == 1 {
                return;
            }
        }
        panic!("the connection was closed");
    }

    /// Waits for the head of the answer to this request. False once the connection is closed.
    pub fn answers(&mut self, stream: u32) -> bool {
        while let Some(frame) = self.read() {
            if frame.kind == HEADERS && frame.stream == stream {
                return true;
            }
        }
        false
    }

    /// The status of the next answer, or nothing if the connection is closed. Only for the first of its kind.
    pub fn status(&mut self) -> Option<u16> {
        loop {
            let frame = self.read()?;
            if frame.kind == HEADERS {
                return frame.status();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        let status =
            |payload: &[u8]| Frame { kind: HEADERS, flags: 4, stream: 1, payload: payload.to_vec() }.status();
        assert_eq!(status(&[0x89, 0]), Some(204));
        // 431 and 503, as h2 writes them.
        assert_eq!(status(&[0x48, 0x83, 0x69, 0x90, 0xff]), Some(431));
        assert_eq!(status(&[0x48, 0x83, 0x6c, 0x0c, 0xff]), Some(503));
        assert_eq!(status(&[0x00]), None);
    }
}
