"""Someone logs in to an application through Sealkeep: Authlib is the application, hvac the person's hand.

Arguments: the URL of the server and its root token.
"""

import sys
import time

import hvac
import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.oidc.core import CodeIDToken, UserInfo
from authlib.integrations.base_client.errors import OAuthError

URL, ROOT = sys.argv[1:3]
BACK = "http://127.0.0.1:9/back"
ALGORITHMS = ["RS256", "ES256", "ES384", "ES512", "EdDSA"]

root = hvac.Client(URL, token=ROOT)


def write(path, **data):
    root.adapter.post(f"/v1/{path}", json=data)


def read(path):
    return root.adapter.get(f"/v1/{path}")["data"]


def person():
    """Someone with a password, a team and a group."""
    root.sys.enable_auth_method("userpass")
    write("auth/userpass/users/ann", password="pw")
    ann = hvac.Client(URL)
    login = ann.auth.userpass.login("ann", "pw")
    entity = login["auth"]["entity_id"]
    write(f"identity/entity/id/{entity}", name="ann", metadata={"mail": "ann@example.com"})
    write("identity/group", name="ops", member_entity_ids=[entity])
    return ann, entity


def application(algorithm, kind):
    """A client with a key of its own, and the provider that it uses."""
    write(f"identity/oidc/key/{algorithm}", algorithm=algorithm, allowed_client_ids="*")
    write("identity/oidc/scope/profile", template='{"mail": {{identity.entity.metadata.mail}}, "groups": {{identity.entity.groups.names}}}')
    name = f"app-{algorithm}-{kind}"
    write(f"identity/oidc/client/{name}", redirect_uris=[BACK], assignments="allow_all", key=algorithm,
          client_type=kind, id_token_ttl="30m", access_token_ttl="1h")
    write("identity/oidc/provider/main", allowed_client_ids="*", scopes_supported="profile", issuer=URL)
    return read(f"identity/oidc/client/{name}")


def log_in(ann, client, method):
    """The whole way: discovery, consent, code, tokens, and what the application then knows."""
    about = requests.get(f"{URL}/v1/identity/oidc/provider/main/.well-known/openid-configuration").json()
    assert about["issuer"] == f"{URL}/v1/identity/oidc/provider/main", about
    app = OAuth2Session(client["client_id"], client.get("client_secret"), scope="openid profile", redirect_uri=BACK,
                        code_challenge_method="S256", token_endpoint_auth_method=method)
    verifier, nonce = generate_token(48), generate_token(16)
    url, state = app.create_authorization_url(about["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
    # The page that asks the person is a user interface; behind it is this.
    query = url.split("?", 1)[1]
    said = requests.get(f"{about['issuer']}/authorize?{query}", headers={"X-Vault-Token": ann.token}).json()
    assert said["state"] == state, said
    back = f"{BACK}?code={said['code']}&state={state}"
    token = app.fetch_token(about["token_endpoint"], authorization_response=back, code_verifier=verifier)
    keys = JsonWebKey.import_key_set(requests.get(about["jwks_uri"]).json())
    jwt = JsonWebToken(about["id_token_signing_alg_values_supported"])
    claims = jwt.decode(token["id_token"], keys, claims_cls=CodeIDToken, claims_options={"iss": {"values": [about["issuer"]]}},
                        claims_params={"nonce": nonce, "client_id": client["client_id"], "access_token": token["access_token"]})
    claims.validate(now=int(time.time()), leeway=5)
    user = UserInfo(app.get(about["userinfo_endpoint"]).json())
    assert (user.sub, user["mail"], user["groups"]) == (claims["sub"], "ann@example.com", ["ops"]), user
    assert claims["mail"] == "ann@example.com" and claims["aud"] == client["client_id"], claims
    # A code is good once.
    try:
        app.fetch_token(about["token_endpoint"], authorization_response=back, code_verifier=verifier)
    except OAuthError as error:
        assert error.error == "invalid_grant", error
    else:
        raise AssertionError("a code was good twice")
    # An access token opens nothing else.
    other = requests.get(f"{URL}/v1/auth/token/lookup-self", headers={"X-Vault-Token": token["access_token"]})
    assert other.status_code == 403, other.text
    return claims


def identity_tokens(ann, entity):
    """A token without any application: who checks it needs the public keys alone."""
    write("identity/oidc/config", issuer=URL)
    write("identity/oidc/role/plain", key="ES256", ttl="5m")
    root.sys.create_or_update_policy("issue", 'path "identity/oidc/token/plain" { capabilities = ["read"] }')
    write(f"identity/entity/id/{entity}", policies="issue")
    issued = ann.adapter.get("/v1/identity/oidc/token/plain")["data"]
    keys = JsonWebKey.import_key_set(requests.get(f"{URL}/v1/identity/oidc/.well-known/keys").json())
    claims = JsonWebToken(["ES256"]).decode(issued["token"], keys)
    assert claims["sub"] == entity and claims["aud"] == issued["client_id"], claims
    ask = {"token": issued["token"], "client_id": issued["client_id"]}
    assert root.adapter.post("/v1/identity/oidc/introspect", json=ask) == {"active": True}
    # After a rotation the old signature still counts.
    write("identity/oidc/key/ES256/rotate")
    assert root.adapter.post("/v1/identity/oidc/introspect", json=ask) == {"active": True}
    write(f"identity/entity/id/{entity}", disabled=True)
    assert root.adapter.post("/v1/identity/oidc/introspect", json=ask)["error"] == "entity is disabled"


ann, entity = person()
for algorithm in ALGORITHMS:
    assert log_in(ann, application(algorithm, "confidential"), "client_secret_basic")["sub"] == entity
log_in(ann, application("RS256", "confidential"), "client_secret_post")
log_in(ann, application("ES256", "public"), "none")
identity_tokens(ann, entity)
print("all of it")
