//! How certificates and keys are written into an answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::loose::Text;
use kit::{Error, Result, Secret};
use schemars::JsonSchema;
use serde::Serialize;
use x509::{KeyEncoding, PrivateKey, pem};

use super::authorities::{Issuer, refused};

/// The form a caller wants.
#[derive(Clone, Copy)]
pub(super) struct Format {
    form: Form,
    key: KeyEncoding,
    /// In DER, a key in PEM was asked for.
    key_in_pem: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Pem,
    Der,
    Bundle,
}

impl Format {
    /// Reads `format` and `private_key_format`.
    pub(super) fn read(format: Option<Text>, key_format: Option<Text>) -> Result<Self> {
        let form = match format.unwrap_or_default().0.to_ascii_lowercase().as_str() {
            "" | "pem" => Form::Pem,
            "der" => Form::Der,
            "pem_bundle" => Form::Bundle,
            _ => {
                return Err(Error::invalid(
                    "the \"format\" path parameter must be \"pem\", \"der\", or \"pem_bundle\"",
                ));
            }
        };
        let (key, key_in_pem) = match key_format.unwrap_or_default().0.to_ascii_lowercase().as_str() {
            "" | "der" => (KeyEncoding::Traditional, false),
            "pem" => (KeyEncoding::Traditional, true),
            "pkcs8" => (KeyEncoding::Pkcs8, false),
            other => {
                return Err(Error::invalid(format!(
                    "private_key_format is {other:?}; it must be \"der\", \"pem\" or \"pkcs8\""
                )));
            }
        };
        Ok(Self { form, key, key_in_pem })
    }

    /// One certificate or request of this label.
    pub(super) fn show(self, label: &str, der: &[u8]) -> String {
        match self.form {
            Form::Der => STANDARD.encode(der),
            Form::Pem | Form::Bundle => pem::encode(label, der),
        }
    }

    /// An issuer.
    pub(super) fn show_issuer(self, issuer: &Issuer) -> String {
        match self.form {
            Form::Der => STANDARD.encode(issuer.certificate.der()),
            Form::Pem | Form::Bundle => issuer.pem.clone(),
        }
    }

    /// A private key.
    pub(super) fn show_key(self, key: &PrivateKey) -> Result<Secret<String>> {
        let text = match self.form {
            Form::Der if !self.key_in_pem => STANDARD.encode(&*key.to_der(self.key).map_err(refused)?),
            _ => key.to_pem(self.key).map_err(refused)?.to_string(),
        };
        Ok(Secret::new(text))
    }

    /// The certificate field of an answer: in a bundle with the key before and the chain behind it.
    pub(super) fn bundle(
        self,
        certificate: String,
        key: Option<&PrivateKey>,
        chain: &[String],
    ) -> Result<Secret<String>> {
        if self.form != Form::Bundle {
            return Ok(Secret::new(certificate));
        }
        let mut text = String::new();
        if let Some(key) = key {
            text.push_str(&key.to_pem(KeyEncoding::Traditional).map_err(refused)?);
            text.push('\n');
        }
        text.push_str(&certificate);
        for above in chain {
            text.push('\n');
            text.push_str(above);
        }
        Ok(Secret::new(text))
    }
}

/// The issuer and those above it, in the form that was asked for.
pub(super) fn chain(above: &[&Issuer], format: Format, remove_roots: bool) -> Vec<String> {
    let kept = above.iter().filter(|above| !(remove_roots && above.is_root));
    kept.map(|above| format.show_issuer(above)).collect()
}

/// What an issued certificate is answered with.
#[derive(JsonSchema, Serialize)]
pub(super) struct Issued {
    /// The issuer and those above it. Where none is to be shown, nor is this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ca_chain: Vec<String>,
    /// The certificate; in a bundle with its key and its chain.
    pub(super) certificate: Secret<String>,
    /// Its end, in seconds since 1970.
    pub(super) expiration: u64,
    /// The issuer's certificate.
    pub(super) issuing_ca: String,
    /// Its start, in seconds since 1970.
    pub(super) not_before: u64,
    /// The key that was made for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) private_key: Option<Secret<String>>,
    /// The type of that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) private_key_type: Option<&'static str>,
    /// Its serial number.
    pub(super) serial_number: String,
}
