//! URLs, taken apart and put together as Go's `net/url` does it.

use std::net::Ipv6Addr;

use gotmpl::{TemplateError, Value};

use crate::agent::templates::{
    functions::{Function, argument, string, wrong},
    language::Made,
    values::{self, text},
};

pub(super) const ALL: [(&str, Function); 2] = [
    ("urlParse", |args| {
        let url =
            Url::read(string(args, 0)?).ok_or_else(|| wrong("urlParse is given something that is no URL"))?;
        Ok(url.value())
    }),
    ("urlJoin", |args| join(argument(args, 0)?)),
];

/// Where a text stands in a URL, which says what must be escaped there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    User,
    Host,
    Zone,
    Path,
    Fragment,
}

#[derive(Default)]
struct Url {
    scheme: String,
    opaque: String,
    user: Option<User>,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

struct User {
    name: String,
    password: Option<String>,
}

impl Url {
    /// Nothing, if it is none.
    fn read(whole: &str) -> Option<Url> {
        let (rest, fragment) = whole.split_once('#').unwrap_or((whole, ""));
        if rest.bytes().any(|b| b < b' ' || b == 0x7f) {
            return None;
        }
        let mut url = Url { fragment: unescaped(fragment, Place::Fragment)?, ..Url::default() };
        if rest == "*" {
            url.path = rest.to_owned();
            return Some(url);
        }
        let (scheme, rest) = scheme(rest)?;
        url.scheme = scheme.to_lowercase();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        url.query = query.to_owned();
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_owned();
                return Some(url);
            }
            if rest.split('/').next().is_some_and(|first| first.contains(':')) {
                return None;
            }
        }
        let named = !url.scheme.is_empty() || !rest.starts_with("///");
        let path = match rest.strip_prefix("//").filter(|_| named) {
            None => rest,
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (url.user, url.host) = self::authority(authority)?;
                path
            }
        };
        url.path = unescaped(path, Place::Path)?;
        Some(url)
    }

    fn value(&self) -> Value {
        values::map(
            [
                ("scheme", text(self.scheme.as_str())),
                ("host", text(self.host.as_str())),
                ("hostname", text(hostname(&self.host))),
                ("path", text(self.path.as_str())),
                ("query", text(self.query.as_str())),
                ("opaque", text(self.opaque.as_str())),
                ("fragment", text(self.fragment.as_str())),
                ("userinfo", text(self.user.as_ref().map(User::shown).unwrap_or_default())),
            ]
            .into_iter(),
        )
    }

    fn shown(&self) -> String {
        let mut out = String::new();
        if !self.scheme.is_empty() {
            out.push_str(&self.scheme);
            out.push(':');
        }
        if !self.opaque.is_empty() {
            out.push_str(&self.opaque);
        } else {
            if !(self.host.is_empty()
                && self.user.is_none()
                && (self.scheme.is_empty() || self.path.is_empty()))
            {
                out.push_str("//");
            }
            if let Some(user) = &self.user {
                out.push_str(&user.shown());
                out.push('@');
            }
            out.push_str(&escaped(&self.host, Place::Host));
            let path = if self.path == "*" { "*".to_owned() } else { escaped(&self.path, Place::Path) };
            if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
                out.push('/');
            }
            // What comes before a colon would be read as a scheme.
            if out.is_empty() && path.split('/').next().is_some_and(|first| first.contains(':')) {
                out.push_str("./");
            }
            out.push_str(&path);
        }
        if !self.query.is_empty() {
            out.push('?');
            out.push_str(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push('#');
            out.push_str(&escaped(&self.fragment, Place::Fragment));
        }
        out
    }
}

impl User {
    fn shown(&self) -> String {
        let name = escaped(&self.name, Place::User);
        match &self.password {
            None => name,
            Some(password) => format!("{name}:{}", escaped(password, Place::User)),
        }
    }
}

fn join(parts: &Value) -> Made {
    let Value::Map(parts) = parts else {
        return Err(wrong("urlJoin wants a map like that of urlParse"));
    };
    let part = |key: &str| -> Result<String, TemplateError> {
        match parts.get(key) {
            None => Ok(String::new()),
            Some(Value::String(part)) => Ok(part.to_string()),
            Some(_) => Err(wrong(format!("urlJoin wants a text as {key}"))),
        }
    };
    let userinfo = part("userinfo")?;
    let user = if userinfo.is_empty() {
        None
    } else {
        let parsed = Url::read(&format!("proto://{userinfo}@host"));
        parsed.ok_or_else(|| wrong("urlJoin is given a userinfo that is none"))?.user
    };
    let url = Url {
        scheme: part("scheme")?,
        opaque: part("opaque")?,
        user,
        host: part("host")?,
        path: part("path")?,
        query: part("query")?,
        fragment: part("fragment")?,
    };
    Ok(text(url.shown()))
}

