//! What programs of roles see, and what they can make.

use std::net::IpAddr;
use std::sync::LazyLock;

use flow::cel::{Record, Scope};
use serde_json::{Map, Value, json};
use x509::{Family, Request};

/// What a program comes to.
pub(super) const OUTPUT: &str = "ValidationOutput";

const RECORDS: [Record; 9] = [
    Record {
        name: OUTPUT,
        fields: &[
            "generate_lease",
            "issuer_ref",
            "key_bits",
            "key_type",
            "no_store",
            "parameter_set",
            "signature_bits",
            "subject_key_id",
            "template",
            "use_pss",
            "warnings",
        ],
    },
    Record {
        name: "CertTemplate",
        fields: &[
            "BasicConstraintsValid",
            "DNSNames",
            "EmailAddresses",
            "ExtKeyUsage",
            "Extensions",
            "ExtraExtensions",
            "IPAddresses",
            "IsCA",
            "KeyUsage",
            "MaxPathLen",
            "MaxPathLenZero",
            "NotAfter",
            "NotBefore",
            "Policies",
            "PolicyIdentifiers",
            "Subject",
            "SubjectKeyId",
            "URIs",
            "UnknownExtKeyUsage",
            "Version",
        ],
    },
    Record {
        name: "PKIX.Name",
        fields: &[
            "CommonName",
            "Country",
            "Locality",
            "Organization",
            "OrganizationUnit",
            "PostalCode",
            "Province",
            "SerialNumber",
            "StreetAddress",
        ],
    },
    Record { name: "PKIX.Extension", fields: &["Critical", "Id", "Value"] },
    Record { name: "ObjectIdentifier", fields: &["arc"] },
    Record { name: "OID", fields: &["arc"] },
    Record { name: "net.IP", fields: &["IP"] },
    Record { name: "url.URL", fields: &["Fragment", "Host", "Opaque", "Path", "RawQuery", "Scheme"] },
    Record { name: "Userinfo", fields: &["password", "password_set", "username"] },
];

/// What programs of roles see: the request, when it is, the CSR where there is one, and names for numbers.
pub(super) static ISSUING: LazyLock<Scope> =
    LazyLock::new(|| Scope::new(&["request", "now", "KeyUsage", "ExtKeyUsage"], &RECORDS));
/// The same for a CSR.
pub(super) static SIGNING: LazyLock<Scope> =
    LazyLock::new(|| Scope::new(&["request", "now", "parsed_csr", "KeyUsage", "ExtKeyUsage"], &RECORDS));

/// The bits of key usages, by the names that programs have for them.
pub(super) fn key_usages() -> Value {
    json!({
        "KeyUsageUnspecified": 0,
        "KeyUsageDigitalSignature": 1,
        "KeyUsageContentCommitment": 2,
        "KeyUsageKeyEncipherment": 4,
        "KeyUsageDataEncipherment": 8,
        "KeyUsageKeyAgreement": 16,
        "KeyUsageCertSign": 32,
        "KeyUsageCRLSign": 64,
        "KeyUsageEncipherOnly": 128,
        "KeyUsageDecipherOnly": 256,
    })
}

/// The bits of key usages, by the names that x509 has for them.
pub(super) const KEY_USAGE_BITS: [(i64, &str); 9] = [
    (1, "DigitalSignature"),
    (2, "ContentCommitment"),
    (4, "KeyEncipherment"),
    (8, "DataEncipherment"),
    (16, "KeyAgreement"),
    (32, "CertSign"),
    (64, "CRLSign"),
    (128, "EncipherOnly"),
    (256, "DecipherOnly"),
];

/// Purposes in the order of their numbers.
pub(super) const PURPOSES: [(&str, &str); 14] = [
    ("ExtKeyUsageAny", "2.5.29.37.0"),
    ("ExtKeyUsageServerAuth", "1.3.6.1.5.5.7.3.1"),
    ("ExtKeyUsageClientAuth", "1.3.6.1.5.5.7.3.2"),
    ("ExtKeyUsageCodeSigning", "1.3.6.1.5.5.7.3.3"),
    ("ExtKeyUsageEmailProtection", "1.3.6.1.5.5.7.3.4"),
    ("ExtKeyUsageIPSECEndSystem", "1.3.6.1.5.5.7.3.5"),
    ("ExtKeyUsageIPSECTunnel", "1.3.6.1.5.5.7.3.6"),
    ("ExtKeyUsageIPSECUser", "1.3.6.1.5.5.7.3.7"),
    ("ExtKeyUsageTimeStamping", "1.3.6.1.5.5.7.3.8"),
    ("ExtKeyUsageOCSPSigning", "1.3.6.1.5.5.7.3.9"),
    ("ExtKeyUsageMicrosoftServerGatedCrypto", "1.3.6.1.4.1.311.10.3.3"),
    ("ExtKeyUsageNetscapeServerGatedCrypto", "2.16.840.1.113730.4.1"),
    ("ExtKeyUsageMicrosoftCommercialCodeSigning", "1.3.6.1.4.1.311.2.1.22"),
    ("ExtKeyUsageMicrosoftKernelCodeSigning", "1.3.6.1.4.1.311.61.1.1"),
];

/// The numbers of purposes, by name.
pub(super) fn purposes() -> Value {
    let each = PURPOSES.iter().enumerate().map(|(number, (name, _))| ((*name).to_owned(), json!(number)));
    Value::Object(each.collect::<Map<_, _>>())
}

/// What a program sees of a CSR.
pub(super) fn csr(request: &Request) -> Value {
    let (subject, names) = (request.subject(), request.alt_names());
    let algorithm = match request.public_key().shape().family {
        Family::Rsa => "RSA",
        Family::Ec => "ECDSA",
        Family::Ed25519 => "Ed25519",
        Family::MlDsa => "ML-DSA",
    };
    json!({
        "DNSNames": names.dns,
        "EmailAddresses": names.email,
        "IPAddresses": names.ip.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        "URIs": names.uri,
        "PublicKeyAlgorithm": algorithm,
        "PublicKeyBits": request.public_key().shape().bits,
        "Subject": {
            "CommonName": subject.common_name,
            "Country": subject.country,
            "Locality": subject.locality,
            "Organization": subject.organization,
            "OrganizationalUnit": subject.organizational_unit,
            "PostalCode": subject.postal_code,
            "Province": subject.province,
            "SerialNumber": subject.serial_number,
            "StreetAddress": subject.street_address,
        },
        "Version": 0,
    })
}
