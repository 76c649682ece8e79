"""The settings of a service out of its secrets: a pydantic-settings source over hvac, against the development server whose URL and
token are given."""

import sys

import hvac
from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

URL, TOKEN = sys.argv[1:3]


class Secrets(PydanticBaseSettingsSource):
    """Every field from one secret of kv version 2, read at once with the role's own token."""

    def __init__(self, settings, client, path):
        super().__init__(settings)
        self.read = client.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)["data"]["data"]

    def get_field_value(self, field, field_name):
        return self.read.get(field_name), field_name, False

    def __call__(self):
        return {name: self.read[name] for name in self.settings_cls.model_fields if name in self.read}


def settings(client):
    """The class of a service whose secrets this client reads."""

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")
        user: str
        password: SecretStr
        pool: int = 1
        hosts: list[str] = []

        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, **_others):
            return init_settings, Secrets(settings_cls, client, "shop/db")

    return Settings


def main():
    root = hvac.Client(URL, token=TOKEN)
    kv = root.secrets.kv.v2
    kv.create_or_update_secret("shop/db", {"user": "u", "password": "p", "pool": 5, "hosts": ["a", "b"]})
    root.sys.create_or_update_policy("shop", 'path "secret/data/shop/*" { capabilities = ["read"] }')
    root.sys.enable_auth_method("approle")
    root.auth.approle.create_or_update_approle("shop", token_policies=["shop"], token_ttl="10m")
    role = root.auth.approle.read_role_id("shop")["data"]["role_id"]
    secret = root.auth.approle.generate_secret_id("shop")["data"]["secret_id"]
    shop = hvac.Client(URL)
    shop.auth.approle.login(role, secret)
    read = settings(shop)()
    assert (read.user, read.password.get_secret_value(), read.pool, read.hosts) == ("u", "p", 5, ["a", "b"])
    assert "p" not in repr(read.password)
    assert settings(shop)(pool=9).pool == 9
    kv.create_or_update_secret("shop/db", {"user": "v", "password": "q"})
    assert settings(shop)().user == "v"
    print("all of it")


if __name__ == "__main__":
    main()
