//! A certificate authority of a test's own, and callers that show its certificates over TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use x509::{
    AltNames, Certificate, CrlTemplate, ExtKeyUsage, Extensions, KeyShape, KeyUsage, Padding, PrivateKey,
    RevokedEntry, Scheme, Serial, Subject, Template, Validity, pem,
};

use crate::http::Reply;

/// From 2020 to 2040: always, as far as a test is concerned.
pub const ALWAYS: Validity = Validity { not_before: 1_577_836_800, not_after: 2_208_988_800 };
/// One day of 2020.
pub const PAST: Validity = Validity { not_before: 1_577_836_800, not_after: 1_577_923_200 };

/// A key and its certificate, which may sign others.
pub struct Holder {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key.
    pub key: PrivateKey,
}

/// A certificate to be made.
pub struct Wanted {
    /// The common name.
    pub name: String,
    /// The organizational units.
    pub units: Vec<String>,
    /// Other names.
    pub names: AltNames,
    /// Its lifetime.
    pub validity: Validity,
    /// Its serial, twenty times this.
    pub serial: u8,
    /// What it may be used for.
    pub purposes: Vec<ExtKeyUsage>,
    /// Whether it is a CA.
    pub is_ca: bool,
    /// Extensions besides.
    pub extensions: Extensions,
}

impl Wanted {
    /// A certificate for a client of TLS.
    pub fn client(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            units: Vec::new(),
            names: AltNames::default(),
            validity: ALWAYS,
            serial: 7,
            purposes: vec![ExtKeyUsage::CLIENT_AUTH],
            is_ca: false,
            extensions: Extensions::new(),
        }
    }

    /// A certificate that signs others.
    pub fn ca(name: &str) -> Self {
        Self { is_ca: true, purposes: Vec::new(), ..Self::client(name) }
    }

    /// Signed by itself.
    pub fn by_itself(&self) -> Holder {
        let key = fresh();
        let certificate = self.sign(&key, &self.subject(), &key);
        Holder { certificate, key }
    }

    /// Signed by `issuer`, whether that may or not.
    pub fn by(&self, issuer: &Holder) -> Holder {
        let key = fresh();
        let certificate = self.sign(&key, issuer.certificate.subject_der(), &issuer.key);
        Holder { certificate, key }
    }

    fn subject(&self) -> Vec<u8> {
        let subject =
            Subject { organizational_unit: self.units.clone(), ..Subject::common_name(self.name.clone()) };
        subject.to_der().unwrap()
    }

    fn sign(&self, key: &PrivateKey, issuer: &[u8], signer: &PrivateKey) -> Certificate {
        let mut extensions = self
            .extensions
            .clone()
            .ext_key_usage(&self.purposes)
            .subject_key_id(&key.public().key_id())
            .authority_key_id(&signer.public().key_id())
            .alt_names(&self.names, false)
            .unwrap();
        extensions = match self.is_ca {
            true => extensions.certificate_authority(None).key_usage(KeyUsage::CA),
            false => extensions.not_an_authority(),
        };
        let subject = self.subject();
        let template = Template {
            serial: &Serial::from_magnitude(&[self.serial; 20]).unwrap(),
            validity: self.validity,
            subject: &subject,
            public_key: key.public(),
            extensions: &extensions,
        };
        let scheme = Scheme::choose(signer.public().shape(), 0, Padding::Pkcs1).unwrap();
        Certificate::from_der(&template.sign(issuer, signer, scheme).unwrap()).unwrap()
    }
}

fn fresh() -> PrivateKey {
    PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap()
}

/// A revocation list in PEM, of these serials (one byte, twenty times), which holds until 2040.
pub fn revocation_list(ca: &Holder, serials: &[u8], number: u64) -> String {
    revocation_list_until(2_208_988_800, ca, serials, number)
}

/// The same, which holds until this second.
pub fn revocation_list_until(until: u64, ca: &Holder, serials: &[u8], number: u64) -> String {
    let revoked: Vec<Vec<u8>> = serials
        .iter()
        .map(|serial| RevokedEntry {
            serial: Serial::from_magnitude(&[*serial; 20]).unwrap(),
            revoked_at: 1_577_836_800,
            reason: None,
            invalid_since: None,
        })
        .map(|entry| entry.to_der().unwrap())
        .collect();
    let pieces: Vec<&[u8]> = revoked.iter().map(Vec::as_slice).collect();
    let template = CrlTemplate {
        this_update: 1_577_836_800,
        next_update: until,
        number,
        delta_of: None,
        authority_key_id: &ca.key.public().key_id(),
        revoked: &pieces,
        extensions: Extensions::new(),
    };
    let scheme = Scheme::choose(ca.key.public().shape(), 0, Padding::Pkcs1).unwrap();
    pem::encode(pem::CRL, &template.sign(ca.certificate.subject_der(), &ca.key, scheme).unwrap())
}

impl Holder {
    /// The certificate in PEM, with a newline.
    pub fn pem(&self) -> String {
        format!("{}\n", self.certificate.to_pem())
    }

    /// Writes certificate (and those above it) and key into a folder: the two files.
    pub fn files(&self, folder: &Path, name: &str, above: &[&Holder]) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        let chain: String = [self].iter().chain(above).map(|holder| holder.pem()).collect();
        std::fs::write(&certificate, chain).unwrap();
        std::fs::write(&key, self.key.to_pem(x509::KeyEncoding::Pkcs8).unwrap().as_str()).unwrap();
        (certificate, key)
    }
}

/// A door of a server that speaks TLS, and what one needs to go through it.
pub struct Door {
    folder: PathBuf,
    port: u16,
}

impl Door {
    /// Makes the certificate of a server at `127.0.0.1` and the lines of its listener. Call it before the server starts.
    pub fn new(folder: &Path, port: u16) -> Self {
        let root = Wanted::ca("Door").by_itself();
        let names = AltNames { ip: vec!["127.0.0.1".parse().unwrap()], ..AltNames::default() };
        let own =
            Wanted { names, purposes: vec![ExtKeyUsage::SERVER_AUTH], ..Wanted::client("door") }.by(&root);
        own.files(folder, "door", &[]);
        std::fs::write(folder.join("door-ca.pem"), root.pem()).unwrap();
        Self { folder: folder.to_owned(), port }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The stanza of the listener.
    pub fn stanza(&self) -> String {
        let (port, folder) = (self.port, self.folder.display());
        format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_cert_file = \"{folder}/door.pem\"\n  \
             tls_key_file = \"{folder}/door.key\"\n}}"
        )
    }

    /// Asks through the door, showing the certificate in these files.
    pub fn post(&self, shown: Option<&(PathBuf, PathBuf)>, token: &str, path: &str, body: &Value) -> Reply {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "60",
            "-w",
            "\n%{http_code}",
            "-X",
            "POST",
            "--data",
            &body.to_string(),
        ]);
        curl.arg("--cacert").arg(self.folder.join("door-ca.pem"));
        if let Some((certificate, key)) = shown {
            curl.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if !token.is_empty() {
            curl.args(["-H", &format!("X-Vault-Token: {token}")]);
        }
        let output =
            curl.arg(format!("https://127.0.0.1:{}/v1/{path}", self.port)).output().expect("curl is there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (body, status) = text.rsplit_once('\n').unwrap();
        Reply { status: status.parse().unwrap(), headers: Vec::new(), body: body.as_bytes().to_vec() }
    }
}
