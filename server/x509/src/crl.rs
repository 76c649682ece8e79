//! Certificate revocation lists (version 2).

use crate::ObjectIdentifier;
use crate::certificate::{authority_key_id, range, read_extensions, seconds, value};
use crate::error::While;
use crate::extensions::{AUTHORITY_KEY_ID, CRL_NUMBER, CRL_REASON, DELTA_CRL, INVALIDITY_DATE};
use crate::{Error, Extensions, PrivateKey, PublicKey, Result, Scheme, Serial, pem, template, tlv};
use der::{
    Decode, Reader, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, UintRef},
};

const WHAT: &str = "revocation list";

/// Why a certificate was revoked (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Its key is in the wrong hands.
    KeyCompromise = 1,
    /// Its CA's key is in the wrong hands.
    CaCompromise = 2,
    /// Its holder is another now.
    AffiliationChanged = 3,
    /// A newer one took its place.
    Superseded = 4,
    /// It is no longer needed.
    CessationOfOperation = 5,
    /// Its holder may no longer do what it says.
    PrivilegeWithdrawn = 9,
}

/// The reasons with their names and numbers. That of a hold is not among them: what is revoked stays revoked.
const REASONS: [(Reason, &str); 6] = [
    (Reason::KeyCompromise, "keyCompromise"),
    (Reason::CaCompromise, "cACompromise"),
    (Reason::AffiliationChanged, "affiliationChanged"),
    (Reason::Superseded, "superseded"),
    (Reason::CessationOfOperation, "cessationOfOperation"),
    (Reason::PrivilegeWithdrawn, "privilegeWithdrawn"),
];
/// What says nothing, by name and number.
const UNSPECIFIED: [&str; 3] = ["", "0", "unspecified"];

impl Reason {
    /// The name that RFC 5280 gives it.
    pub fn name(self) -> &'static str {
        REASONS.iter().find(|(reason, _)| *reason == self).map_or("unspecified", |(_, name)| name)
    }

    /// The reason of that number; `None` for 0, which says nothing.
    pub fn numbered(number: u64) -> Result<Option<Self>> {
        Self::parse(&number.to_string())
    }

    /// Reads a name, in any case and with or without marks between its words, or a number.
    ///
    /// # Errors
    /// If there is no such reason, or none that a certificate can be revoked for.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
        let wanted = plain(text);
        if UNSPECIFIED.contains(&wanted.as_str()) {
            return Ok(None);
        }
        let named =
            |(reason, name): &&(Reason, &str)| plain(name) == wanted || (*reason as u8).to_string() == wanted;
        REASONS.iter().find(named).map(|(reason, _)| Some(*reason)).ok_or_else(|| {
            let names: Vec<_> = REASONS.iter().map(|(_, name)| *name).collect();
            Error::refused(format!(
                "unknown revocation reason {text:?}; it is unspecified, {}",
                names.join(", ")
            ))
        })
    }
}

/// One certificate of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedEntry {
    /// Which.
    pub serial: Serial,
    /// Since when it is revoked, in seconds since 1970.
    pub revoked_at: u64,
    /// Why; `None` says nothing, which RFC 5280 prefers to "unspecified".
    pub reason: Option<Reason>,
    /// Since when it should not be trusted, where that is earlier.
    pub invalid_since: Option<u64>,
}

/// A revocation list before it is signed.
#[derive(Debug)]
pub struct CrlTemplate<'a> {
    /// When it is made, in seconds since 1970.
    pub this_update: u64,
    /// By when the next one is there.
    pub next_update: u64,
    /// Its number, which grows from list to list.
    pub number: u64,
    /// The number of the list this one adds to, when it is a delta.
    pub delta_of: Option<u64>,
    /// The name of the signer's key.
    pub authority_key_id: &'a [u8],
    /// Who is on it: entries in DER, each piece one or several of them.
    pub revoked: &'a [&'a [u8]],
    /// What it says besides.
    pub extensions: Extensions,
}

