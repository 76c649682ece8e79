//! Words for a refusal that has none. A head that is too large is refused by what reads HTTP, before anybody here hears of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// What such a refusal begins with, and how it says that nothing follows.
const TOO_LARGE: &[u8] = b"HTTP/1.1 431 ";
const NOTHING: &str = "content-length: 0\r\n";
const BODY: &str = "{\"errors\":[\"the head of this request is too large: its first line and its header fields have 64 KiB together\"]}\n";

/// A refusal on its way out.
pub(super) struct Refusal {
    bytes: Vec<u8>,
    sent: usize,
}

/// Whether these bytes are a refusal without words.
pub(super) fn is_bare(bytes: &[u8]) -> bool {
    bytes.starts_with(TOO_LARGE) && text(bytes).is_some()
}

/// The head of such a refusal, which is all of it.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.contains(NOTHING) && text.ends_with("\r\n\r\n"))
}

impl Refusal {
    /// The same refusal with words, if it has none.
    pub(super) fn in_place_of(bytes: &[u8]) -> Option<Self> {
        let head = text(bytes).filter(|_| is_bare(bytes))?;
        let about = format!(
            "content-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n",
            BODY.len()
        );
        let bytes = format!("{}{BODY}", head.replacen(NOTHING, &about, 1)).into_bytes();
        Some(Self { bytes, sent: 0 })
    }

    /// Sends what is left of it.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(left) = self.bytes.get(self.sent..).filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_no_words_is_given_some() {
        let bare =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let said = String::from_utf8(Refusal::in_place_of(bare).unwrap().bytes).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())) && head.contains("connection: close")
        );
        for other in [
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 3\r\n\r\nno\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "",
        ] {
            assert!(Refusal::in_place_of(other.as_bytes()).is_none());
        }
    }
}
