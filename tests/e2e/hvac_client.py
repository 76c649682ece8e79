"""The main job as a Python program does it: hvac against the server whose URL and scratch folder are given."""

import sys
import time

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, VaultDown, VaultError

URL, FOLDER = sys.argv[1:3]
POLICY = """
path "secret/data/app/*" { capabilities = ["create", "read", "update", "patch"] }
path "secret/metadata/app/*" { capabilities = ["list"] }
path "pki/issue/web" { capabilities = ["update"] }
"""


def refused(kind, call, *arguments, **named):
    """The call must fail in this way."""
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"{call.__name__} was not refused")


def wait(yes):
    """Asks until the answer is yes; half a minute at most."""
    for _ in range(3000):
        try:
            if yes():
                return
        except VaultError:
            pass
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def health():
    """What a load balancer sees."""
    return requests.get(URL + "/v1/sys/health", timeout=30).status_code


def life(client):
    assert not client.sys.is_initialized()
    assert health() == 501
    keys = client.sys.initialize(secret_shares=3, secret_threshold=2)
    assert client.sys.is_initialized() and client.sys.is_sealed()
    refused(VaultDown, client.secrets.kv.v2.read_secret_version, path="x", raise_on_deleted_version=True)
    client.sys.submit_unseal_key(keys["keys"][0])
    assert client.sys.read_seal_status()["progress"] == 1
    client.sys.submit_unseal_keys([keys["keys"][2]])
    wait(lambda: health() == 200)
    client.token = keys["root_token"]
    wait(client.is_authenticated)
    return keys


def secrets(client):
    client.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    wait(lambda: client.secrets.kv.v2.read_configuration()["data"] is not None)
    kv = client.secrets.kv.v2
    assert kv.create_or_update_secret("app/db", {"user": "u", "n": 1})["data"]["version"] == 1
    assert kv.create_or_update_secret("app/db", {"user": "v"}, cas=1)["data"]["version"] == 2
    refused(InvalidRequest, kv.create_or_update_secret, "app/db", {"user": "w"}, cas=1)
    kv.patch("app/db", {"more": "x"})
    read = kv.read_secret_version("app/db", raise_on_deleted_version=True)["data"]
    assert read["data"] == {"user": "v", "more": "x"} and read["metadata"]["version"] == 3, read
    assert kv.read_secret_version("app/db", version=1, raise_on_deleted_version=True)["data"]["data"]["n"] == 1
    kv.delete_latest_version_of_secret("app/db")
    refused(InvalidPath, kv.read_secret_version, "app/db", raise_on_deleted_version=True)
    kv.undelete_secret_versions("app/db", [3])
    kv.destroy_secret_versions("app/db", [1])
    assert kv.read_secret_metadata("app/db")["data"]["versions"]["1"]["destroyed"]
    kv.update_metadata("app/db", max_versions=5, custom_metadata={"owner": "me"})
    assert kv.list_secrets("app")["data"]["keys"] == ["db"]
    refused(InvalidPath, kv.list_secrets, "none")
    client.sys.enable_secrets_engine("kv", path="first", options={"version": "1"})
    client.secrets.kv.v1.create_or_update_secret("a", {"x": "1"}, mount_point="first")
    assert client.secrets.kv.v1.read_secret("a", mount_point="first")["data"] == {"x": "1"}
    client.sys.tune_mount_configuration("first", default_lease_ttl="30m")
    assert client.sys.read_mount_configuration("first")["data"]["default_lease_ttl"] == 1800
    client.sys.move_backend("first", "moved")
    wait(lambda: "moved/" in client.sys.list_mounted_secrets_engines()["data"])
    client.sys.disable_secrets_engine("moved")


def tokens(client):
    client.sys.create_or_update_policy("app", POLICY)
    assert "app" in client.sys.list_policies()["data"]["policies"]
    made = client.auth.token.create(policies=["app"], ttl="1h", meta={"who": "me"})["auth"]
    app = hvac.Client(URL, token=made["client_token"])
    assert app.lookup_token()["data"]["meta"] == {"who": "me"}
    app.secrets.kv.v2.read_secret_version("app/db", raise_on_deleted_version=True)
    refused(Forbidden, app.secrets.kv.v2.read_secret_version, "other", raise_on_deleted_version=True)
    assert app.auth.token.renew_self(increment="30m")["auth"]["lease_duration"] == 1800
    assert client.sys.get_capabilities(["secret/data/app/x"], token=made["client_token"])["data"]["secret/data/app/x"]
    client.auth.token.revoke_accessor(made["accessor"])
    assert not app.is_authenticated()
    client.auth.token.create_or_update_role("web", allowed_policies=["app"], orphan=True)
    assert client.auth.token.create(role_name="web", policies=["app"])["auth"]["orphan"]
    assert client.auth.token.list_roles()["data"]["keys"] == ["web"]


