//! The URL by which authenticators take a key: `otpauth://totp/Issuer:account?secret=…`.

use kit::{Error, Result, Secret};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::rfc6238::{Algorithm, Digits};

/// What a label may hold as it is.
const LABEL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');
/// What a value of the query may hold as it is: nothing that ends it.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b':')
    .remove(b'@');

/// What a URL says of a key. What it leaves out is nothing.
#[derive(Default)]
pub struct Said {
    /// Who makes the key.
    pub issuer: Option<String>,
    /// Whose it is.
    pub account_name: String,
    /// In base32.
    pub secret: Zeroizing<String>,
    /// Seconds.
    pub period: Option<i64>,
    /// How many.
    pub digits: Option<i64>,
    /// The API's word.
    pub algorithm: Option<String>,
}

/// Writes the URL of a key.
pub fn url(
    issuer: &str,
    account_name: &str,
    secret: &Secret<String>,
    algorithm: Algorithm,
    digits: Digits,
    period_seconds: u64,
) -> Secret<String> {
    let label = format!("{issuer}:{account_name}");
    Secret::new(format!(
        "otpauth://totp/{}?algorithm={}&digits={}&issuer={}&period={period_seconds}&secret={}",
        utf8_percent_encode(&label, LABEL),
        algorithm.name(),
        digits.count(),
        utf8_percent_encode(issuer, VALUE),
        secret.expose(),
    ))
}

/// Reads the URL of a key.
///
/// # Errors
/// If it is no such URL.
pub fn read(url: &str) -> Result<Said> {
    let broken = || Error::invalid("an error occurred while parsing url string");
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let (front, query) = url.split_once('?').unwrap_or((url, ""));
    let path = decode(path_of(front).ok_or_else(broken)?).ok_or_else(broken)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let mut said = Said::default();
    match path.split_once(':') {
        Some((issuer, account)) => {
            said.issuer = Some(issuer.to_owned());
            account.clone_into(&mut said.account_name);
        }
        None => path.clone_into(&mut said.account_name),
    }
    // The first of equal names counts, and what does not decode is passed over, as Go does.
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plus = |text: &str| Zeroizing::new(text.replace('+', " "));
        let (Some(name), Some(value)) = (decode(&plus(name)), decode(&plus(value))) else { continue };
        if value.is_empty() || seen.contains(&name) {
            continue;
        }
        said.take(&name, &value)?;
        seen.push(name);
    }
    Ok(said)
}

impl Said {
    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        let number = || {
            value
                .parse()
                .map(Some)
                .map_err(|_| Error::invalid(format!("an error occurred while parsing {name} value in url")))
        };
        match name {
            "issuer" => self.issuer = Some(value.to_owned()),
            "secret" => self.secret = Zeroizing::new(value.to_owned()),
            "period" => self.period = number()?,
            "digits" => self.digits = number()?,
            "algorithm" => self.algorithm = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// The path of a URL without its query; nothing if it is none.
fn path_of(front: &str) -> Option<&str> {
    if front.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let rest = match front.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            let good =
                scheme.starts_with(|char: char| char.is_ascii_alphabetic()) && scheme.bytes().all(letters);
            good.then_some(rest)?
        }
        _ => front,
    };
    match rest.strip_prefix("//") {
        Some(rest) => Some(rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("")),
        None => Some(rest),
    }
}

/// Takes the percent signs out; nothing if one stands alone or the bytes are no text.
fn decode(text: &str) -> Option<Zeroizing<String>> {
    let whole =
        text.split('%').skip(1).all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2);
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|_| whole)?;
    Some(Zeroizing::new(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expect: Option<(Option<&str>, &str, &str)>) {
        let said = read(url).ok();
        let found = said
            .as_ref()
            .map(|said| (said.issuer.as_deref(), said.account_name.as_str(), said.secret.as_str()));
        assert_eq!(found, expect, "{url}");
    }

    #[test]
    fn urls_are_read() {
        check("otpauth://totp/V:a?secret=Y64&issuer=W", Some((Some("W"), "a", "Y64")));
        check("otpauth://totp/I%20x:a%3Ab?secret=aa&issuer=", Some((Some("I x"), "a:b", "aa")));
        check("otpauth://totp/a+b?secret=a&secret=b", Some((None, "a+b", "a")));
        check("otpauth://totp/a?issuer=x+y%26z&secret=a", Some((Some("x y&z"), "a", "a")));
        check("otpauth://totp?secret=a#x", Some((None, "", "a")));
        check("otpauth://totp/a?secret=%zz", Some((None, "a", "")));
        check("otpauth://totp/%zz?secret=a", None);
        check("::x", None);
        check("otpauth://totp/a?period=x", None);
        check("otpauth://totp/a?digits=6.0", None);
        check("otpauth://totp/a\nb?secret=a", None);
    }
}
