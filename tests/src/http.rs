//! A client that adds nothing and hides nothing: what a test writes is what the server reads.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer may take: past it the test has found a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server said.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the body says was wrong, joined.
    pub fn errors(&self) -> String {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error.as_str().unwrap_or("?")).collect::<Vec<_>>().join("; ")
    }

    /// The value at a JSON pointer, as text; panics with the whole answer where there is none.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> String {
        match self.json().pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => panic!("no {pointer} in {self}"),
            Some(other) => other.to_string(),
        }
    }

    /// Goes on if the status is this one, and shows the whole answer if not.
    #[track_caller]
    pub fn must(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Goes on if the status is one of these, and shows the whole answer if not.
    #[track_caller]
    pub fn must_be_any(self, statuses: &[u16]) -> Self {
        assert!(statuses.contains(&self.status), "{self}\nexpected one of {statuses:?}");
        self
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "status {}: {}", self.status, self.text())
    }
}

/// A request as it will be sent: the target is not touched on the way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Any verb, as `LIST`.
    pub verb: String,
    /// The target, from the slash on.
    pub target: String,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body; `None` sends no length either.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// A request without a body.
    pub fn new(verb: &str, target: &str) -> Self {
        Self { verb: verb.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Presents a token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("X-Vault-Token", token)
    }

    /// Carries a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string().into_bytes())
    }

    /// Carries this body as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it on a connection of its own and reads the answer.
    pub fn send(&self, to: SocketAddr) -> io::Result<Reply> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n", self.verb, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        exchange(to, &bytes)
    }
}

/// Sends these bytes on a connection of their own and reads one answer.
pub fn exchange(to: SocketAddr, bytes: &[u8]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    // A server may refuse and close before it has read all: then its answer is what matters.
    let written = stream.write_all(bytes);
    let answer = read_reply(&mut BufReader::new(stream));
    match (written, answer) {
        (_, Ok(reply)) => Ok(reply),
        (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
    }
}

fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line: {first:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| io::Error::other("a header without a colon"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if status == 100 {
        return read_reply(stream);
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    if reply.header("transfer-encoding") == Some("chunked") {
        read_chunks(stream, &mut reply.body)?;
    } else if let Some(length) = reply.header("content-length").and_then(|value| value.parse().ok()) {
        // Fewer bytes than announced are kept too: a HEAD has none, and a test sees a cut body as what it is.
        stream.take(length).read_to_end(&mut reply.body)?;
    } else if status != 204 && status != 304 {
        stream.read_to_end(&mut reply.body)?;
    }
    Ok(reply)
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(stream)?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        stream.take(size).read_to_end(body)?;
        line(stream)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    if stream.read_line(&mut text)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Speaks to one server as one caller.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// A caller without a token.
    pub fn anonymous(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// The same server, as the holder of this token.
    pub fn with(&self, token: &str) -> Self {
        Self { address: self.address, token: Some(token.to_owned()) }
    }

    /// The token it presents, or the empty string.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// Sends a request with this caller's token and gives back what went wrong on the wire, if anything did.
    pub fn try_send(&self, request: &Request) -> io::Result<Reply> {
        match &self.token {
            Some(token) => request.clone().token(token).send(self.address),
            None => request.send(self.address),
        }
    }

    /// Sends a request with this caller's token; a connection that breaks fails the test.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Reply {
        match self.try_send(request) {
            Ok(reply) => reply,
            Err(error) => panic!("{} {}: {error}", request.verb, request.target),
        }
    }

    /// Sends this verb to `/v1/` and the path.
    #[track_caller]
    pub fn call(&self, verb: &str, path: &str) -> Reply {
        self.send(&Request::new(verb, &format!("/v1/{path}")))
    }

    /// Reads.
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.call("GET", path)
    }

    /// Lists.
    #[track_caller]
    pub fn list(&self, path: &str) -> Reply {
        self.call("LIST", path)
    }

    /// Deletes.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path)
    }

    /// Sends a signed message.
    #[track_caller]
    pub fn post_signed(&self, path: &str, body: &Value) -> Reply {
        let request = Request::new("POST", &format!("/v1/{path}")).json(body);
        self.send(&request.header("Content-Type", "application/jose+json"))
    }

    /// Writes this body.
    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Reply {
        self.send(&Request::new("POST", &format!("/v1/{path}")).json(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::read_reply;

    #[track_caller]
    fn check(wire: &str, status: u16, body: &str) {
        let reply = read_reply(&mut wire.as_bytes()).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (status, body));
    }

    #[test]
    fn bodies_end_where_the_server_says() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokrest", 200, "ok");
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            200,
            "abcd",
        );
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "");
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 404, "x");
    }

    #[test]
    fn a_connection_closed_without_an_answer_is_an_error() {
        assert!(read_reply(&mut "".as_bytes()).is_err());
    }
}
