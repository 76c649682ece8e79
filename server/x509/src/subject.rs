//! Distinguished names, in the order and with the string types that Go and so Vault use. A CA that moves here keeps
//! its name byte for byte, since the name in its certificate is copied and never made anew.

use crate::ObjectIdentifier;
use crate::error::While;
use crate::{Error, Result, tlv};
use der::{
    Decode, Reader, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, BmpString, GeneralizedTime, UtcTime},
};

/// Bytes of a name we are willing to read or write.
const NAME_SIZE_MAX: usize = 16 * 1024;
/// RFC 5280's ub-common-name, in characters.
pub const COMMON_NAME_MAX: usize = 64;

/// The subject of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// C
    pub country: Vec<String>,
    /// O
    pub organization: Vec<String>,
    /// OU
    pub organizational_unit: Vec<String>,
    /// L
    pub locality: Vec<String>,
    /// ST
    pub province: Vec<String>,
    /// street
    pub street_address: Vec<String>,
    /// postalCode
    pub postal_code: Vec<String>,
    /// CN; empty for none
    pub common_name: String,
    /// serialNumber; empty for none
    pub serial_number: String,
    /// UID
    pub user_ids: Vec<String>,
}

const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const LOCALITY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.7");
const PROVINCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.8");
const STREET_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.9");
const POSTAL_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.17");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");
const USER_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");

impl Subject {
    /// A subject of nothing but a common name.
    pub fn common_name(name: impl Into<String>) -> Self {
        Subject { common_name: name.into(), ..Subject::default() }
    }

    /// The Name. An empty subject is an empty sequence.
    ///
    /// # Errors
    /// If a country is no code, a serial number holds what it may not, or the whole is too long.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        self.check()?;
        let one = |value: &String| if value.is_empty() { vec![] } else { vec![value.clone()] };
        let fields: [(&ObjectIdentifier, &[String]); 10] = [
            (&COUNTRY, &self.country),
            (&ORGANIZATION, &self.organization),
            (&ORGANIZATIONAL_UNIT, &self.organizational_unit),
            (&LOCALITY, &self.locality),
            (&PROVINCE, &self.province),
            (&STREET_ADDRESS, &self.street_address),
            (&POSTAL_CODE, &self.postal_code),
            (&COMMON_NAME, &one(&self.common_name)),
            (&SERIAL_NUMBER, &one(&self.serial_number)),
            (&USER_ID, &self.user_ids),
        ];
        let mut names = Vec::new();
        for (oid, values) in fields {
            relative_names(oid, values, &mut names);
        }
        let der = tlv::sequence(&names);
        match der.len() {
            0..=NAME_SIZE_MAX => Ok(der),
            long => {
                Err(Error::refused(format!("the subject is {long} bytes long; {NAME_SIZE_MAX} are allowed")))
            }
        }
    }

    /// Refuses what would not be of the type that the field has (RFC 5280, appendix A).
    fn check(&self) -> Result<()> {
        let is_code = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
        if let Some(other) = self.country.iter().find(|text| !text.is_empty() && !is_code(text)) {
            return Err(Error::refused(format!(
                "country is {other:?}; it should be the two letters of ISO 3166, like DE"
            )));
        }
        match self.serial_number.bytes().all(is_printable) {
            true => Ok(()),
            false => Err(Error::refused(format!(
                "serial_number is {:?}; it may hold letters, digits, spaces and '()+,-./:=? alone (X.520)",
                self.serial_number
            ))),
        }
    }

    /// A field with a value that is longer than RFC 5280 has it, and the most characters. Some programs refuse such a name.
    pub fn overlong(&self) -> Option<(&'static str, usize)> {
        let fields: [(&'static str, &[String], usize); 5] = [
            ("organization", &self.organization, 64),
            ("ou", &self.organizational_unit, 64),
            ("locality", &self.locality, 128),
            ("province", &self.province, 128),
            ("serial_number", std::slice::from_ref(&self.serial_number), 64),
        ];
        let found = fields.iter().find(|(_, values, most)| values.iter().any(|v| v.chars().count() > *most));
        found.map(|(field, _, most)| (*field, *most))
    }

    /// Reads a Name. Attributes that have no field here are left out; use the bytes where all must be kept.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        const WHAT: &str = "distinguished name";
        if der.len() > NAME_SIZE_MAX {
            return Err(Error::malformed(WHAT, format!("it is longer than {NAME_SIZE_MAX} bytes")));
        }
        let mut subject = Subject::default();
        let mut reader = SliceReader::new(der).reading(WHAT)?;
        let add = |oid, value: AnyRef<'_>| {
            if let Some(text) = text_of(value) {
                subject.add(oid, text);
            }
        };
        reader.sequence(|names| each_attribute(names, add)).reading(WHAT)?;
        reader.finish().reading(WHAT)?;
        Ok(subject)
    }

    fn add(&mut self, oid: ObjectIdentifier, value: String) {
        match oid {
            COUNTRY => self.country.push(value),
            ORGANIZATION => self.organization.push(value),
            ORGANIZATIONAL_UNIT => self.organizational_unit.push(value),
            LOCALITY => self.locality.push(value),
            PROVINCE => self.province.push(value),
            STREET_ADDRESS => self.street_address.push(value),
            POSTAL_CODE => self.postal_code.push(value),
            USER_ID => self.user_ids.push(value),
            // The last one counts, as in Go: what an application sees must be what was judged.
            COMMON_NAME => self.common_name = value,
            SERIAL_NUMBER => self.serial_number = value,
            _ => {}
        }
    }
}

