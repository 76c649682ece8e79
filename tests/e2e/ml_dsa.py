"""ML-DSA as OpenSSL has it, under the Python library cryptography: what the development server whose URL and token are given makes,
OpenSSL verifies, and what OpenSSL makes, the server takes."""

import base64
import datetime
import sys

import hvac
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import mldsa, padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat, load_der_private_key, load_pem_private_key, load_pem_public_key,
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


def request(key, name):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, None)
    return made.public_bytes(Encoding.PEM).decode()


def pki(number, kind, mount):
    client.sys.enable_secrets_engine("pki", mount)
    client.sys.tune_mount_configuration(mount, max_lease_ttl="87600h")
    asked = {"key_type": "ml-dsa", "parameter_set": number}
    root = write(f"{mount}/root/generate/exported", common_name="Root", ttl="43800h", **asked)
    key = load_pem_private_key(root["private_key"].encode(), None)
    root = x509.load_pem_x509_certificate(root["certificate"].encode())
    assert key.public_key() == root.public_key()
    root.verify_directly_issued_by(root)
    assert root.signature_hash_algorithm is None
    write(f"{mount}/roles/r", allow_any_name=True, ttl="1h", **asked)

    leaf = write(f"{mount}/issue/r", common_name="a.example.com")
    own = load_pem_private_key(leaf["private_key"].encode(), None)
    leaf = x509.load_pem_x509_certificate(leaf["certificate"].encode())
    assert own.public_key() == leaf.public_key()
    leaf.verify_directly_issued_by(root)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_encipherment and not usage.key_agreement

    theirs = kind.generate()
    signed = write(f"{mount}/sign/r", csr=request(theirs, "b.example.com"))
    signed = x509.load_pem_x509_certificate(signed["certificate"].encode())
    signed.verify_directly_issued_by(root)
    assert signed.public_key() == theirs.public_key()

    asked = write(f"{mount}/intermediate/generate/internal", common_name="Below", **asked)
    assert x509.load_pem_x509_csr(asked["csr"].encode()).is_signature_valid

    write(f"{mount}/revoke", serial_number=f"{leaf.serial_number:x}".zfill(40))
    revoked = x509.load_der_x509_crl(client.adapter.get(f"/v1/{mount}/crl").content)
    assert revoked.is_signature_valid(root.public_key())
    assert revoked.get_revoked_certificate_by_serial_number(leaf.serial_number)
    for certificate, status in ((leaf, "REVOKED"), (signed, "GOOD")):
        question = ocsp.OCSPRequestBuilder().add_certificate(certificate, root, SHA256()).build()
        encoded = base64.b64encode(question.public_bytes(Encoding.DER)).decode()
        answer = client.adapter.post(f"/v1/{mount}/ocsp", json={"req": encoded})
        answer = ocsp.load_der_ocsp_response(answer.content)
        assert answer.certificate_status.name == status
        root.public_key().verify(answer.signature, answer.tbs_response_bytes)

    # A CA that OpenSSL made, brought here with its key.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Brought")])
    now = datetime.datetime.now(datetime.UTC)
    brought = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(theirs.public_key())
    brought = brought.serial_number(x509.random_serial_number()).not_valid_before(now)
    brought = brought.not_valid_after(now + datetime.timedelta(days=9))
    brought = brought.add_extension(x509.BasicConstraints(True, None), True).sign(theirs, None)
    pem = theirs.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + brought.public_bytes(Encoding.PEM)
    issuer = write(f"{mount}/issuers/import/bundle", pem_bundle=pem.decode())["imported_issuers"][0]
    leaf = write(f"{mount}/issuer/{issuer}/issue/r", common_name="c.example.com")
    x509.load_pem_x509_certificate(leaf["certificate"].encode()).verify_directly_issued_by(brought)


transit()
for number, kind in KINDS.items():
    pki(number, kind, f"pki{number}")
print("all of it")
