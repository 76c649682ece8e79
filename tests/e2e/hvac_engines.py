"""What lies beyond the main job, as a Python program does it: hvac against the development server whose URL and token are given."""

import base64
import hashlib
import hmac
import sys
import time

import hvac
from authlib.jose import JsonWebKey, jwt
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

URL, TOKEN = sys.argv[1:3]
PLAIN = base64.b64encode(b"a secret").decode()
OTHER = base64.b64encode(b"another").decode()


def refused(kind, call, *arguments, **named):
    """The call must fail in this way."""
    try:
        call(*arguments, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"{call.__name__} was not refused")


def code(secret, counter):
    """The one-time password of RFC 6238 for a period of half a minute."""
    digest = hmac.new(base64.b32decode(secret), counter.to_bytes(8, "big"), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start:start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def codes(url):
    """The code of the moment by an otpauth URL, and one that is none."""
    secret = url.split("secret=")[1].split("&")[0]
    now = int(time.time()) // 30
    near = {code(secret, now + step) for step in range(-5, 6)}
    return code(secret, now), next(f"{guess:06}" for guess in range(12) if f"{guess:06}" not in near)


def transit(client):
    client.sys.enable_secrets_engine("transit")
    keys = client.secrets.transit
    keys.create_key("data")
    assert keys.list_keys()["data"]["keys"] == ["data"]
    sealed = keys.encrypt_data("data", plaintext=PLAIN)["data"]["ciphertext"]
    assert keys.decrypt_data("data", sealed)["data"]["plaintext"] == PLAIN
    batch = keys.encrypt_data("data", batch_input=[{"plaintext": PLAIN}, {"plaintext": OTHER}])["data"]["batch_results"]
    opened = keys.decrypt_data("data", batch_input=[{"ciphertext": row["ciphertext"]} for row in batch])
    assert [row["plaintext"] for row in opened["data"]["batch_results"]] == [PLAIN, OTHER]
    keys.rotate_key("data")
    moved = keys.rewrap_data("data", sealed)["data"]["ciphertext"]
    assert sealed.startswith("vault:v1:") and moved.startswith("vault:v2:")
    keys.update_key_configuration("data", min_decryption_version=2)
    assert "disallowed by policy" in refused(InvalidRequest, keys.decrypt_data, "data", sealed)
    assert keys.decrypt_data("data", moved)["data"]["plaintext"] == PLAIN
    made = keys.generate_data_key("data", "plaintext")["data"]
    assert keys.decrypt_data("data", made["ciphertext"])["data"]["plaintext"] == made["plaintext"]
    for kind in ("ed25519", "ecdsa-p256", "rsa-2048"):
        keys.create_key(kind, key_type=kind)
        signature = keys.sign_data(kind, hash_input=PLAIN)["data"]["signature"]
        assert keys.verify_signed_data(kind, PLAIN, signature=signature)["data"]["valid"]
        assert not keys.verify_signed_data(kind, OTHER, signature=signature)["data"]["valid"]
    digest = keys.generate_hmac("data", PLAIN)["data"]["hmac"]
    assert keys.verify_signed_data("data", PLAIN, hmac=digest)["data"]["valid"]
    assert keys.hash_data(PLAIN, output_format="hex")["data"]["sum"] == hashlib.sha256(b"a secret").hexdigest()
    assert len(base64.b64decode(keys.generate_random_bytes(n_bytes=24)["data"]["random_bytes"])) == 24
    refused(InvalidRequest, keys.delete_key, "data")
    keys.update_key_configuration("data", deletion_allowed=True)
    keys.delete_key("data")
    refused(InvalidPath, keys.read_key, "data")


def people(client):
    """An entity, what a mount calls it, its group: their policies count at the next request."""
    client.sys.enable_auth_method("userpass")
    client.auth.userpass.create_or_update_user("ann", "pw")
    accessor = client.sys.list_auth_methods()["data"]["userpass/"]["accessor"]
    identity = client.secrets.identity
    entity = identity.create_or_update_entity("ann", metadata={"team": "red"})["data"]["id"]
    alias = identity.create_or_update_entity_alias("ann", entity, accessor)["data"]["id"]
    assert identity.read_entity_alias(alias)["data"]["canonical_id"] == entity
    assert identity.lookup_entity(alias_name="ann", alias_mount_accessor=accessor)["data"]["name"] == "ann"
    ann = hvac.Client(URL)
    assert ann.auth.userpass.login("ann", "pw")["auth"]["entity_id"] == entity
    refused(Forbidden, ann.secrets.kv.v2.create_or_update_secret, "red/x", {"a": "b"})
    rule = 'path "secret/data/{{identity.entity.metadata.team}}/*" { capabilities = ["create", "read"] }\n'
    rule += 'path "identity/oidc/token/app" { capabilities = ["read"] }'
    client.sys.create_or_update_policy("team", rule)
    group = identity.create_or_update_group("ops", policies=["team"], member_entity_ids=[entity])["data"]["id"]
    assert identity.lookup_group(name="ops")["data"]["member_entity_ids"] == [entity]
    assert identity.read_entity(entity)["data"]["group_ids"] == [group]
    ann.secrets.kv.v2.create_or_update_secret("red/x", {"a": "b"})
    refused(Forbidden, ann.secrets.kv.v2.create_or_update_secret, "blue/x", {"a": "b"})
    assert identity.list_entities_by_name()["data"]["keys"] == ["ann"]
    identity.create_named_key("k", allowed_client_ids=["*"], algorithm="ES256")
    identity.create_or_update_role("app", "k", '{"team": {{identity.entity.metadata.team}}}', ttl="5m")
    signed = ann.secrets.identity.generate_signed_id_token("app")["data"]["token"]
    published = identity.read_active_public_keys()
    claims = jwt.decode(signed, JsonWebKey.import_key_set(published))
    assert claims["sub"] == entity and claims["team"] == "red", claims
    assert identity.introspect_signed_id_token(signed)["active"]
    return ann, accessor, entity


def second_factor(client, accessor, entity):
    """A login that owes a code has no token before it has shown one, and a code is good once."""
    method = client.write_data("identity/mfa/method/totp", data={"issuer": "Example"})["data"]["method_id"]
    ask = {"method_id": method, "entity_id": entity}
    right, wrong = codes(client.write_data("identity/mfa/method/totp/admin-generate", data=ask)["data"]["url"])
    rule = {"mfa_method_ids": [method], "auth_method_accessors": [accessor]}
    client.write_data("identity/mfa/login-enforcement/all", data=rule)
    ann = hvac.Client(URL)

    def begin():
        auth = ann.auth.userpass.login("ann", "pw")["auth"]
        assert not auth["client_token"] and list(auth["mfa_requirement"]["mfa_constraints"]) == ["all"], auth
        return auth["mfa_requirement"]["mfa_request_id"]

    def show(request, passcode):
        body = {"mfa_request_id": request, "mfa_payload": {method: [passcode]}}
        return hvac.Client(URL).adapter.post("/v1/sys/mfa/validate", json=body)["auth"]

    refused((Forbidden, InvalidRequest), show, begin(), wrong)
    ann.token = show(begin(), right)["client_token"]
    assert ann.lookup_token()["data"]["entity_id"] == entity
    refused((Forbidden, InvalidRequest), show, begin(), right)
    client.delete("identity/mfa/login-enforcement/all")
    assert ann.auth.userpass.login("ann", "pw")["auth"]["client_token"]


def build_job(client):
    """A build job logs in by a token that its platform signed."""
    key = JsonWebKey.generate_key("EC", "P-256", is_private=True)
    public = key.as_pem(is_private=False).decode()
    client.sys.enable_auth_method("jwt")
    method = client.auth.jwt
    method.configure(jwt_validation_pubkeys=[public], bound_issuer="https://ci.example")
    method.create_role("deploy", "sub", [], bound_audiences=["vault"], bound_claims={"ref": "refs/heads/main"},
                       claim_mappings={"ref": "ref"}, token_policies=["team"], token_ttl="10m")
    assert method.list_roles()["data"]["keys"] == ["deploy"]

    def token(**changes):
        now = int(time.time())
        claims = {"iss": "https://ci.example", "aud": "vault", "sub": "job", "ref": "refs/heads/main", "exp": now + 300}
        return jwt.encode({"alg": "ES256"}, claims | {"iat": now} | changes, key).decode()

    job = hvac.Client(URL)
    auth = job.auth.jwt.jwt_login("deploy", token())["auth"]
    assert auth["metadata"]["ref"] == "refs/heads/main" and auth["lease_duration"] == 600, auth
    assert job.lookup_token()["data"]["display_name"] == "jwt-job"
    for change in ({"ref": "refs/heads/x"}, {"aud": "else"}, {"iss": "https://else.example"}, {"exp": 1}):
        refused((InvalidRequest, Forbidden), job.auth.jwt.jwt_login, "deploy", token(**change))


def shells(client):
    """A signed SSH key, and a one-time password, whose lease ends by hand."""
    client.sys.enable_secrets_engine("ssh")
    ssh = client.secrets.ssh
    client.write_data("ssh/config/ca", data={"generate_signing_key": True, "key_type": "ed25519"})
    assert ssh.read_public_key()["data"]["public_key"].startswith("ssh-ed25519 ")
    client.write_data("ssh/roles/people", data={"key_type": "ca", "allow_user_certificates": True, "allowed_users": "ann"})
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    public = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    signed = ssh.sign_ssh_key("people", public, valid_principals="ann")["data"]
    assert signed["signed_key"].startswith("ssh-ed25519-cert-v01@openssh.com ") and signed["serial_number"]
    refused(InvalidRequest, ssh.sign_ssh_key, "people", public, valid_principals="root")
    ssh.create_role("once", key_type="otp", default_user="ann", cidr_list="127.0.0.0/8")
    assert sorted(ssh.list_roles()["data"]["keys"]) == ["once", "people"]
    assert ssh.read_role("once")["data"]["key_type"] == "otp"
    given = ssh.generate_ssh_credentials("once", username="ann", ip="127.0.0.1")
    assert client.sys.list_leases("ssh/creds/once")["data"]["keys"] == [given["lease_id"].split("/")[-1]]
    assert client.sys.read_lease(given["lease_id"])["data"]["id"] == given["lease_id"]
    assert "not renewable" in refused(InvalidRequest, client.sys.renew_lease, given["lease_id"])
    client.sys.revoke_lease(given["lease_id"])
    check = client.adapter.post
    refused(InvalidRequest, check, "/v1/ssh/verify", json={"otp": given["data"]["key"]})
    given = ssh.generate_ssh_credentials("once", username="ann", ip="127.0.0.1")
    assert check("/v1/ssh/verify", json={"otp": given["data"]["key"]})["data"]["username"] == "ann"
    refused(InvalidRequest, check, "/v1/ssh/verify", json={"otp": given["data"]["key"]})
    ssh.generate_ssh_credentials("once", username="ann", ip="127.0.0.1")
    client.sys.revoke_prefix("ssh/creds")
    refused(InvalidPath, client.sys.list_leases, "ssh/creds/once")


def one_time_passwords(client):
    client.sys.enable_secrets_engine("totp")
    key = client.write_data("totp/keys/ann", data={"generate": True, "issuer": "Example", "account_name": "ann"})["data"]
    right, wrong = codes(key["url"])
    assert base64.b64decode(key["barcode"]).startswith(b"\x89PNG")
    assert not client.write_data("totp/code/ann", data={"code": wrong})["data"]["valid"]
    assert client.write_data("totp/code/ann", data={"code": right})["data"]["valid"]
    assert "already used" in refused(InvalidRequest, client.write_data, "totp/code/ann", data={"code": right})
    client.write_data("totp/keys/shop", data={"url": "otpauth://totp/Shop:ann?secret=Y64VEVMBTSXCYIWRSHRNDZW62MPGVU2G"})
    assert len(client.read("totp/code/shop")["data"]["code"]) == 6
    assert client.list("totp/keys")["data"]["keys"] == ["ann", "shop"]


def namespaces(client):
    client.sys.create_namespace("team")
    assert "team/" in client.sys.list_namespaces()["data"]["keys"]
    team = hvac.Client(URL, token=TOKEN, namespace="team")
    team.sys.enable_secrets_engine("kv", path="own", options={"version": "2"})
    kv = team.secrets.kv.v2
    kv.create_or_update_secret("db", {"password": "p"}, mount_point="own")
    inside = kv.read_secret_version("db", mount_point="own", raise_on_deleted_version=True)
    assert inside["data"]["data"] == {"password": "p"}
    assert client.read("team/own/data/db")["data"]["data"] == {"password": "p"}
    # hvac takes the 404 or, of a mount that is not there, the 403 for what it is.
    refused((InvalidPath, Forbidden), client.secrets.kv.v2.read_secret_version, "db", mount_point="own",
            raise_on_deleted_version=True)
    team.sys.create_or_update_policy("reader", 'path "own/data/*" { capabilities = ["read"] }')
    token = team.auth.token.create(policies=["reader"], ttl="10m")["auth"]["client_token"]
    reader = hvac.Client(URL, token=token, namespace="team")
    assert reader.secrets.kv.v2.read_secret_version("db", mount_point="own", raise_on_deleted_version=True)
    refused(Forbidden, hvac.Client(URL, token=token).secrets.kv.v2.read_secret_version, "db", raise_on_deleted_version=True)
    team.sys.disable_secrets_engine("own")
    client.sys.delete_namespace("team")


def wrapping(client):
    wrapped = client.sys.wrap({"password": "p"}, ttl=120)["wrap_info"]
    assert wrapped["ttl"] == 120 and wrapped["creation_path"] == "sys/wrapping/wrap"
    looked = client.write_data("sys/wrapping/lookup", data={"token": wrapped["token"]})["data"]
    assert looked["creation_ttl"] == 120
    turned = client.write_data("sys/wrapping/rewrap", data={"token": wrapped["token"]})["wrap_info"]["token"]
    refused((InvalidRequest, Forbidden), client.sys.unwrap, wrapped["token"])
    assert hvac.Client(URL, token=turned).sys.unwrap()["data"] == {"password": "p"}
    client.secrets.kv.v2.create_or_update_secret("app", {"a": "b"})
    wrapped = client.read("secret/data/app", wrap_ttl="1m")["wrap_info"]["token"]
    assert client.sys.unwrap(wrapped)["data"]["data"] == {"a": "b"}
    refused((InvalidRequest, Forbidden), client.sys.unwrap, wrapped)


def main():
    client = hvac.Client(URL, token=TOKEN)
    transit(client)
    ann, accessor, entity = people(client)
    second_factor(client, accessor, entity)
    build_job(client)
    shells(client)
    one_time_passwords(client)
    namespaces(client)
    wrapping(client)
    ann.logout(revoke_token=True)
    print("all of it")


if __name__ == "__main__":
    main()
