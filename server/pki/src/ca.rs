//! Making CAs: roots of this mount, requests for intermediates, and signing the intermediates of others.

use std::sync::Arc;

use kit::loose::{Flag, Number, Text, Texts};
use kit::{Command, Error, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::Serialize;
use x509::{
    AltNames, Certificate, ExtKeyUsage, Extensions, KeyUsage, PrivateKey, Request, RequestTemplate, Scheme,
    Subject, Subtrees, Template, pem,
};

use super::authorities::{Authorities, DEFAULT, Issuer, authorities, refused};
use super::certify::{Decided, Signer};
use super::fields::{AskedCa, ca_operation, flag, key_shape, text, texts, unsigned, warn_of_length};
use super::issuers::{NewIssuer, add_issuer, check_issuer_name};
use super::keys::{add_key, check_key_name};
use super::lint::NOBODY;
use super::reply::chain;
use super::rules::ext_key_usages;
use super::store::{Id, URLS, new_serial, owner};
use super::urls::{urls_of, urls_of_new};
use super::{Pki, csr_values, lifetime, requests};

/// What an operation asks for in name constraints: permitted, and excluded.
macro_rules! constraints {
    ($asked:expr) => {{
        let permitted = Subtrees {
            dns: named($asked.permitted_dns_domains.take()),
            email: named($asked.permitted_email_addresses.take()),
            uri: named($asked.permitted_uri_domains.take()),
            ip: named($asked.permitted_ip_ranges.take()),
        };
        let excluded = Subtrees {
            dns: named($asked.excluded_dns_domains.take()),
            email: named($asked.excluded_email_addresses.take()),
            uri: named($asked.excluded_uri_domains.take()),
            ip: named($asked.excluded_ip_ranges.take()),
        };
        (permitted, excluded)
    }};
}

ca_operation! {
    /// Makes a root: a key, a certificate that it signs itself, and an issuer of the two.
    GenerateRoot {
        /// `internal`, `exported` (the answer shows the key, once), or `existing`.
        exported: String,
        /// Purposes by name.
        ext_key_usage: Option<Texts>,
        /// Purposes by number.
        ext_key_usage_oids: Option<Texts>,
        /// Name of the new issuer.
        issuer_name: Option<Text>,
        /// The size of the key; 0 for the usual one of its type.
        key_bits: Option<Number>,
        /// Name of the new key.
        key_name: Option<Text>,
        /// Which key to use, with `existing`.
        key_ref: Option<Text>,
        /// The type of the key: `rsa`, `ec`, `ed25519` or `ml-dsa`.
        key_type: Option<Text>,
        /// What the key may be used for, besides signing certificates and lists.
        key_usage: Option<Texts>,
        /// How many CAs may follow below; -1 for any number.
        max_path_length: Option<Number>,
        /// The size of an ML-DSA key, which `key_bits` says nothing of: `44`, `65` or `87`.
        parameter_set: Option<Text>,
        /// Domains below which, and below which alone, this CA may name hosts.
        permitted_dns_domains: Option<Texts>,
        /// Mail addresses, or the hosts of such, beside which it may name none.
        permitted_email_addresses: Option<Texts>,
        /// Networks, like `10.0.0.0/8`, beside whose addresses it may name none.
        permitted_ip_ranges: Option<Texts>,
        /// Hosts of URIs beside which it may name none.
        permitted_uri_domains: Option<Texts>,
        /// Domains below which it may name no host.
        excluded_dns_domains: Option<Texts>,
        /// Mail addresses, or the hosts of such, that it may not name.
        excluded_email_addresses: Option<Texts>,
        /// Networks whose addresses it may not name.
        excluded_ip_ranges: Option<Texts>,
        /// Hosts of URIs that it may not name.
        excluded_uri_domains: Option<Texts>,
    }
}

ca_operation! {
    /// Makes a key and a request for a CA certificate, to be signed elsewhere.
    GenerateIntermediate {
        /// `internal`, `exported` (the answer shows the key, once), or `existing`.
        exported: Option<Text>,
        /// Whether the request asks expressly to become a CA, as some signers want.
        add_basic_constraints: Option<Flag>,
        /// The size of the key; 0 for the usual one of its type.
        key_bits: Option<Number>,
        /// Name of the new key.
        key_name: Option<Text>,
        /// Which key to use, with `existing`.
        key_ref: Option<Text>,
        /// The type of the key: `rsa`, `ec`, `ed25519` or `ml-dsa`.
        key_type: Option<Text>,
        /// The size of an ML-DSA key, which `key_bits` says nothing of: `44`, `65` or `87`.
        parameter_set: Option<Text>,
    }
}

ca_operation! {
    /// Signs the request of an intermediate CA.
    SignIntermediate {
        /// The certificate signing request, in PEM.
        csr: Option<Text>,
        /// Purposes by name.
        ext_key_usage: Option<Texts>,
        /// Purposes by number.
        ext_key_usage_oids: Option<Texts>,
        /// Who signs: a name, an id, or `default`.
        issuer_ref: Option<Text>,
        /// What the key may be used for, besides signing certificates and lists.
        key_usage: Option<Texts>,
        /// How many CAs may follow below; -1 for as many as the issuer allows.
        max_path_length: Option<Number>,
        /// Domains below which, and below which alone, the new CA may name hosts.
        permitted_dns_domains: Option<Texts>,
        /// Mail addresses, or the hosts of such, beside which it may name none.
        permitted_email_addresses: Option<Texts>,
        /// Networks, like `10.0.0.0/8`, beside whose addresses it may name none.
        permitted_ip_ranges: Option<Texts>,
        /// Hosts of URIs beside which it may name none.
        permitted_uri_domains: Option<Texts>,
        /// Domains below which it may name no host.
        excluded_dns_domains: Option<Texts>,
        /// Mail addresses, or the hosts of such, that it may not name.
        excluded_email_addresses: Option<Texts>,
        /// Networks whose addresses it may not name.
        excluded_ip_ranges: Option<Texts>,
        /// Hosts of URIs that it may not name.
        excluded_uri_domains: Option<Texts>,
        /// The subject key id in hex, where it must be a given one.
        skid: Option<Text>,
        /// Whether subject and extensions of the request count, not the parameters.
        use_csr_values: Option<Flag>,
    }
}

const ROOT_ROUTES: [Route; 3] = [
    Route::post("root/generate/{exported}").logged().heavy(),
    Route::post("issuers/generate/root/{exported}").logged().heavy(),
    Route::post("root/rotate/{exported}").logged().heavy(),
];
const INTERMEDIATE_ROUTES: [Route; 3] = [
    Route::post("intermediate/generate/{exported}").logged().heavy(),
    Route::post("issuers/generate/intermediate/{exported}").logged().heavy(),
    Route::post("intermediate/cross-sign").logged().heavy(),
];
const SIGN_ROUTES: [Route; 2] = [
    Route::post("root/sign-intermediate").logged(),
    Route::post("issuer/{issuer_ref}/sign-intermediate").logged(),
];

/// The place of `root/rotate` and of `intermediate/cross-sign` in their lists.
const ROTATE: usize = 2;
const CROSS_SIGN: usize = 2;
/// How `root/rotate` names the new issuer.
pub(super) const NEXT: &str = "next";

/// What a new root is answered with.
#[derive(JsonSchema, Serialize)]
pub(super) struct NewRoot {
    /// Its certificate; in a bundle with its key.
    certificate: Secret<String>,
    /// Its end, in seconds since 1970.
    expiration: u64,
    /// The id of the issuer.
    pub(super) issuer_id: String,
    /// The name of the issuer.
    issuer_name: String,
    /// Its certificate again.
    issuing_ca: String,
    /// The id of its key.
    key_id: String,
    /// The name of its key.
    key_name: String,
    /// Its key, where it was to be exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<Secret<String>>,
    /// The type of that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key_type: Option<&'static str>,
    /// Its serial number.
    serial_number: String,
}

/// What a new request is answered with.
#[derive(JsonSchema, Serialize)]
pub(super) struct NewRequest {
    /// The request.
    pub(super) csr: Secret<String>,
    /// The id of its key.
    pub(super) key_id: String,
    /// Its key, where it was to be exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<Secret<String>>,
    /// The type of that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key_type: Option<&'static str>,
}

/// What a signed CA is answered with.
#[derive(JsonSchema, Serialize)]
pub(super) struct SignedCa {
    /// The new CA and those above it.
    ca_chain: Vec<String>,
    /// Its certificate.
    pub(super) certificate: Secret<String>,
    /// Its end, in seconds since 1970.
    expiration: u64,
    /// Who signed it.
    issuing_ca: String,
    /// Its serial number.
    serial_number: String,
}

impl<const AT: usize> Command<Pki> for GenerateRoot<AT> {
    const ROUTE: Route = ROOT_ROUTES[AT];
    type Reply = NewRoot;

    fn run(mut self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<NewRoot>> {
        let asked = self.take_asked()?;
        let mode = KeyMode::read(&self.exported)?;
        let mut name = text(self.issuer_name.take());
        let all = Authorities::load(cx)?;
        if AT == ROTATE && name.is_empty() && all.issuer(NEXT).is_none() {
            name = NEXT.to_owned();
        }
        check_issuer_name(&name, None, &all)?;
        let path_length = path_length(self.max_path_length, None)?;
        let key = self.key(mode, &all, cx)?;
        let shape = key.private.public().shape();
        let scheme = Scheme::choose(shape, asked.signature_bits, asked.padding).map_err(refused)?;
        let id = Id::new(cx);
        let urls = urls_of_new(id, cx)?;
        if urls.is_empty() {
            cx.warn(NO_URLS);
        }
        if asked.subject == Subject::default() {
            cx.warn(NO_SUBJECT);
        }
        warn_of_length(&asked.subject, cx);
        let usage = KeyUsage::parse(&texts(self.key_usage.take())).map_err(refused)?.fitting(shape.family);
        let purposes = purposes(self.ext_key_usage.take(), self.ext_key_usage_oids.take())?;
        let (permitted, excluded) = constraints!(self);
        let usage = KeyUsage::CA.with(usage);
        let draft = Draft { path_length, usage, purposes, permitted, excluded };
        let key_id = key.private.public().key_id();
        let extensions = draft.extensions(&asked, &key_id, &key_id)?;
        let extensions = urls.into_extensions(extensions)?;
        let template = Template {
            serial: &new_serial(cx),
            validity: lifetime::of_ca(&asked.lifetime, asked.not_before_duration, cx)?,
            subject: &asked.subject.to_der().map_err(refused)?,
            public_key: key.private.public(),
            extensions: &extensions,
        };
        let signer = Signer::Itself(id, &key.private);
        let der = Decided { template, signer, scheme }.issue(cx, "", String::new())?;
        let certificate = Certificate::from_der(&der).map_err(refused)?;
        let new = NewIssuer { id, name: name.clone(), key: Some(key.id), certificate: &certificate };
        add_issuer(cx, new)?;
        root_reply(&asked, mode, &key, id, name, &certificate)
    }
}

fn root_reply(
    asked: &AskedCa,
    mode: KeyMode,
    key: &CaKey,
    id: Id,
    name: String,
    certificate: &Certificate,
) -> Result<Reply<NewRoot>> {
    let shown = (mode == KeyMode::Exported).then_some(&*key.private);
    let pem = asked.format.show(pem::CERTIFICATE, certificate.der());
    Ok(Reply::Data(NewRoot {
        certificate: asked.format.bundle(pem.clone(), shown, &[])?,
        expiration: certificate.validity().not_after,
        issuer_id: id.to_string(),
        issuer_name: name,
        issuing_ca: pem,
        key_id: key.id.to_string(),
        key_name: key.name.clone(),
        private_key: shown.map(|key| asked.format.show_key(key)).transpose()?,
        private_key_type: shown.map(|key| key.public().shape().family.name()),
        serial_number: certificate.serial().colons(),
    }))
}

impl<const AT: usize> GenerateRoot<AT> {
    fn key(&mut self, mode: KeyMode, all: &Authorities, cx: &mut Writing<'_>) -> Result<CaKey> {
        let wanted = WantedKey {
            mode,
            name: text(self.key_name.take()),
            reference: text(self.key_ref.take()),
            key_type: text(self.key_type.take()),
            key_bits: unsigned(self.key_bits),
            parameter_set: text(self.parameter_set.take()),
        };
        wanted.obtain(all, cx)
    }
}

impl<const AT: usize> Command<Pki> for GenerateIntermediate<AT> {
    const ROUTE: Route = INTERMEDIATE_ROUTES[AT];
    type Reply = NewRequest;

    fn run(mut self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<NewRequest>> {
        let asked = self.take_asked()?;
        let mode = match (AT, text(self.exported.take()).as_str()) {
            (CROSS_SIGN, "") => KeyMode::Existing,
            (_, mode) => KeyMode::read(mode)?,
        };
        let wanted = WantedKey {
            mode,
            name: text(self.key_name.take()),
            reference: text(self.key_ref.take()),
            key_type: text(self.key_type.take()),
            key_bits: unsigned(self.key_bits),
            parameter_set: text(self.parameter_set.take()),
        };
        let all = Authorities::load(cx)?;
        let key = wanted.obtain(&all, cx)?;
        let shape = key.private.public().shape();
        let scheme = Scheme::choose(shape, asked.signature_bits, asked.padding).map_err(refused)?;
        let mut extensions = Extensions::new();
        if flag(self.add_basic_constraints) {
            extensions = extensions.key_usage(KeyUsage::CA).certificate_authority(None);
        }
        let extensions =
            extensions.alt_names(&ca_names(&asked)?, asked.subject == Subject::default()).map_err(refused)?;
        let subject = asked.subject.to_der().map_err(refused)?;
        warn_of_length(&asked.subject, cx);
        let template = RequestTemplate { subject: &subject, extensions: &extensions };
        let der = template.sign(&key.private, scheme).map_err(refused)?;
        if URLS.get(cx)?.is_empty() {
            cx.warn(format!("{NO_URLS} {NO_URLS_ABOVE}"));
        }
        let shown = (mode == KeyMode::Exported).then_some(&*key.private);
        Ok(Reply::Data(NewRequest {
            csr: asked.format.bundle(asked.format.show(pem::REQUEST, &der), shown, &[])?,
            key_id: key.id.to_string(),
            private_key: shown.map(|key| asked.format.show_key(key)).transpose()?,
            private_key_type: shown.map(|key| key.public().shape().family.name()),
        }))
    }
}

impl<const AT: usize> Command<Pki> for SignIntermediate<AT> {
    const ROUTE: Route = SIGN_ROUTES[AT];
    type Reply = SignedCa;

    fn run(mut self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<SignedCa>> {
        let asked = self.take_asked()?;
        let request = requests::read(self.csr.take())?;
        let reference = self.issuer_ref.take().map_or(DEFAULT.to_owned(), |text| text.0);
        let all = authorities(cx)?;
        let (issuer, key) = all.signer(&reference)?;
        let draft = self.draft(issuer, &request)?;
        let path_length = draft.path_length;
        let mut extensions = self.extensions(&asked, &request, issuer, draft)?;
        if flag(self.use_csr_values) {
            extensions = csr_values::bind(cx, extensions, &request)?;
        }
        let subject = self.subject(&asked, &request)?;
        if subject == NOBODY {
            cx.warn(NO_SUBJECT);
        }
        warn_of_length(&asked.subject, cx);
        let urls = urls_of(issuer, cx)?;
        if urls.is_empty() {
            cx.warn(NO_URLS);
        }
        if path_length == Some(0) {
            cx.warn(PATH_ENDS);
        }
        let extensions = urls.into_extensions(extensions)?;
        let validity = lifetime::of_ca(&asked.lifetime, asked.not_before_duration, cx)?;
        let end = lifetime::of_intermediate(validity, issuer, cx);
        let serial = new_serial(cx);
        let template = Template {
            serial: &serial,
            validity: x509::Validity { not_after: end, ..validity },
            subject: &subject,
            public_key: request.public_key(),
            extensions: &extensions,
        };
        let scheme = issuer.scheme(asked.signature_bits, asked.padding)?;
        let signer = Signer::Issuer(&all, issuer, key);
        let der = Decided { template, signer, scheme }.issue(cx, "", owner(cx.caller()))?;
        let above = chain(&all.chain(issuer, cx.now()), asked.format, false);
        let shown = asked.format.show(pem::CERTIFICATE, &der);
        Ok(Reply::Data(SignedCa {
            certificate: asked.format.bundle(shown.clone(), None, &above)?,
            ca_chain: std::iter::once(shown).chain(above).collect(),
            expiration: end,
            issuing_ca: asked.format.show_issuer(issuer),
            serial_number: serial.colons(),
        }))
    }
}

impl<const AT: usize> SignIntermediate<AT> {
    /// What the new CA may do: what was asked for, within what its issuer may.
    fn draft(&mut self, issuer: &Issuer, request: &Request) -> Result<Draft> {
        let asked = match (flag(self.use_csr_values), request.path_length()) {
            (true, Some(length)) if self.max_path_length.is_none() => Some(Number(length.into())),
            _ => self.max_path_length,
        };
        let usage = KeyUsage::parse(&texts(self.key_usage.take())).map_err(refused)?;
        let usage = match flag(self.use_csr_values) {
            true => csr_values::key_usage(request, usage)?,
            false => KeyUsage::CA.with(usage),
        };
        let (permitted, excluded) = constraints!(self);
        Ok(Draft {
            path_length: path_length(asked, Some(issuer))?,
            usage: usage.fitting(request.public_key().shape().family),
            purposes: purposes(self.ext_key_usage.take(), self.ext_key_usage_oids.take())?,
            permitted,
            excluded,
        })
    }

    fn subject(&self, asked: &AskedCa, request: &Request) -> Result<Vec<u8>> {
        match flag(self.use_csr_values) {
            true => Ok(request.subject_der().to_vec()),
            false if asked.subject.common_name.is_empty() => {
                let common_name = request.subject().common_name.clone();
                Subject { common_name, ..asked.subject.clone() }.to_der().map_err(refused)
            }
            false => asked.subject.to_der().map_err(refused),
        }
    }

    /// The extensions of the new CA but for what its request binds it to.
    fn extensions(
        &self,
        asked: &AskedCa,
        request: &Request,
        issuer: &Issuer,
        draft: Draft,
    ) -> Result<Extensions> {
        let own =
            match self.skid.as_ref().map(|text| text.0.replace([':', '-'], "")).filter(|hex| !hex.is_empty())
            {
                None => request.public_key().key_id(),
                Some(hex) => hex::decode(&hex)
                    .map_err(|_| Error::invalid(format!("cannot parse requested SKID value {hex} as hex")))?,
            };
        let authority = issuer.certificate.subject_key_id();
        let authority = authority.unwrap_or_else(|| issuer.certificate.public_key().key_id());
        let extensions = draft.extensions(asked, &own, &authority)?;
        if !flag(self.use_csr_values) {
            return Ok(extensions);
        }
        extensions.alt_names(request.alt_names(), request.subject_der() == NOBODY).map_err(refused)
    }
}

/// Where the key of a new CA comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyMode {
    Internal,
    Exported,
    Existing,
}

impl KeyMode {
    fn read(text: &str) -> Result<Self> {
        match text {
            "internal" => Ok(Self::Internal),
            "exported" => Ok(Self::Exported),
            "existing" => Ok(Self::Existing),
            "kms" => Err(Error::invalid(
                "keys in a KMS are not supported; use \"internal\", \"exported\" or \"existing\"",
            )),
            _ => Err(Error::invalid(
                "the \"exported\" path parameter must be \"internal\", \"existing\", exported\" or \"kms\"",
            )),
        }
    }
}

/// The key of a CA, with the record it has.
struct CaKey {
    id: Id,
    name: String,
    private: Arc<PrivateKey>,
}

struct WantedKey {
    mode: KeyMode,
    name: String,
    reference: String,
    key_type: String,
    key_bits: u64,
    parameter_set: String,
}

impl WantedKey {
    fn obtain(self, all: &Authorities, cx: &mut Writing<'_>) -> Result<CaKey> {
        if self.mode == KeyMode::Existing {
            let reference = if self.reference.is_empty() { DEFAULT } else { &self.reference };
            let key = all.key(reference).ok_or_else(|| {
                Error::invalid(format!(
                    "failed to lookup public key from existing key: unable to find PKI key for reference: {reference}"
                ))
            })?;
            return Ok(CaKey { id: key.id, name: key.name.clone(), private: Arc::clone(&key.private) });
        }
        check_key_name(&self.name, None, all)?;
        let key_type = if self.key_type.is_empty() { "rsa" } else { &self.key_type };
        let shape = key_shape(key_type, self.key_bits, &self.parameter_set)?;
        let private = cx.once(|| PrivateKey::generate(shape).map(Arc::new).map_err(refused))?;
        let id = add_key(cx, &self.name, &private, all)?;
        Ok(CaKey { id, name: self.name, private })
    }
}

/// What a CA certificate says, besides its names.
struct Draft {
    path_length: Option<u8>,
    usage: KeyUsage,
    purposes: Vec<ExtKeyUsage>,
    permitted: Subtrees,
    excluded: Subtrees,
}

impl Draft {
    fn extensions(&self, asked: &AskedCa, own: &[u8], authority: &[u8]) -> Result<Extensions> {
        Extensions::new()
            .key_usage(self.usage)
            .ext_key_usage(&self.purposes)
            .certificate_authority(self.path_length)
            .subject_key_id(own)
            .authority_key_id(authority)
            .alt_names(&ca_names(asked)?, asked.subject == Subject::default())
            .and_then(|extensions| extensions.name_constraints(&self.permitted, &self.excluded))
            .map_err(refused)
    }
}

fn ca_names(asked: &AskedCa) -> Result<AltNames> {
    let mut names = asked.names.alternative()?;
    asked.names.add_common_name(&asked.names.common_name, &mut names)?;
    names.dedup();
    Ok(names)
}

fn named(given: Option<Texts>) -> Vec<String> {
    texts(given).into_iter().filter(|text| !text.is_empty()).collect()
}

fn purposes(names: Option<Texts>, oids: Option<Texts>) -> Result<Vec<ExtKeyUsage>> {
    ext_key_usages(&texts(names), &texts(oids))
}

/// How many CAs may follow below: what was asked for, but fewer than below the issuer.
fn path_length(asked: Option<Number>, issuer: Option<&Issuer>) -> Result<Option<u8>> {
    let asked = asked.map_or(-1, |number| number.0);
    let asked = match asked {
        -1 => None,
        length => Some(u8::try_from(length).map_err(|_| {
            Error::invalid(format!(
                "max_path_length is {length}; it must be from 0 to 255, or -1 for no limit"
            ))
        })?),
    };
    let above = issuer.and_then(|issuer| issuer.certificate.path_length());
    let Some(above) = above else { return Ok(asked) };
    let allowed = above.checked_sub(1).ok_or_else(|| Error::invalid(NO_CA_BELOW))?;
    Ok(Some(asked.map_or(allowed, |length| length.min(allowed))))
}

/// Why an issuer signs no CA.
pub(super) const NO_CA_BELOW: &str =
    "the issuer's max_path_length is zero, so it cannot sign an intermediate CA; sign with a CA above it";
pub(super) const NO_URLS: &str = "This mount hasn't configured any authority information access (AIA) fields; this may make it harder for systems to find missing certificates in the chain or to validate revocation status of certificates. Consider updating /config/urls or the newly generated issuer with this information.";
const NO_URLS_ABOVE: &str = "Since this certificate is an intermediate, it might be useful to regenerate this certificate after fixing this problem for the root mount.";
const NO_SUBJECT: &str = "This issuer certificate was generated without a Subject; this makes it likely that issuing leaf certs with this certificate will cause TLS validation libraries to reject this certificate.";
const PATH_ENDS: &str = "Max path length of the signed certificate is zero. This certificate cannot be used to issue intermediate CA certificates.";
