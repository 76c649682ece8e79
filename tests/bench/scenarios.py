"""What is measured, and the bar each has to clear: ratios to bao and to the bare handler on the same machine."""

import base64
import json
import os
import queue
import subprocess
import tempfile
import threading
import time

import load
from servers import Api, WrongAnswer

SECRET = {"user": "application", "password": "correct horse battery staple", "host": "db.example.com", "port": "5432"}
PLAINTEXT = base64.b64encode(b"4111 1111 1111 1111, 12/29").decode()
TOKENS = 10_000
READ = "secret/data/bench"


def check(answer, *path, equals):
    """The value at this path of an answer must be this one."""
    value = answer
    for key in path:
        value = (value or {}).get(key)
    if value != equals:
        raise WrongAnswer(f"{'.'.join(path)} is {value!r}, not {equals!r}")


def prepare(server):
    """All that the scenarios need, made once per server."""
    api = server.api()
    api.must("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
    server.until(time.perf_counter(), lambda api: api.ask("GET", "secret/config")[0] == 200)
    api.must("POST", "sys/mounts/kv1", {"type": "kv"})
    api.must("POST", READ, {"data": SECRET})
    api.must("POST", "kv1/bench", SECRET)
    rules = "".join(
        f'path "{path}" {{ capabilities = ["create", "read", "update"] }}\n'
        for path in ("secret/data/*", "kv1/*", "auth/token/create", "pki/issue/*", "pki/sign/*", "transit/*"))
    api.must("POST", "sys/policies/acl/bench", {"policy": rules})
    api.must("POST", "sys/auth/approle", {"type": "approle"})
    api.must("POST", "auth/approle/role/bench", {"token_policies": ["bench"], "token_ttl": "1h", "secret_id_num_uses": 0})
    api.must("POST", "sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
    api.must("POST", "pki/root/generate/internal", {"common_name": "Bench", "key_type": "ec", "key_bits": 256, "ttl": "87600h"})
    api.must("POST", "pki/roles/bench", {"allowed_domains": ["example.com"], "allow_subdomains": True, "key_type": "ec",
                                         "key_bits": 256, "ttl": "1h", "max_ttl": "24h"})
    api.must("POST", "sys/mounts/transit", {"type": "transit"})
    for kind in ("aes256-gcm96", "ed25519", "ecdsa-p256"):
        api.must("POST", f"transit/keys/{kind}", {"type": kind})
    server.token = new_token(api)


def new_token(api):
    """A service token with the bench's policy."""
    return api.must("POST", "auth/token/create", {"policies": ["bench"], "ttl": "24h"})["auth"]["client_token"]


def read(server, seconds, path, port=None, scheme="http", data=("data", "data")):
    """GET of one path, checked before and after."""
    url = f"{scheme}://127.0.0.1:{port or server.port}/v1/{path}"
    caller = Api(server.port, server.token)
    check(caller.must("GET", path), *data, equals=SECRET)
    load.measure(server, url, load.fixed(token=server.token), 1)
    result = load.measure(server, url, load.fixed(token=server.token), seconds)
    check(caller.must("GET", path), *data, equals=SECRET)
    return result


def kv2_read(server, seconds):
    return read(server, seconds, READ)


def kv1_read(server, seconds):
    return read(server, seconds, "kv1/bench", data=("data",))


def kv2_read_tls(server, seconds):
    return read(server, seconds, READ, port=server.tls, scheme="https")


def kv2_read_audit(server, seconds):
    path = server.folder + "/audit.log"
    server.api().must("PUT", "sys/audit/file", {"type": "file", "options": {"file_path": path}})
    try:
        result = read(server, seconds, READ)
        with open(path, "rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        if lines < 2 * result["requests"]:
            raise WrongAnswer(f"{lines} audit lines for {result['requests']} requests")
        return result
    finally:
        server.api().must("DELETE", "sys/audit/file")
        os.unlink(path)


def token_lookup(server, seconds):
    caller = Api(server.port, server.token)
    check(caller.must("GET", "auth/token/lookup-self"), "data", "id", equals=server.token)
    url = f"http://127.0.0.1:{server.port}/v1/auth/token/lookup-self"
    load.measure(server, url, load.fixed(token=server.token), 1)
    return load.measure(server, url, load.fixed(token=server.token), seconds)


def kv2_write(server, seconds):
    url = f"http://127.0.0.1:{server.port}/"
    script = load.numbered("/v1/secret/data/written/k", {"data": SECRET}, server.token)
    result = load.measure(server, url, script, seconds)
    caller = Api(server.port, server.token)
    # wrk tries the script once before it starts: the first number may never be sent.
    for number in range(1, result["requests"] - load.CONNECTIONS, max(1, result["requests"] // 50)):
        check(caller.must("GET", f"secret/data/written/k{number}"), "data", "data", equals=SECRET)
    return result


def approle_login(server, seconds):
    api = server.api()
    body = {
        "role_id": api.must("GET", "auth/approle/role/bench/role-id")["data"]["role_id"],
        "secret_id": api.must("POST", "auth/approle/role/bench/secret-id")["data"]["secret_id"],
    }
    answer = Api(server.port).must("POST", "auth/approle/login", body)
    check(answer, "auth", "policies", equals=["bench", "default"])
    url = f"http://127.0.0.1:{server.port}/v1/auth/approle/login"
    return load.measure(server, url, load.fixed("POST", body), seconds)


def batch_login(server, seconds):
    """A login that stores nothing: its token carries what it may."""
    api = server.api()
    api.must("POST", "auth/approle/role/batch", {"token_policies": ["bench"], "token_ttl": "1h", "token_type": "batch",
                                                 "secret_id_num_uses": 0})
    body = {
        "role_id": api.must("GET", "auth/approle/role/batch/role-id")["data"]["role_id"],
        "secret_id": api.must("POST", "auth/approle/role/batch/secret-id")["data"]["secret_id"],
    }
    check(Api(server.port).must("POST", "auth/approle/login", body), "auth", "token_type", equals="batch")
    url = f"http://127.0.0.1:{server.port}/v1/auth/approle/login"
    return load.measure(server, url, load.fixed("POST", body), seconds)


def jwt_login(server, seconds):
    """A login by a token signed with P-256, whose key the server was given."""
    api = server.api()
    api.must("POST", "sys/auth/jwt", {"type": "jwt"})
    with tempfile.TemporaryDirectory(prefix="bench-jwt-") as folder:
        key, public = signing_key(folder)
        api.must("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [public], "bound_issuer": "https://bench"})
        api.must("POST", "auth/jwt/role/bench", {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["bench"],
                                                 "token_policies": ["bench"], "token_ttl": "1h"})
        now = int(time.time())
        claims = {"iss": "https://bench", "sub": "runner", "aud": "bench", "iat": now, "nbf": now, "exp": now + 86400}
        body = {"role": "bench", "jwt": signed(folder, key, claims)}
    answer = Api(server.port).must("POST", "auth/jwt/login", body)
    check(answer, "auth", "policies", equals=["bench", "default"])
    url = f"http://127.0.0.1:{server.port}/v1/auth/jwt/login"
    return load.measure(server, url, load.fixed("POST", body), seconds)


def signing_key(folder):
    """A P-256 key in a file of the folder, and its public half in PEM."""
    key = os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key],
                   check=True, capture_output=True)
    return key, subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], check=True, capture_output=True, text=True).stdout


def signed(folder, key, claims):
    """The claims as a token in compact form (RFC 7515), signed by openssl."""
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    head = part(b'{"alg":"ES256","typ":"JWT"}') + "." + part(json.dumps(claims).encode())
    file = os.path.join(folder, "input")
    with open(file, "w") as out:
        out.write(head)
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key, file], check=True, capture_output=True).stdout
    # SEQUENCE of two INTEGERs to 32 bytes each (RFC 7518, section 3.4).
    first = der[3]
    r, s = der[4:4 + first], der[6 + first:]
    return head + "." + part(b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (r, s)))


