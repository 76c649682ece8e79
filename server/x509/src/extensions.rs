//! Extensions of certificates, requests and revocation lists.

use crate::ObjectIdentifier;
use crate::{AltNames, Error, ExtKeyUsage, KeyUsage, Result, Subtrees, tlv};
use x509_cert::ext::pkix::BasicConstraints;

/// One extension, its value as DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// What it is.
    pub oid: ObjectIdentifier,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// Its value.
    pub value: Vec<u8>,
}

/// A list of extensions that grows by naming what they mean. Each OID is in it once: a later one replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions(Vec<Extension>);

pub(crate) const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(crate) const ALT_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
pub(crate) const ISSUER_ALT_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.18");
pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(crate) const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
pub(crate) const CRL_REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
pub(crate) const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");
pub(crate) const DELTA_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
pub(crate) const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const ISSUING_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
pub(crate) const CRL_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
pub(crate) const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
pub(crate) const POLICY_MAPPINGS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.33");
pub(crate) const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
pub(crate) const POLICY_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.36");
pub(crate) const EXT_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(crate) const FRESHEST_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.46");
pub(crate) const INHIBIT_ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.54");
pub(crate) const AUTHORITY_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
pub(crate) const SUBJECT_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.11");
pub(crate) const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

impl Extensions {
    /// No extension.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the key may be used for.
    #[must_use]
    pub fn key_usage(self, usage: KeyUsage) -> Self {
        match usage.bits() {
            0 => self,
            bits => self.with(KEY_USAGE, true, tlv::named_bits(bits)),
        }
    }

    /// The purposes of the key.
    #[must_use]
    pub fn ext_key_usage(self, purposes: &[ExtKeyUsage]) -> Self {
        if purposes.is_empty() {
            return self;
        }
        let oids: Vec<_> = purposes.iter().map(|purpose| tlv::oid(&purpose.0)).collect();
        self.with(EXT_KEY_USAGE, false, tlv::sequence(&oids))
    }

    /// A CA, with how many CAs may follow below it.
    #[must_use]
    pub fn certificate_authority(self, path_length: Option<u8>) -> Self {
        let length = path_length.map(|length| tlv::number(length.into())).unwrap_or_default();
        self.with(BASIC_CONSTRAINTS, true, tlv::sequence(&[tlv::TRUE, &length]))
    }

    /// Expressly no CA.
    #[must_use]
    pub fn not_an_authority(self) -> Self {
        self.with(BASIC_CONSTRAINTS, true, tlv::sequence::<&[u8]>(&[]))
    }

    /// The name of the key itself.
    #[must_use]
    pub fn subject_key_id(self, id: &[u8]) -> Self {
        self.with(SUBJECT_KEY_ID, false, tlv::octets(id))
    }

    /// The name of the key that signs.
    #[must_use]
    pub fn authority_key_id(self, id: &[u8]) -> Self {
        if id.is_empty() {
            return self;
        }
        self.with(AUTHORITY_KEY_ID, false, tlv::sequence(&[tlv::implicit(0, id)]))
    }

    /// The other names; `critical` when the subject is empty, as RFC 5280 §4.2.1.6 demands.
    pub fn alt_names(self, names: &AltNames, subject_is_empty: bool) -> Result<Self> {
        if names.is_empty() {
            return Ok(self);
        }
        Ok(self.with(ALT_NAMES, subject_is_empty, names.to_der()?))
    }

    /// The same names, critical, for a subject that is empty.
    #[must_use]
    pub fn critical_names(mut self) -> Self {
        for names in self.0.iter_mut().filter(|extension| extension.oid == ALT_NAMES) {
            names.critical = true;
        }
        self
    }

    /// Where to ask and where to find the issuer.
    pub fn authority_access(self, ocsp_servers: &[String], issuers: &[String]) -> Result<Self> {
        if ocsp_servers.is_empty() && issuers.is_empty() {
            return Ok(self);
        }
        let mut places = Vec::with_capacity(ocsp_servers.len() + issuers.len());
        for (method, urls) in [(&OCSP, ocsp_servers), (&CA_ISSUERS, issuers)] {
            for url in urls {
                places.push(tlv::sequence(&[tlv::oid(method), uri(url)?]));
            }
        }
        Ok(self.with(AUTHORITY_ACCESS, false, tlv::sequence(&places)))
    }

    /// Where the revocation list is.
    pub fn crl_points(self, urls: &[String]) -> Result<Self> {
        if urls.is_empty() {
            return Ok(self);
        }
        let points = points(urls)?;
        Ok(self.with(CRL_POINTS, false, points))
    }

    /// Of a revocation list: it is the one that certificates name under one of these URLs, and no other (RFC 5280 §5.2.5).
    pub fn issuing_point(self, urls: &[String]) -> Result<Self> {
        let names = urls.iter().map(|url| uri(url)).collect::<Result<Vec<_>>>()?;
        let full_name = tlv::implicit_of(0, &names);
        let point = tlv::sequence(&[tlv::implicit_of(0, &[full_name])]);
        Ok(self.with(ISSUING_POINT, true, point))
    }

    /// Where the delta of the revocation list is.
    pub fn freshest_crl(self, urls: &[String]) -> Result<Self> {
        if urls.is_empty() {
            return Ok(self);
        }
        let points = points(urls)?;
        Ok(self.with(FRESHEST_CRL, false, points))
    }

    /// Policies: bare OIDs, or JSON objects of the API that the caller has taken apart into OID, CPS and notice.
    pub fn policies(self, policies: &[Policy]) -> Result<Self> {
        if policies.is_empty() {
            return Ok(self);
        }
        let policies = policies.iter().map(Policy::to_der).collect::<Result<Vec<_>>>()?;
        Ok(self.with(POLICIES, false, tlv::sequence(&policies)))
    }

