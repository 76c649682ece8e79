//! One request to the API, before it is written as HTTP.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::upload::Upload;

/// The verbs of the API that the command line uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    /// The verb as messages about a lost connection write it.
    pub(crate) fn capitalised(self) -> &'static str {
        match self {
            Verb::Get => "Get",
            Verb::Put => "Put",
            Verb::Post => "Post",
            Verb::Patch => "Patch",
            Verb::Delete => "Delete",
        }
    }

    pub(crate) fn writes(self) -> bool {
        matches!(self, Verb::Put | Verb::Post)
    }
}

/// A request below `/v1/`.
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Without a leading slash, not yet encoded.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Option<Value>,
    /// A file to send in place of a body.
    pub(crate) file: Option<Upload>,
    /// A token for this call alone.
    pub(crate) token: Option<Zeroizing<String>>,
    /// How long the answer waits under a token of its own, for this call alone.
    pub(crate) wrap_ttl: Option<String>,
    /// Asked on the way to the real call: never wrapped, never shown in its place.
    pub(crate) preflight: bool,
}

impl Call {
    fn new(verb: Verb, path: impl Into<String>, body: Option<Value>) -> Call {
        let path = path.into().trim_start_matches('/').to_owned();
        Call {
            verb,
            path,
            query: Vec::new(),
            body,
            file: None,
            token: None,
            wrap_ttl: None,
            preflight: false,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Call {
        Call::new(Verb::Get, path, None)
    }

    pub(crate) fn list(path: impl Into<String>) -> Call {
        Call::get(path).query("list", "true")
    }

    pub(crate) fn scan(path: impl Into<String>) -> Call {
        Call::get(path).query("scan", "true")
    }

    pub(crate) fn put(path: impl Into<String>, body: Value) -> Call {
        Call::new(Verb::Put, path, Some(body))
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Call {
        Call::new(Verb::Post, path, Some(body))
    }

    pub(crate) fn upload(path: impl Into<String>, file: Upload) -> Call {
        Call { file: Some(file), ..Call::new(Verb::Post, path, None) }
    }

    pub(crate) fn patch(path: impl Into<String>, body: Value) -> Call {
        Call::new(Verb::Patch, path, Some(body))
    }

    pub(crate) fn delete(path: impl Into<String>) -> Call {
        Call::new(Verb::Delete, path, None)
    }

    pub(crate) fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Call {
        self.query.push((name.into(), value.into()));
        self
    }

    pub(crate) fn with_token(mut self, token: Zeroizing<String>) -> Call {
        self.token = Some(token);
        self
    }

    pub(crate) fn wrapped_for(mut self, ttl: String) -> Call {
        self.wrap_ttl = Some(ttl);
        self
    }

    pub(crate) fn preflight(mut self) -> Call {
        self.preflight = true;
        self
    }

    /// The encoded path and query below `prefix`.
    pub(crate) fn target(&self, prefix: &str) -> String {
        let mut target = format!("{prefix}/v1/{}", encode(&self.path, b"/$&+,:;=@"));
        let mut query = self.query.clone();
        query.sort();
        for (at, (name, value)) in query.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(&encode(name, b""));
            target.push('=');
            target.push_str(&encode(value, b""));
        }
        target
    }

    /// The URL, for messages.
    pub(crate) fn url(&self, base: &str) -> String {
        format!("{base}{}", self.target(""))
    }
}

fn encode(text: &str, also_plain: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also_plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_encoded() {
        let call = Call::list("/secret/a b/ü%?#").query("after", "x&y");
        assert_eq!(call.target("/p"), "/p/v1/secret/a%20b/%C3%BC%25%3F%23?after=x%26y&list=true");
    }
}