def token_create(server, seconds):
    body = {"policies": ["bench"], "ttl": "1h"}
    caller = Api(server.port, server.token)
    token = caller.must("POST", "auth/token/create", body)["auth"]["client_token"]
    check(Api(server.port, token).must("GET", "auth/token/lookup-self"), "data", "id", equals=token)
    url = f"http://127.0.0.1:{server.port}/v1/auth/token/create"
    return load.measure(server, url, load.fixed("POST", body, server.token), seconds)


def pki_issue(server, seconds):
    body = {"common_name": "host.example.com"}
    caller = Api(server.port, server.token)
    serial = caller.must("POST", "pki/issue/bench", body)["data"]["serial_number"]
    if "BEGIN CERTIFICATE" not in server.api().must("GET", f"pki/cert/{serial}")["data"]["certificate"]:
        raise WrongAnswer("the certificate is not stored")
    url = f"http://127.0.0.1:{server.port}/v1/pki/issue/bench"
    return load.measure(server, url, load.fixed("POST", body, server.token), seconds)


def pki_sign(server, seconds):
    """A certificate for a key that was made elsewhere, stored."""
    caller = Api(server.port, server.token)
    with tempfile.TemporaryDirectory(prefix="bench-csr-") as folder:
        key, _ = signing_key(folder)
        csr = subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", "/CN=host.example.com"],
                             check=True, capture_output=True, text=True).stdout
    body = {"csr": csr, "common_name": "host.example.com"}
    serial = caller.must("POST", "pki/sign/bench", body)["data"]["serial_number"]
    if "BEGIN CERTIFICATE" not in server.api().must("GET", f"pki/cert/{serial}")["data"]["certificate"]:
        raise WrongAnswer("the certificate is not stored")
    url = f"http://127.0.0.1:{server.port}/v1/pki/sign/bench"
    return load.measure(server, url, load.fixed("POST", body, server.token), seconds)