    /// The names that this CA may vouch for, and those that it may not.
    pub fn name_constraints(self, permitted: &Subtrees, excluded: &Subtrees) -> Result<Self> {
        if permitted.is_empty() && excluded.is_empty() {
            return Ok(self);
        }
        let both = [permitted.to_der(0)?, excluded.to_der(1)?];
        Ok(self.with(NAME_CONSTRAINTS, true, tlv::sequence(&both)))
    }

    /// An extension by number, with its value in DER.
    #[must_use]
    pub fn with(mut self, oid: ObjectIdentifier, critical: bool, value: Vec<u8>) -> Self {
        self.0.retain(|extension| extension.oid != oid);
        self.0.push(Extension { oid, critical, value });
        self
    }

    /// Without the extension of that number.
    #[must_use]
    pub fn without(mut self, oid: &ObjectIdentifier) -> Self {
        self.0.retain(|extension| extension.oid != *oid);
        self
    }

    /// The alternative names; none where there are none.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn names(&self) -> Result<AltNames> {
        self.find(&ALT_NAMES).map_or(Ok(AltNames::default()), |e| AltNames::from_der(&e.value))
    }

    /// The purposes of the key; `None` where nothing is said of them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn purposes(&self) -> Result<Option<Vec<ExtKeyUsage>>> {
        let purposes: Option<Vec<ObjectIdentifier>> = crate::certificate::value(self, EXT_KEY_USAGE)?;
        Ok(purposes.map(|purposes| purposes.into_iter().map(ExtKeyUsage).collect()))
    }

    /// Whether they are a CA's.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn are_of_ca(&self) -> Result<bool> {
        let authority: Option<BasicConstraints> = crate::certificate::value(self, BASIC_CONSTRAINTS)?;
        Ok(authority.is_some_and(|authority| authority.ca))
    }

    /// What they hold that a CA alone may have, where they are not a CA's.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn beyond_a_leaf(&self) -> Result<Option<&'static str>> {
        let usage = crate::certificate::key_usage(self)?;
        let found = match usage.is_some_and(KeyUsage::cert_sign) {
            true => Some("the key usage to sign certificates"),
            false => self.find(&NAME_CONSTRAINTS).map(|_| "name constraints"),
        };
        let Some(found) = found else { return Ok(None) };
        Ok((!self.are_of_ca()?).then_some(found))
    }

    /// The extension of that number.
    pub fn find(&self, oid: &ObjectIdentifier) -> Option<&Extension> {
        self.0.iter().find(|extension| extension.oid == *oid)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Extension> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn to_der(&self) -> Vec<u8> {
        let each: Vec<_> = self.0.iter().map(Extension::to_der).collect();
        tlv::sequence(&each)
    }
}

impl Extension {
    /// Whether it narrows what a CA may do: names, purposes, policies.
    pub fn is_bound(&self) -> bool {
        self.must_be_critical() || [EXT_KEY_USAGE, POLICIES, POLICY_MAPPINGS].contains(&self.oid)
    }

    /// Whether a CA has it critical alone (RFC 5280, sections 4.2.1.10, 4.2.1.11 and 4.2.1.14).
    pub fn must_be_critical(&self) -> bool {
        [NAME_CONSTRAINTS, POLICY_CONSTRAINTS, INHIBIT_ANY].contains(&self.oid)
    }

    /// Whether who signs a CA decides it by other ways than copying: the names, what the key is for, whose it is.
    pub fn is_the_signers(&self) -> bool {
        [BASIC_CONSTRAINTS, KEY_USAGE, ALT_NAMES, SUBJECT_KEY_ID, AUTHORITY_KEY_ID].contains(&self.oid)
    }

    fn to_der(&self) -> Vec<u8> {
        tlv::extension(&self.oid, self.critical, &self.value)
    }
}

/// A certificate policy and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which policy.
    pub oid: ObjectIdentifier,
    /// Where its statement can be read.
    pub cps: Option<String>,
    /// What people should be shown.
    pub notice: Option<String>,
}

impl Policy {
    fn to_der(&self) -> Result<Vec<u8>> {
        const CPS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.2.1");
        const NOTICE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.2.2");
        let mut qualifiers = Vec::new();
        if let Some(cps) = &self.cps {
            if !cps.is_ascii() {
                return Err(Error::refused(format!(
                    "the CPS {cps} of the policy {} is not in ASCII form",
                    self.oid
                )));
            }
            qualifiers.push(tlv::sequence(&[tlv::oid(&CPS), tlv::tlv(0x16, &[cps])]));
        }
        if let Some(notice) = &self.notice {
            qualifiers.push(tlv::sequence(&[tlv::oid(&NOTICE), tlv::sequence(&[tlv::utf8(notice)])]));
        }
        let qualifiers = if qualifiers.is_empty() { vec![] } else { tlv::sequence(&qualifiers) };
        Ok(tlv::sequence(&[tlv::oid(&self.oid), qualifiers]))
    }
}

fn uri(url: &str) -> Result<Vec<u8>> {
    match url.is_ascii() {
        true => Ok(tlv::implicit(6, url.as_bytes())),
        false => Err(Error::refused(format!("the URL {url} is not in ASCII form"))),
    }
}

fn points(urls: &[String]) -> Result<Vec<u8>> {
    let mut points = Vec::with_capacity(urls.len());
    for url in urls {
        let full_name = tlv::implicit_of(0, &[uri(url)?]);
        points.push(tlv::sequence(&[tlv::implicit_of(0, &[full_name])]));
    }
    Ok(tlv::sequence(&points))
}