/// As RFC 2253 writes it: the most specific name first.
impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = std::slice::from_ref;
        let fields = [
            ("UID", self.user_ids.as_slice()),
            ("SERIALNUMBER", one(&self.serial_number)),
            ("CN", one(&self.common_name)),
            ("POSTALCODE", &self.postal_code),
            ("STREET", &self.street_address),
            ("ST", &self.province),
            ("L", &self.locality),
            ("OU", &self.organizational_unit),
            ("O", &self.organization),
            ("C", &self.country),
        ];
        let mut separator = "";
        for (name, values) in fields {
            for value in values.iter().rev().filter(|value| !value.is_empty()) {
                write!(f, "{separator}{name}={}", escaped(value))?;
                separator = ",";
            }
        }
        Ok(())
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, char) in value.char_indices() {
        let edge = char == ' ' && (at == 0 || at + 1 == value.len()) || char == '#' && at == 0;
        if edge || matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

/// How many attributes of a kind the name holds, for those of which one alone can be judged.
pub(crate) fn common_names(der: &[u8]) -> Result<Vec<String>> {
    const WHAT: &str = "distinguished name";
    let mut found = Vec::new();
    let mut reader = SliceReader::new(der).reading(WHAT)?;
    let collect = |oid, value: AnyRef<'_>| {
        if oid == COMMON_NAME {
            found.extend(text_of(value));
        }
    };
    reader.sequence(|names| each_attribute(names, collect)).reading(WHAT)?;
    Ok(found)
}

/// Whether every value is what its type says, and every common name a text: else who judges a name and who shows it could see
/// different ones, and strict programs read none.
pub(crate) fn is_readable(der: &[u8]) -> Result<bool> {
    let mut readable = true;
    let mut reader = SliceReader::new(der).reading("distinguished name")?;
    let look = |oid, value: AnyRef<'_>| {
        readable &= is_of_its_type(value) && (oid != COMMON_NAME || text_of(value).is_some());
    };
    reader.sequence(|names| each_attribute(names, look)).reading("distinguished name")?;
    Ok(readable)
}

/// Whether a value of an attribute is what its type says. Go takes two characters more in a PrintableString, since many have them.
fn is_of_its_type(value: AnyRef<'_>) -> bool {
    let bytes = value.value();
    match der::Tagged::tag(&value) {
        Tag::PrintableString => bytes.iter().all(|byte| is_printable(*byte) || b"*&".contains(byte)),
        Tag::NumericString => bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b' '),
        Tag::Ia5String => bytes.is_ascii(),
        Tag::Utf8String => std::str::from_utf8(bytes).is_ok(),
        Tag::BmpString => value.decode_as::<BmpString>().is_ok(),
        Tag::TeletexString => true,
        Tag::BitString => value.decode_as::<BitStringRef<'_>>().is_ok(),
        Tag::UtcTime => value.decode_as::<UtcTime>().is_ok(),
        Tag::GeneralizedTime => value.decode_as::<GeneralizedTime>().is_ok(),
        _ => false,
    }
}

/// One relative name: its attributes, in an order that does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relative(Vec<Attribute>);

#[derive(Clone, Debug)]
struct Attribute {
    oid: ObjectIdentifier,
    /// As it stands there; empty for what is no text.
    text: String,
    /// As it is compared (RFC 5280 §7.1).
    folded: Vec<u8>,
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.oid == other.oid && self.folded == other.folded
    }
}

impl Eq for Attribute {}

impl Attribute {
    fn of(oid: ObjectIdentifier, value: AnyRef<'_>) -> Self {
        let text = text_of(value).unwrap_or_default();
        let words: Vec<_> = text.split_whitespace().collect();
        let folded = match words.is_empty() {
            true => value.value().to_vec(),
            false => words.join(" ").to_lowercase().into_bytes(),
        };
        Self { oid, text, folded }
    }
}

impl Relative {
    /// The mail addresses in it.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|one| one.oid == EMAIL_ADDRESS).map(|one| one.text.as_str())
    }
}