def ocsp(server, seconds):
    """Whether a certificate still holds, asked by GET without a nonce, as RFC 5019 has it."""
    issued = Api(server.port, server.token).must("POST", "pki/issue/bench", {"common_name": "host.example.com"})["data"]
    with tempfile.TemporaryDirectory(prefix="bench-ocsp-") as folder:
        leaf, issuer, question = (os.path.join(folder, name) for name in ("leaf.pem", "issuer.pem", "question.der"))
        for file, text in ((leaf, issued["certificate"]), (issuer, issued["issuing_ca"])):
            with open(file, "w") as out:
                out.write(text + "\n")
        url = f"http://127.0.0.1:{server.port}/v1/pki/ocsp"
        told = subprocess.run(["openssl", "ocsp", "-issuer", issuer, "-cert", leaf, "-url", url, "-CAfile", issuer,
                               "-verify_other", issuer, "-no_nonce", "-reqout", question], capture_output=True, text=True)
        if "leaf.pem: good" not in told.stdout:
            raise WrongAnswer(f"openssl ocsp: {told.stdout}{told.stderr}")
        with open(question, "rb") as file:
            asked = base64.b64encode(file.read()).decode()
    asked = asked.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    return load.measure(server, f"{url}/{asked}", load.fixed(), seconds)


def transit_encrypt(server, seconds):
    caller = Api(server.port, server.token)
    body = {"plaintext": PLAINTEXT}
    made = caller.must("POST", "transit/encrypt/aes256-gcm96", body)["data"]["ciphertext"]
    check(caller.must("POST", "transit/decrypt/aes256-gcm96", {"ciphertext": made}), "data", "plaintext", equals=PLAINTEXT)
    url = f"http://127.0.0.1:{server.port}/v1/transit/encrypt/aes256-gcm96"
    load.measure(server, url, load.fixed("POST", body, server.token), 1)
    return load.measure(server, url, load.fixed("POST", body, server.token), seconds)


def transit_sign(server, seconds, kind):
    caller = Api(server.port, server.token)
    body = {"input": PLAINTEXT}
    made = caller.must("POST", f"transit/sign/{kind}", body)["data"]["signature"]
    check(caller.must("POST", f"transit/verify/{kind}", body | {"signature": made}), "data", "valid", equals=True)
    url = f"http://127.0.0.1:{server.port}/v1/transit/sign/{kind}"
    load.measure(server, url, load.fixed("POST", body, server.token), 1)
    return load.measure(server, url, load.fixed("POST", body, server.token), seconds)