/// The scheme, which may be missing, and the rest.
fn scheme(whole: &str) -> Option<(&str, &str)> {
    for (at, c) in whole.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at > 0 => return Some((whole.get(..at)?, whole.get(at + 1..)?)),
            ':' => return None,
            _ => break,
        }
    }
    Some(("", whole))
}

fn authority(whole: &str) -> Option<(Option<User>, String)> {
    let Some((user, host)) = whole.rsplit_once('@') else { return Some((None, self::host(whole)?)) };
    let host = self::host(host)?;
    if !user.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c)) {
        return None;
    }
    let (name, password) = match user.split_once(':') {
        None => (user, None),
        Some((name, password)) => (name, Some(unescaped(password, Place::User)?)),
    };
    Some((Some(User { name: unescaped(name, Place::User)?, password }), host))
}

fn host(whole: &str) -> Option<String> {
    let Some(inner) = whole.strip_prefix('[') else {
        if whole.contains('[') {
            return None;
        }
        if let Some((before, port)) = whole.rsplit_once(':')
            && (!is_port(port) || before.contains(':'))
        {
            return None;
        }
        return unescaped(whole, Place::Host);
    };
    let (address, port) = inner.rsplit_once(']')?;
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    let (bare, zone) = match address.find("%25") {
        None => (address, ""),
        Some(at) => address.split_at(at),
    };
    if zone == "%25" {
        return None;
    }
    let bare = unescaped(bare, Place::Host)?;
    bare.parse::<Ipv6Addr>().ok()?;
    Some(format!("[{bare}{}]{port}", unescaped(zone, Place::Zone)?))
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit())
}

/// A host without its port and its brackets.
fn hostname(host: &str) -> &str {
    let host = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether a byte cannot stand there as it is.
fn is_foreign(byte: u8, place: Place) -> bool {
    let among = |all: &str| all.as_bytes().contains(&byte);
    if byte.is_ascii_alphanumeric() || among("-_.~") {
        return false;
    }
    match place {
        Place::Host | Place::Zone => !among("!$&'()*+,;=:[]<>\""),
        Place::Path => !among("$&+,/:;=@"),
        Place::User => !among("$&+,;="),
        Place::Fragment => !among("$&+,/:;=?@!()*"),
    }
}

fn escaped(whole: &str, place: Place) -> String {
    let mut out = String::new();
    for byte in whole.bytes() {
        if is_foreign(byte, place) {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

/// Nothing, if it is not rightly escaped, or stands for what is no text.
fn unescaped(whole: &str, place: Place) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = whole.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if matches!(place, Place::Host | Place::Zone) && byte < 0x80 && is_foreign(byte, place) {
                return None;
            }
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        let meant = u8::try_from(high * 16 + low).ok()?;
        match place {
            // A host may hold letters of other languages so, and nothing that it could not hold as it is.
            Place::Host if high < 8 && meant != b'%' => return None,
            Place::Zone if !matches!(meant, b'%' | b' ') && is_foreign(meant, Place::Host) => return None,
            _ => out.push(meant),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(whole: &str, expect: Option<&str>) {
        assert_eq!(Url::read(whole).map(|url| url.shown()).as_deref(), expect, "{whole}");
    }

    /// What Go refuses is refused, and what it reads is written as Go writes it.
    #[test]
    fn what_is_no_url_is_refused() {
        for whole in [
            "http://h:x/",
            "http://[::1",
            "http://::1/",
            "http://h:80:80/",
            "http://[a]",
            "http://a b/",
            "http://h/%zz",
            ":foo",
            "1a:b",
            "http://%41/",
            "http://u^v@h",
            "http://[::1%25]/",
            "http://h/\u{7f}",
        ] {
            check(whole, None);
        }
        check("HTTP://u%40x:p%3Ay@H:1/%41%2f?q#a b", Some("http://u%40x:p%3Ay@H:1/A/?q#a%20b"));
        check("http://[fe80::1%25en0]:80/é", Some("http://[fe80::1%25en0]:80/%C3%A9"));
    }
}
