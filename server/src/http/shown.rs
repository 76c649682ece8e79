//! The certificate that a client has shown to a believed proxy, as that passes it on in a header.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::{CertificateHeader, Decoder};

/// How many certificates one header may hold: the client's own and those that lead to its CA.
const CHAIN_MAX: usize = 10;

/// A value on its way to a certificate.
enum Value<'a> {
    Text(Cow<'a, [u8]>),
    /// In DER, the client's own first.
    Certificates(Vec<Vec<u8>>),
}

/// The chain in DER that the header holds; empty, if there is no header: then the client has shown none.
///
/// # Errors
/// If it does not read, or comes twice: then one of them is not the proxy's.
pub(crate) fn certificates<'a>(
    rule: &CertificateHeader,
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Vec<u8>>, String> {
    let Some(value) = values.next() else { return Ok(Vec::new()) };
    if values.next().is_some() {
        return Err(format!("the header {} comes more than once", rule.name));
    }
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let unreadable =
        || format!("the header {} does not hold a certificate as this server expects it", rule.name);
    let mut value = Value::Text(Cow::Borrowed(value));
    for decoder in &rule.decoders {
        value = match value {
            Value::Text(text) => decoder.apply(text).ok_or_else(unreadable)?,
            done @ Value::Certificates(_) => done,
        };
    }
    let chain = match value {
        Value::Certificates(chain) => chain,
        Value::Text(text) => vec![STANDARD.decode(&text).map_err(|_| unreadable())?],
    };
    let reads =
        |der: &Vec<u8>| x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty());
    if chain.is_empty() || chain.len() > CHAIN_MAX || !chain.iter().all(reads) {
        return Err(unreadable());
    }
    Ok(chain)
}

impl Decoder {
    fn apply<'a>(self, text: Cow<'a, [u8]>) -> Option<Value<'a>> {
        match self {
            Self::Url => Some(Value::Text(Cow::Owned(unescaped(&text)?))),
            Self::Pem => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
                Some(Value::Certificates(chain.ok()?.into_iter().map(|it| it.to_vec()).collect()))
            }
            Self::Base64 => Some(Value::Certificates(vec![STANDARD.decode(&text).ok()?])),
            Self::Rfc9440 => {
                let text = text.trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
                Some(Value::Certificates(vec![STANDARD.decode(text).ok()?]))
            }
            Self::Envoy => {
                // More than one element: the first ones are what others said to Envoy.
                if text.contains(&b',') {
                    return None;
                }
                let pairs = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                let mut found = pairs.filter_map(|pair| pair.strip_prefix(b"Cert="));
                let (certificate, None) = (found.next()?, found.next()) else { return None };
                let quoted = certificate.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\""));
                Some(Value::Text(Cow::Owned(unescaped(quoted.unwrap_or(certificate))?)))
            }
        }
    }
}

/// Percent-encoding undone. A plus stays one: base64 has them.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            plain.push(*byte);
            continue;
        }
        let ([high, low], after) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        plain.push(digit(*high)? << 4 | digit(*low)?);
        rest = after;
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["ann".to_owned()]).unwrap().self_signed(&key).unwrap();
        (made.pem(), made.der().to_vec())
    }

    fn escaped(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    #[track_caller]
    fn check(decoders: &[Decoder], values: &[&str], expect: Result<&[u8], ()>) {
        let rule = CertificateHeader { name: "client-cert".parse().unwrap(), decoders: decoders.to_vec() };
        let found = certificates(&rule, values.iter().map(|value| value.as_bytes()));
        let expect = expect.map(|der| if der.is_empty() { Vec::new() } else { vec![der.to_vec()] });
        assert_eq!(found.map_err(drop), expect, "{decoders:?} {values:?}");
    }

    #[test]
    fn headers_of_the_common_proxies_read() {
        let (pem, der) = made();
        let base64 = STANDARD.encode(&der);
        check(&[], &[&base64], Ok(&der));
        check(&[Decoder::Base64], &[&base64], Ok(&der));
        check(&[Decoder::Url], &[&escaped(&base64)], Ok(&der));
        check(&[Decoder::Url, Decoder::Base64], &[&escaped(&base64)], Ok(&der));
        check(&[Decoder::Url, Decoder::Pem], &[&escaped(&pem)], Ok(&der));
        check(&[Decoder::Rfc9440], &[&format!(":{base64}:")], Ok(&der));
        let envoy = format!("By=spiffe://a;Hash=00;Cert=\"{}\";Subject=\"CN=ann\"", escaped(&pem));
        check(&[Decoder::Envoy, Decoder::Pem], &[&envoy], Ok(&der));
        check(&[Decoder::Url, Decoder::Pem], &[], Ok(&[]));
        check(&[Decoder::Url, Decoder::Pem], &[""], Ok(&[]));
    }

    #[test]
    fn what_does_not_read_or_comes_twice_is_refused() {
        let (pem, der) = made();
        let base64 = STANDARD.encode(&der);
        check(&[], &[&base64, &base64], Err(()));
        check(&[], &["nonsense"], Err(()));
        check(&[], &[&STANDARD.encode("no certificate")], Err(()));
        check(&[], &[&STANDARD.encode([&der[..], b"more"].concat())], Err(()));
        check(&[Decoder::Rfc9440], &[&base64], Err(()));
        check(&[Decoder::Url], &["%4"], Err(()));
        check(&[Decoder::Pem], &["-----BEGIN CERTIFICATE-----"], Err(()));
        let one = format!("Cert=\"{}\"", escaped(&pem));
        check(&[Decoder::Envoy, Decoder::Pem], &[&format!("{one},{one}")], Err(()));
        check(&[Decoder::Envoy, Decoder::Pem], &[&format!("{one};{one}")], Err(()));
        check(&[Decoder::Envoy, Decoder::Pem], &["By=spiffe://a"], Err(()));
    }
}