impl CrlTemplate<'_> {
    /// Signs as the CA of this name (the DER of its subject) with its key, and returns the list's DER.
    pub fn sign(&self, issuer_name: &[u8], key: &PrivateKey, scheme: Scheme) -> Result<Vec<u8>> {
        let algorithm = scheme.to_der();
        let nobody = self.revoked.iter().all(|piece| piece.is_empty());
        let entries = if nobody { vec![] } else { tlv::sequence(self.revoked) };
        let mut extensions = Extensions::new().authority_key_id(self.authority_key_id).with(
            CRL_NUMBER,
            false,
            tlv::number(self.number),
        );
        if let Some(base) = self.delta_of {
            extensions = extensions.with(DELTA_CRL, true, tlv::number(base));
        }
        for extension in self.extensions.iter() {
            extensions = extensions.with(extension.oid, extension.critical, extension.value.clone());
        }
        let body = tlv::sequence(&[
            tlv::number(1).as_slice(),
            &algorithm,
            issuer_name,
            &tlv::time(self.this_update)?,
            &tlv::time(self.next_update)?,
            &entries,
            &tlv::explicit(0, &extensions.to_der()),
        ]);
        template::signed(body, &algorithm, key, scheme)
    }

    /// Whether an extension is one that the list makes by itself.
    pub fn makes(oid: &ObjectIdentifier) -> bool {
        [AUTHORITY_KEY_ID, CRL_NUMBER, DELTA_CRL].contains(oid)
    }
}

impl RevokedEntry {
    /// The entry in DER.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        let mut extensions = Extensions::new();
        if let Some(reason) = self.reason {
            extensions = extensions.with(CRL_REASON, false, vec![0x0a, 1, reason as u8]);
        }
        if let Some(since) = self.invalid_since {
            extensions = extensions.with(INVALIDITY_DATE, false, tlv::generalized_time(since)?);
        }
        Self::with(&self.serial, self.revoked_at, &extensions)
    }

    /// An entry in DER that says these things besides.
    pub fn with(serial: &Serial, revoked_at: u64, extensions: &Extensions) -> Result<Vec<u8>> {
        let extensions = if extensions.is_empty() { vec![] } else { extensions.to_der() };
        Ok(tlv::sequence(&[serial.to_der(), tlv::time(revoked_at)?, extensions]))
    }

    /// The entries of a list: which, since when, and in DER as they stand there.
    ///
    /// # Errors
    /// If it is no revocation list.
    pub fn all_of(list: &[u8]) -> Result<Vec<(Serial, u64, Vec<u8>)>> {
        let mut reader = SliceReader::new(list).reading(WHAT)?;
        let found = reader.sequence(|outer| {
            let found = outer.sequence(raw_entries)?;
            while !outer.is_finished() {
                outer.tlv_bytes()?;
            }
            Ok::<_, der::Error>(found)
        });
        found.reading(WHAT)
    }
}

fn raw_entries(body: &mut SliceReader<'_>) -> der::Result<Vec<(Serial, u64, Vec<u8>)>> {
    // Version, algorithm, issuer; then the dates, of which the second may be missing.
    u8::decode(body)?;
    body.tlv_bytes()?;
    body.tlv_bytes()?;
    let mut found = Vec::new();
    while !body.is_finished() {
        let field = AnyRef::decode(body)?;
        if der::Tagged::tag(&field) != Tag::Sequence {
            continue;
        }
        let mut entries = SliceReader::new(field.value())?;
        while !entries.is_finished() {
            let raw = entries.tlv_bytes()?;
            let (serial, since) = SliceReader::new(raw)?.sequence(|entry| {
                let serial = Serial::from_magnitude(UintRef::decode(entry)?.as_bytes());
                let since = seconds(entry)?;
                while !entry.is_finished() {
                    entry.tlv_bytes()?;
                }
                let serial = serial.map_err(|_| der::Error::from(der::ErrorKind::Failed))?;
                Ok::<_, der::Error>((serial, since))
            })?;
            found.push((serial, since, raw.to_vec()));
        }
    }
    Ok(found)
}

