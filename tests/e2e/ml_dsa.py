"""ML-DSA as OpenSSL has it, under the Python library cryptography: what the development server whose URL and token are given makes,
OpenSSL verifies, and what OpenSSL makes, the server takes."""

import base64
import sys

import hvac
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import mldsa, padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat, PublicFormat, load_der_private_key, load_pem_private_key, load_pem_public_key,
)
from cryptography.x509 import ocsp

URL, TOKEN = sys.argv[1:3]
client = hvac.Client(url=URL, token=TOKEN)
KINDS = {"44": mldsa.MLDSA44PrivateKey, "65": mldsa.MLDSA65PrivateKey, "87": mldsa.MLDSA87PrivateKey}
MESSAGE = b"release 1"
INPUT = base64.b64encode(MESSAGE).decode()


def write(path, **body):
    answer = client.write_data(path, data=body)
    return answer["data"] if isinstance(answer, dict) else None


def refuses(verify, *arguments):
    try:
        verify(*arguments)
    except InvalidSignature:
        return
    raise AssertionError("a forged signature was taken")


def transit():
    client.sys.enable_secrets_engine("transit")
    wrapping = load_pem_public_key(client.read("transit/wrapping_key")["data"]["public_key"].encode())
    for number, kind in KINDS.items():
        made = write(f"transit/keys/k{number}", type="ml-dsa", parameter_set=number, exportable=True)
        public = load_pem_public_key(made["keys"]["1"]["public_key"].encode())
        signature = base64.b64decode(write(f"transit/sign/k{number}", input=INPUT)["signature"].split(":")[2])
        public.verify(signature, MESSAGE)
        refuses(public.verify, signature, MESSAGE + b"0")
        exported = client.read(f"transit/export/signing-key/k{number}?format=der")["data"]["keys"]["1"]
        private = load_der_private_key(base64.b64decode(exported), None)
        assert private.public_key() == public
        signed = "vault:v1:" + base64.b64encode(private.sign(MESSAGE)).decode()
        assert write(f"transit/verify/k{number}", input=INPUT, signature=signed)["valid"]

        own = kind.generate()
        der = own.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
        wrapped = wrapping.encrypt(bytes(32), oaep) + keywrap.aes_key_wrap_with_padding(bytes(32), der)
        ciphertext = base64.b64encode(wrapped).decode()
        write(f"transit/keys/in{number}/import", type="ml-dsa", parameter_set=number, ciphertext=ciphertext)
        signature = write(f"transit/sign/in{number}", input=INPUT)["signature"].split(":")[2]
        own.public_key().verify(base64.b64decode(signature), MESSAGE)


def der(tag, *parts):
    """The library signs no certificates and requests with such keys yet: they are written here."""
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else (b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2, "big"))
    return bytes([tag]) + length + content


def signed(key, number, *parts):
    """A body of these parts, the algorithm, and the signature of the body: the shape of requests and certificates."""
    algorithm = der(0x30, der(0x06, bytes.fromhex("6086480165030403") + bytes([{"44": 17, "65": 18, "87": 19}[number]])))
    body = der(0x30, *[algorithm if part is None else part for part in parts])
    return der(0x30, body, algorithm, der(0x03, b"\0", key.sign(body)))


def pem(label, content):
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"


def name(common):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)]).public_bytes()


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def request(key, number, common):
    return pem("CERTIFICATE REQUEST", signed(key, number, der(2, b"\0"), name(common), spki(key), der(0xA0)))


def own_ca(key, number, common):
    validity = der(0x30, der(0x17, b"200101000000Z"), der(0x17, b"490101000000Z"))
    constraints = der(0x30, der(6, b"\x55\x1d\x13"), der(1, b"\xff"), der(4, der(0x30, der(1, b"\xff"))))
    extensions = der(0xA3, der(0x30, constraints))
    version, serial = der(0xA0, der(2, b"\2")), der(2, b"\5")
    parts = (version, serial, None, name(common), validity, name(common), spki(key), extensions)
    return pem("CERTIFICATE", signed(key, number, *parts))


def issued_by(certificate, key):
    key.verify(certificate.signature, certificate.tbs_certificate_bytes)
    refuses(key.verify, certificate.signature, certificate.tbs_certificate_bytes + b"0")


def pki(number, kind, mount):
    client.sys.enable_secrets_engine("pki", mount)
    client.sys.tune_mount_configuration(mount, max_lease_ttl="87600h")
    asked = {"key_type": "ml-dsa", "parameter_set": number}
    root = write(f"{mount}/root/generate/exported", common_name="Root", ttl="43800h", **asked)
    key = load_pem_private_key(root["private_key"].encode(), None)
    root = x509.load_pem_x509_certificate(root["certificate"].encode())
    assert key.public_key() == root.public_key()
    issued_by(root, root.public_key())
    write(f"{mount}/roles/r", allow_any_name=True, ttl="1h", **asked)

    leaf = write(f"{mount}/issue/r", common_name="a.example.com")
    own = load_pem_private_key(leaf["private_key"].encode(), None)
    number_of_leaf = leaf["serial_number"]
    leaf = x509.load_pem_x509_certificate(leaf["certificate"].encode())
    assert own.public_key() == leaf.public_key()
    issued_by(leaf, root.public_key())
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_encipherment and not usage.key_agreement

    theirs = kind.generate()
    other = write(f"{mount}/sign/r", csr=request(theirs, number, "b.example.com"))
    other = x509.load_pem_x509_certificate(other["certificate"].encode())
    issued_by(other, root.public_key())
    assert other.public_key() == theirs.public_key()

    asked = write(f"{mount}/intermediate/generate/internal", common_name="Below", **asked)
    csr = x509.load_pem_x509_csr(asked["csr"].encode())
    csr.public_key().verify(csr.signature, csr.tbs_certrequest_bytes)

    write(f"{mount}/revoke", serial_number=number_of_leaf)
    revoked = x509.load_der_x509_crl(client.adapter.get(f"/v1/{mount}/crl").content)
    root.public_key().verify(revoked.signature, revoked.tbs_certlist_bytes)
    assert revoked.get_revoked_certificate_by_serial_number(leaf.serial_number)
    for certificate, status in ((leaf, "REVOKED"), (other, "GOOD")):
        question = ocsp.OCSPRequestBuilder().add_certificate(certificate, root, SHA256()).build()
        encoded = base64.b64encode(question.public_bytes(Encoding.DER)).decode()
        answer = client.adapter.post(f"/v1/{mount}/ocsp", json={"req": encoded})
        answer = ocsp.load_der_ocsp_response(answer.content)
        assert answer.certificate_status.name == status
        root.public_key().verify(answer.signature, answer.tbs_response_bytes)

    # A CA that OpenSSL made, brought here with its key.
    brought = own_ca(theirs, number, "Brought")
    key = theirs.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    issuer = write(f"{mount}/issuers/import/bundle", pem_bundle=key + brought)["imported_issuers"][0]
    leaf = write(f"{mount}/issuer/{issuer}/issue/r", common_name="c.example.com")
    issued_by(x509.load_pem_x509_certificate(leaf["certificate"].encode()), theirs.public_key())


transit()
for number, kind in KINDS.items():
    pki(number, kind, f"pki{number}")
print("all of it")