def logins(client):
    client.sys.enable_auth_method("approle")
    client.auth.approle.create_or_update_approle("web", token_policies=["app"], token_ttl="20m", secret_id_num_uses=2)
    role = client.auth.approle.read_role_id("web")["data"]["role_id"]
    secret = client.auth.approle.generate_secret_id("web", metadata={"team": "x"})["data"]["secret_id"]
    web = hvac.Client(URL)
    assert web.auth.approle.login(role, secret)["auth"]["metadata"]["team"] == "x"
    web.secrets.kv.v2.create_or_update_secret("app/new", {"a": "b"})
    refused(InvalidRequest, hvac.Client(URL).auth.approle.login, role, "wrong")
    wrapped = client.auth.approle.generate_secret_id("web", wrap_ttl="60s")["wrap_info"]
    assert hvac.Client(URL, token=wrapped["token"]).sys.unwrap()["data"]["secret_id"]
    refused((InvalidRequest, Forbidden), hvac.Client(URL, token=wrapped["token"]).sys.unwrap)
    client.sys.enable_auth_method("userpass")
    client.auth.userpass.create_or_update_user("bob", "pw", policies=["app"])
    bob = hvac.Client(URL)
    assert bob.auth.userpass.login("bob", "pw")["auth"]["token_policies"] == ["app", "default"]
    refused(InvalidRequest, hvac.Client(URL).auth.userpass.login, "bob", "wrong")
    assert {"approle/", "userpass/"} <= set(client.sys.list_auth_methods()["data"])
    bob.logout(revoke_token=True)
    return web


def certificates(client, web):
    client.sys.enable_secrets_engine("pki", config={"max_lease_ttl": "87600h"})
    pki = client.secrets.pki
    pki.generate_root("internal", "Root", extra_params={"key_type": "ec", "ttl": "87600h"})
    client.sys.enable_secrets_engine("pki", path="int", config={"max_lease_ttl": "43800h"})
    csr = pki.generate_intermediate("internal", "Intermediate", {"key_type": "ec"}, mount_point="int")["data"]["csr"]
    signed = pki.sign_intermediate(csr, "Intermediate", {"ttl": "43800h"})["data"]
    pki.set_signed_intermediate(signed["certificate"] + "\n" + signed["issuing_ca"], mount_point="int")
    pki.create_or_update_role("web", {"allowed_domains": ["example.com"], "allow_subdomains": True, "key_type": "ec",
                                      "generate_lease": True, "ttl": "1h"})
    issued = web.secrets.pki.generate_certificate("web", "a.example.com")
    assert "BEGIN CERTIFICATE" in issued["data"]["certificate"] and issued["lease_id"]
    refused(InvalidRequest, web.secrets.pki.generate_certificate, "web", "other.org")
    assert client.sys.read_lease(issued["lease_id"])["data"]["ttl"] > 3000
    client.sys.revoke_lease(issued["lease_id"])
    serial = issued["data"]["serial_number"]
    assert client.secrets.pki.read_certificate(serial)["data"]["revocation_time"] > 0
    assert serial in pki.list_certificates()["data"]["keys"]
    assert "BEGIN X509 CRL" in pki.read_crl()
    assert "BEGIN CERTIFICATE" in pki.read_ca_certificate()
    pki.tidy({"tidy_cert_store": True})


def audit(client):
    client.sys.enable_audit_device("file", options={"file_path": FOLDER + "/hvac-audit.log"})
    assert "file/" in client.sys.list_enabled_audit_devices()["data"]
    digest = client.sys.calculate_hash("file", client.token)["data"]["hash"]
    client.lookup_token()
    with open(FOLDER + "/hvac-audit.log") as file:
        text = file.read()
    assert digest in text and client.token not in text
    client.sys.disable_audit_device("file")


def end(client, keys):
    client.sys.rotate_encryption_key()
    assert client.sys.get_encryption_key_status()["data"]["term"] == 2
    client.sys.seal()
    assert client.sys.is_sealed()
    client.sys.submit_unseal_keys(keys["keys"][:2])
    wait(client.is_authenticated)
    assert client.secrets.kv.v2.read_secret_version("app/new", raise_on_deleted_version=True)["data"]["data"] == {"a": "b"}


def main():
    client = hvac.Client(URL)
    keys = life(client)
    secrets(client)
    tokens(client)
    web = logins(client)
    certificates(client, web)
    audit(client)
    end(client, keys)
    print("all of it")


if __name__ == "__main__":
    main()
