//! What a request carries: text that is at hand, or a file that is read while it is sent.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

/// How much of a file is in memory at a time.
const PIECE_SIZE: u64 = 64 * 1024;

/// The body of a request.
pub(crate) type Sent = Either<Full<Bytes>, Pieces>;

/// A body that is at hand.
pub(crate) fn whole(bytes: Bytes) -> Sent {
    Either::Left(Full::new(bytes))
}

/// A file that is sent as it is. It is opened for each attempt.
pub(crate) struct Upload {
    pub(crate) file: PathBuf,
}

impl Upload {
    /// Its name, for who is shown the request.
    pub(crate) fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// The file from its beginning on, of the length that it has now.
    pub(crate) fn open(&self) -> io::Result<Sent> {
        let file = File::open(&self.file)?;
        let left = file.metadata()?.len();
        Ok(Either::Right(Pieces { file, left }))
    }
}

/// A file, piece by piece.
pub(crate) struct Pieces {
    file: File,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = Vec::new();
        let wanted = self.left.min(PIECE_SIZE);
        let read = (&mut self.file).take(wanted).read_to_end(&mut piece);
        Poll::Ready(Some(match read {
            Ok(0) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short while it was sent"))
            }
            Ok(count) => {
                self.left -= count as u64;
                Ok(Frame::data(Bytes::from(piece)))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
