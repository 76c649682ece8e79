use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::Result;

/// Everything the wire can say of an operation that went well.
pub enum Reply<T> {
    /// 200 with the envelope around `data`.
    Data(T),
    /// 200 with the envelope around `data`, which is JSON already: what was stored in the form in which it
    /// is shown.
    Written(Vec<u8>),
    /// 200 with an object that stands alone.
    Bare(T),
    /// Bytes that are no JSON: a certificate, a list of revocations.
    Raw {
        /// The status.
        status: u16,
        /// The content type.
        kind: &'static str,
        /// The body.
        bytes: Vec<u8>,
    },
    /// 204; or 200 with the envelope if there are warnings, a lease or a login to tell of.
    Nothing,
    /// 202 with the envelope: it was begun and is not done yet.
    Accepted(T),
    /// 404 with the envelope around `data`: it was here once.
    Gone(T),
    /// The envelope around `data` with another status: a batch of which a part failed.
    Status {
        /// The status.
        status: u16,
        /// What stands in `data`.
        data: T,
    },
    /// 404 and nothing at all.
    Empty,
}

impl<T> From<T> for Reply<T> {
    fn from(data: T) -> Self {
        Self::Data(data)
    }
}

/// An answer that is no envelope, with headers of its own.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The content type.
    pub kind: &'static str,
    /// Headers, their names in lower case. One may come more than once.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub bytes: Vec<u8>,
}

/// The type of `data` where there never is any.
#[derive(JsonSchema, Serialize)]
pub struct Nothing {}

/// A reply whose type has been forgotten.
#[derive(Debug)]
pub enum Body {
    /// JSON for `data`.
    Data(Vec<u8>),
    /// JSON that stands alone.
    Bare(Vec<u8>),
    /// Anything.
    Raw {
        /// The status.
        status: u16,
        /// The content type.
        kind: &'static str,
        /// The body.
        bytes: Vec<u8>,
    },
    /// JSON with shares of a key in it.
    Keys {
        /// It stands alone, and not in an envelope.
        bare: bool,
        /// The JSON.
        data: Zeroizing<Vec<u8>>,
    },
    /// No body.
    Nothing,
    /// JSON for `data`, status 202.
    Accepted(Vec<u8>),
    /// JSON for `data`, status 404.
    Gone(Vec<u8>),
    /// JSON for `data` with another status.
    Status {
        /// The status.
        status: u16,
        /// The JSON.
        data: Vec<u8>,
    },
    /// No body, status 404.
    Empty,
}

impl<T: Serialize> Reply<T> {
    /// Writes the reply down; to what is wiped, if it has `keys` in it.
    ///
    /// # Errors
    /// If `T` cannot be written as JSON, which is a fault of ours.
    pub fn into_body(self, keys: bool) -> Result<Body> {
        // There is one of this per type: what writes it down stands here once.
        let (data, place) = match self {
            Self::Data(data) => (data, Place::Data),
            Self::Bare(data) => (data, Place::Bare),
            Self::Accepted(data) => (data, Place::Accepted),
            Self::Gone(data) => (data, Place::Gone),
            Self::Status { status, data } => (data, Place::Status(status)),
            Self::Written(bytes) => return Ok(Body::Data(bytes)),
            Self::Raw { status, kind, bytes } => return Ok(Body::Raw { status, kind, bytes }),
            Self::Nothing => return Ok(Body::Nothing),
            Self::Empty => return Ok(Body::Empty),
        };
        if keys && matches!(place, Place::Data | Place::Bare) {
            let data = written_once(&data)?;
            return Ok(Body::Keys { bare: matches!(place, Place::Bare), data });
        }
        let mut json = Vec::with_capacity(MOSTLY);
        serde_json::to_writer(&mut json, &data)?;
        Ok(place.holding(json))
    }
}

/// Most answers are shorter, and need no second place to be written to.
pub(crate) const MOSTLY: usize = 1024;

/// As JSON, in a place that is large enough from the first byte: what grows leaves a copy behind.
fn written_once(data: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    let mut size = Counted(0);
    serde_json::to_writer(&mut size, data)?;
    let mut json = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *json, data)?;
    Ok(json)
}

/// Keeps of what is written how much it is.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where in an answer the data stands.
enum Place {
    Data,
    Bare,
    Accepted,
    Gone,
    Status(u16),
}

impl Place {
    fn holding(self, data: Vec<u8>) -> Body {
        match self {
            Self::Data => Body::Data(data),
            Self::Bare => Body::Bare(data),
            Self::Accepted => Body::Accepted(data),
            Self::Gone => Body::Gone(data),
            Self::Status(status) => Body::Status { status, data },
        }
    }
}