def transit_sign_ed25519(server, seconds):
    return transit_sign(server, seconds, "ed25519")


def transit_sign_p256(server, seconds):
    return transit_sign(server, seconds, "ecdsa-p256")


def kv2_read_tokens(server, seconds):
    wanted = queue.Queue()
    made = []

    def work():
        api = server.api()
        while not wanted.empty():
            try:
                wanted.get_nowait()
            except queue.Empty:
                return
            made.append(new_token(api))

    for _ in range(TOKENS):
        wanted.put(None)
    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(made) != TOKENS:
        raise WrongAnswer(f"{len(made)} tokens of {TOKENS}")
    with tempfile.NamedTemporaryFile("w", suffix=".tokens") as file:
        file.write("\n".join(made) + "\n")
        file.flush()
        script = load.each_token(f"/v1/{READ}", file.name)
        load.measure(server, f"http://127.0.0.1:{server.port}/", script, 1)
        return load.measure(server, f"http://127.0.0.1:{server.port}/", script, seconds)


def beside(crowd, what, measured):
    """Measures while others do something, and notes how much of it they did."""
    try:
        result = measured()
    finally:
        done = load.finish(crowd)
    if done["status"] or not done["requests"]:
        raise WrongAnswer(f"{what} beside what is measured: {done}")
    result["note"] = f"beside {done['requests'] / (done['micros'] / 1e6):.0f} {what}"
    return result


def kv2_read_under_writes(server, seconds):
    script = load.numbered("/v1/secret/data/beside/k", {"data": SECRET}, server.token)
    writer = load.start(f"http://127.0.0.1:{server.port}/", script, seconds + 4, connections=4)
    return beside(writer, "writes/s", lambda: read(server, seconds, READ))


def kv2_write_beside_hot(server, seconds):
    """Writes to many paths while others all write to one: those must lose their races at their own cost."""
    script = load.fixed("POST", {"data": SECRET}, server.token)
    crowd = load.start(f"http://127.0.0.1:{server.port}/v1/secret/data/hot", script, seconds + 4)
    return beside(crowd, "writes/s to one path", lambda: kv2_write(server, seconds))


# name, what runs, bar as a multiple of bao, bar as a share of the bare handler
ALL = [
    ("kv2-read", kv2_read, 40, 0.45),
    ("token-lookup", token_lookup, 40, None),
    ("kv2-read-audit", kv2_read_audit, 25, None),
    ("kv2-write", kv2_write, 15, None),
    ("approle-login", approle_login, 20, None),
    ("batch-login", batch_login, 20, None),
    ("jwt-login", jwt_login, 15, None),
    ("token-create", token_create, 20, None),
    ("pki-issue", pki_issue, 20, None),
    ("pki-sign", pki_sign, 20, None),
    ("ocsp", ocsp, 20, None),
    ("transit-encrypt", transit_encrypt, 20, None),
    ("transit-sign-ed25519", transit_sign_ed25519, 20, None),
    ("transit-sign-p256", transit_sign_p256, 15, None),
    ("kv1-read", kv1_read, None, None),
    ("kv2-read-tls", kv2_read_tls, None, None),
    ("kv2-read-under-writes", kv2_read_under_writes, None, None),
    ("kv2-read-10k-tokens", kv2_read_tokens, None, None),
    ("kv2-write-beside-hot", kv2_write_beside_hot, None, None),
]

# What the machine does with nothing around it, and the word of the bare program for it.
PRIMITIVES = {
    "P-256 key": "p256-key",
    "P-256 signature": "p256-sign",
    "P-256 verification": "p256-verify",
    "Ed25519 signature": "ed25519-sign",
    "AES-256-GCM, 512 bytes": "aes-256-gcm",
}

# What a request has to do, whatever is around it.
UNAVOIDABLE = {
    "jwt-login": ["P-256 verification"],
    "pki-issue": ["P-256 key", "P-256 signature"],
    "pki-sign": ["P-256 verification", "P-256 signature"],
    "transit-encrypt": ["AES-256-GCM, 512 bytes"],
    "transit-sign-ed25519": ["Ed25519 signature"],
    "transit-sign-p256": ["P-256 signature"],
}