/// A revocation list that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// The DER of the signer's name.
    pub issuer_der: Vec<u8>,
    /// When it was made.
    pub this_update: u64,
    /// By when the next one is there.
    pub next_update: Option<u64>,
    /// Its number.
    pub number: Option<u64>,
    /// The number of the list it adds to.
    pub delta_of: Option<u64>,
    /// The name of the signer's key.
    pub authority_key_id: Option<Vec<u8>>,
    /// The serials on it and since when they are revoked.
    pub revoked: Vec<(Serial, u64)>,
    body: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl RevocationList {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let mut reader = SliceReader::new(der).reading(WHAT)?;
        let (mut list, extensions) = reader
            .sequence(|outer| {
                let start = outer.position();
                let (mut list, extensions) = outer.sequence(read_body)?;
                let body = range(start, outer.position())?;
                list.body = der.get(body).unwrap_or_default().to_vec();
                list.algorithm = outer.tlv_bytes()?.to_vec();
                list.signature = BitStringRef::decode(outer)?.raw_bytes().to_vec();
                Ok::<_, der::Error>((list, extensions))
            })
            .reading(WHAT)?;
        reader.finish().reading(WHAT)?;
        let extensions = read_extensions(extensions, WHAT)?;
        list.number = value::<u64>(&extensions, CRL_NUMBER).ok().flatten();
        // A list that adds to another must not pass for a whole one.
        list.delta_of = value::<u64>(&extensions, DELTA_CRL)?;
        list.authority_key_id = authority_key_id(&extensions);
        list.revoked.sort();
        Ok(list)
    }

    /// Reads PEM.
    pub fn from_pem(text: &str) -> Result<Self> {
        let blocks = pem::blocks(text)?;
        let block = blocks.iter().find(|block| block.label == pem::CRL);
        let block = block.ok_or_else(|| crate::Error::malformed(WHAT, "there is no X509 CRL block"))?;
        Self::from_der(&block.der)
    }

    /// Checks that the key's owner signed it.
    pub fn verify(&self, key: &PublicKey) -> Result<()> {
        key.verify(Scheme::from_der(&self.algorithm)?, &self.body, &self.signature, "the revocation list")
    }

    /// Since when the certificate is revoked, if it is.
    pub fn revoked_at(&self, serial: &Serial) -> Option<u64> {
        let at = self.revoked.binary_search_by(|(revoked, _)| revoked.cmp(serial)).ok()?;
        self.revoked.get(at).map(|(_, since)| *since)
    }
}

/// The list, and its extensions, which are yet to be read.
fn read_body<'a>(body: &mut SliceReader<'a>) -> der::Result<(RevocationList, &'a [u8])> {
    u8::decode(body)?;
    body.tlv_bytes()?;
    let issuer_der = body.tlv_bytes()?.to_vec();
    let this_update = seconds(body)?;
    let is_time = |byte| matches!(byte, Some(0x17 | 0x18));
    let next_update = is_time(body.peek_byte()).then(|| seconds(body)).transpose()?;
    let mut revoked = Vec::new();
    let mut extensions = [].as_slice();
    while !body.is_finished() {
        let field = AnyRef::decode(body)?;
        match der::Tagged::tag(&field) {
            Tag::Sequence => revoked = read_entries(field.value())?,
            _ => extensions = field.value(),
        }
    }
    let list = RevocationList {
        issuer_der,
        this_update,
        next_update,
        number: None,
        delta_of: None,
        authority_key_id: None,
        revoked,
        body: vec![],
        algorithm: vec![],
        signature: vec![],
    };
    Ok((list, extensions))
}

fn read_entries(der: &[u8]) -> der::Result<Vec<(Serial, u64)>> {
    let mut entries = Vec::new();
    let mut reader = SliceReader::new(der)?;
    while !reader.is_finished() {
        entries.push(reader.sequence(|entry| {
            let serial = Serial::from_magnitude(UintRef::decode(entry)?.as_bytes())
                .map_err(|_| der::Error::from(der::ErrorKind::Failed))?;
            let since = seconds(entry)?;
            while !entry.is_finished() {
                entry.tlv_bytes()?;
            }
            Ok::<_, der::Error>((serial, since))
        })?);
    }
    Ok(entries)
}
