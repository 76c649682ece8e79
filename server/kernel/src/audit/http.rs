use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kit::{Call, Error, Redirects, Result, Secret, Time, World};
use tokio::runtime::Handle;

use crate::audit::options::Given;
use crate::audit::queue::{Carrier, Failure};
use crate::audit::socket::write_timeout;

/// Where a device of type `http` writes to.
#[derive(Debug)]
pub(crate) struct Post {
    uri: String,
    headers: Vec<(String, Secret<String>)>,
    pub(crate) write_timeout: Duration,
}

impl Post {
    /// Reads the options of a web server.
    pub(crate) fn read(given: &Given<'_>) -> Result<Self> {
        let uri = given.text("uri");
        if uri.is_empty() {
            return Err(Error::invalid("uri is required"));
        }
        let known = ["http://", "https://"].iter().any(|scheme| uri.starts_with(scheme));
        if !known {
            return Err(Error::invalid(
                "failed to resolve uri: it must be a URL such as https://collector.example.com/audit",
            ));
        }
        let headers: BTreeMap<String, Vec<String>> = match given.text("headers") {
            "" => BTreeMap::new(),
            // What is wrong is told without the text: a header may be a key.
            text => serde_json::from_str(text).map_err(|_| {
                Error::invalid(
                    "failed to parse headers: they must be a JSON object of lists, like {\"X-Key\": [\"value\"]}",
                )
            })?,
        };
        let one = |(name, values): (String, Vec<String>)| {
            values.into_iter().map(move |value| (name.clone(), Secret::new(value)))
        };
        Ok(Self {
            uri: uri.to_owned(),
            headers: headers.into_iter().flat_map(one).collect(),
            write_timeout: write_timeout(given)?,
        })
    }
}

/// A web server that takes one line with each POST.
pub(crate) struct Web {
    post: Post,
    world: Arc<dyn World>,
    runtime: Handle,
}

impl Web {
    /// # Errors
    /// If this thread belongs to no runtime.
    pub(crate) fn new(post: Post, world: Arc<dyn World>) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self { post, world, runtime })
    }

    fn call(&self, line: &[u8]) -> Call {
        let Post { uri, headers, .. } = &self.post;
        let own = |(name, value): &(String, Secret<String>)| {
            (Cow::Owned(name.clone()), Secret::new(value.expose().clone()))
        };
        Call {
            method: "POST",
            url: uri.clone(),
            headers: headers.iter().map(own).collect(),
            body: line.to_vec(),
            // What is sent on as a GET is a line that is lost.
            redirects: Redirects::Shown,
            ..Call::default()
        }
    }
}

impl Carrier for Web {
    fn carry(&mut self, line: &[u8], _: Time) -> Result<(), Failure> {
        let told = self.runtime.block_on(async {
            tokio::time::timeout(self.post.write_timeout, self.world.fetch(self.call(line))).await
        });
        let failed = |text: String| io::Error::other(format!("failed to perform request: {text}"));
        match told {
            Err(_) => Err(Failure::Carrier(io::ErrorKind::TimedOut.into())),
            Ok(Err(error)) => Err(Failure::Carrier(failed(error.texts().concat()))),
            Ok(Ok(told)) => match told.status {
                200..=299 => Ok(()),
                // It is there, and does not like this line.
                400 | 413 | 415 | 422 => {
                    Err(Failure::Line(failed(format!("status code not 2xx: {}", told.status))))
                }
                other => Err(Failure::Carrier(failed(format!("status code not 2xx: {other}")))),
            },
        }
    }
}