/// The relative names of a Name, from the most general one on.
pub(crate) fn relative_names_of(der: &[u8]) -> Result<Vec<Relative>> {
    const WHAT: &str = "distinguished name";
    let mut found = Vec::new();
    let mut reader = SliceReader::new(der).reading(WHAT)?;
    let each = |names: &mut SliceReader<'_>| {
        while !names.is_finished() {
            let mut attributes = Vec::new();
            let set = names.tlv_bytes()?;
            each_attribute(&mut SliceReader::new(set)?, |oid, value| {
                attributes.push(Attribute::of(oid, value))
            })?;
            attributes.sort_by(|a, b| (a.oid, &a.folded).cmp(&(b.oid, &b.folded)));
            found.push(Relative(attributes));
        }
        Ok::<_, der::Error>(())
    };
    reader.sequence(each).reading(WHAT)?;
    reader.finish().reading(WHAT)?;
    Ok(found)
}

/// Each value in a relative name of its own: X.501 allows one of a type in each, though Go writes them together.
fn relative_names(oid: &ObjectIdentifier, values: &[String], names: &mut Vec<Vec<u8>>) {
    for value in values.iter().filter(|value| !value.is_empty()) {
        let name = tlv::set_of(vec![tlv::sequence(&[tlv::oid(oid), directory_string(value)])]);
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

/// PrintableString where the text allows it, UTF8String otherwise.
fn directory_string(text: &str) -> Vec<u8> {
    if text.bytes().all(is_printable) { tlv::printable(text) } else { tlv::utf8(text) }
}

/// What a PrintableString may hold.
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

fn each_attribute(
    names: &mut SliceReader<'_>,
    mut each: impl FnMut(ObjectIdentifier, AnyRef<'_>),
) -> der::Result<()> {
    while !names.is_finished() {
        let set = AnyRef::decode(names)?;
        der::Tagged::tag(&set).assert_eq(Tag::Set)?;
        let mut set = SliceReader::new(set.value())?;
        while !set.is_finished() {
            let (oid, value) = set.sequence(|attribute| {
                Ok::<_, der::Error>((ObjectIdentifier::decode(attribute)?, AnyRef::decode(attribute)?))
            })?;
            each(oid, value);
        }
    }
    Ok(())
}

fn text_of(value: AnyRef<'_>) -> Option<String> {
    match der::Tagged::tag(&value) {
        Tag::PrintableString | Tag::Utf8String | Tag::Ia5String | Tag::NumericString | Tag::TeletexString => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        Tag::BmpString => Some(value.decode_as::<BmpString>().ok()?.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Subject {
        Subject {
            country: vec!["DE".into()],
            organization: vec!["Müller & Söhne".into(), "Other".into()],
            organizational_unit: vec!["a".into(), "b".into()],
            locality: vec!["Köln".into()],
            province: vec!["NRW".into()],
            street_address: vec!["Domkloster 4".into()],
            postal_code: vec!["50667".into()],
            common_name: "*.example.com".into(),
            serial_number: "42".into(),
            user_ids: vec!["u".into()],
        }
    }

    #[test]
    fn every_field_survives() {
        let read = Subject::from_der(&full().to_der().unwrap()).unwrap();
        assert_eq!(read, full());
        assert_eq!(Subject::default().to_der().unwrap(), [0x30, 0]);
        assert_eq!(
            Subject { organization: vec!["A, B".into(), "C".into()], ..Subject::common_name("x") }
                .to_string(),
            "CN=x,O=C,O=A\\, B"
        );
    }

    #[test]
    fn values_named_twice_appear_once_and_empty_ones_not_at_all() {
        let subject =
            Subject { country: vec!["DE".into(), "DE".into(), String::new()], ..Subject::default() };
        assert_eq!(Subject::from_der(&subject.to_der().unwrap()).unwrap().country, ["DE"]);
    }

    #[test]
    fn fields_hold_what_their_types_hold() {
        let country = |text: &str| Subject { country: vec![text.to_owned()], ..Subject::default() }.to_der();
        assert!(country("de").is_ok() && country("").is_ok());
        for bad in ["Germany", "D", "D1", "DÜ"] {
            assert!(country(bad).unwrap_err().to_string().contains("two letters"), "{bad}");
        }
        let serial = |text: &str| Subject { serial_number: text.to_owned(), ..Subject::default() }.to_der();
        assert!(serial("CN-17/4 (b)").is_ok());
        for bad in ["a_b", "a*", "é"] {
            assert!(serial(bad).unwrap_err().to_string().contains("X.520"), "{bad}");
        }
        assert_eq!(full().overlong(), None);
        let long = Subject { organizational_unit: vec!["ü".repeat(65)], ..full() };
        assert_eq!(long.overlong(), Some(("ou", 64)));
    }

    #[test]
    fn broken_names_are_refused() {
        assert!(Subject::from_der(&[0x30, 5, 1]).is_err());
        assert!(Subject::from_der(&[0x30, 3, 0x31, 1, 9]).is_err());
        assert!(Subject { locality: vec!["x".repeat(20_000)], ..Subject::default() }.to_der().is_err());
    }
}
