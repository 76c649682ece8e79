//! PingID: one request that is answered when someone has confirmed on their phone. Both ways it is a signed token.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kit::loose::Text;
use kit::{Call, Error, Result, Route, Secret, Time, World};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::kind::Kind;
use super::method::{Routes, Wish};
use super::record::{PingId, Way};
use super::round::{self, LONG_POLL, Question, Refusal};

/// Where an authentication is asked for, below the URL of the settings.
const AUTHENTICATE: &str = "/rest/4/authonline/do";
/// The version of the API that requests say they are of.
const VERSION: &str = "4.9";
/// How PingID spells success.
const SUCCESS: i64 = 200;
/// How large a settings file may be.
const SETTINGS_SIZE_MAX: usize = 64 * 1024;

/// What can be said of a method that asks PingID.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::identity) struct PingIdWish {
    /// Its name, by which a client may call it.
    method_name: Option<Text>,
    /// What an entity is called at PingID, as an identity template; without one, by its name.
    username_format: Option<Text>,
    /// The settings file that PingID gives out (`pingid.properties`), in base64.
    settings_file_base64: Option<Text>,
}

impl Wish for PingIdWish {
    const KIND: Kind = Kind::PingId;
    const ROUTES: Routes = Routes {
        register: Route::post("mfa/method/pingid"),
        get: Route::get("mfa/method/pingid/{method_id}"),
        put: Route::post("mfa/method/pingid/{method_id}"),
        delete: Route::delete("mfa/method/pingid/{method_id}"),
    };

    fn method_name(&self) -> &str {
        self.method_name.as_ref().map_or("", |text| &text.0)
    }

    fn username_format(&self) -> Option<&str> {
        self.username_format.as_ref().map(|text| &*text.0)
    }

    fn way(self) -> Result<Way> {
        let text = self.settings_file_base64.unwrap_or_default().0;
        if text.is_empty() {
            return Err(Error::invalid("settings_file_base64 is empty"));
        }
        if text.len() > SETTINGS_SIZE_MAX {
            return Err(Error::invalid(format!(
                "settings_file_base64 must be at most {SETTINGS_SIZE_MAX} bytes"
            )));
        }
        let wrong = |at: usize| Error::invalid(format!("illegal base64 data at input byte {at}"));
        let file = STANDARD.decode(&text).map_err(|error| match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
                wrong(at)
            }
            // What ends too early is wrong from its last four letters on.
            _ => wrong(text.len() / 4 * 4),
        })?;
        let file = Zeroizing::new(file);
        PingId::read(&String::from_utf8_lossy(&file)).map(Way::PingId)
    }
}

impl PingId {
    /// Reads a settings file. What stands in a line is never repeated: it may be the key.
    fn read(file: &str) -> Result<Self> {
        let mut settings = Self::default();
        for (number, line) in file.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| {
                Error::invalid(format!(
                    "pingid settings file contains a non-empty non-comment line that is not in key=value format: line {}",
                    number + 1
                ))
            })?;
            let value = value.trim_end().to_owned();
            match key {
                "use_base64_key" => settings.use_base64_key = Secret::new(value),
                "use_signature" => {
                    settings.use_signature = flag(&value).ok_or_else(|| {
                        Error::invalid("error parsing use_signature value in pingid settings file")
                    })?;
                }
                "token" => settings.token = Secret::new(value),
                "idp_url" => settings.idp_url = value,
                "org_alias" => settings.org_alias = value,
                "admin_url" => settings.admin_url = value,
                "authenticator_url" => settings.authenticator_url = value,
                _ => {
                    let text = format!("unknown key {key:?} in pingid settings file");
                    return Err(Error::invalid(text));
                }
            }
        }
        // An answer does not say which question it answers, so whoever could listen could play an old one again.
        if !settings.idp_url.is_empty() && !settings.idp_url.starts_with("https://") {
            return Err(Error::invalid("idp_url in the pingid settings file must begin with https://"));
        }
        Ok(settings)
    }

    pub(super) async fn ask(&self, question: &Question, world: &dyn World) -> Result<(), Refusal> {
        let unset = |what: &str| Refusal::Unanswered(format!("the pingid settings file has no {what}"));
        if self.idp_url.is_empty() {
            return Err(unset("idp_url"));
        }
        let key = STANDARD.decode(self.use_base64_key.expose()).ok().filter(|key| !key.is_empty());
        let key = Zeroizing::new(key.ok_or_else(|| unset("use_base64_key that reads"))?);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let body = json!({ "spAlias": "web", "userName": question.username, "authType": "CONFIRM" });
        let call = Call {
            method: "POST",
            url: format!("{}{AUTHENTICATE}", self.idp_url.trim_end_matches('/')),
            headers: vec![("content-type".into(), Secret::new("application/json".to_owned()))],
            body: self.request(&key, &body, world.now()).into_bytes(),
            patience: Some(LONG_POLL),
            ..Call::default()
        };
        let told = round::fetch(world, call).await?;
        let answer = self.answer(&key, &told.body).map_err(|what| {
            Refusal::Unanswered(format!("PingID answered with status {} and {what}", told.status))
        })?;
        let told = |name: &str| answer.get("responseBody").and_then(|body| body.get(name));
        match told("errorId").and_then(Value::as_i64) {
            Some(SUCCESS) => Ok(()),
            Some(_) => {
                let why = told("errorMsg").and_then(Value::as_str).unwrap_or_default();
                Err(Refusal::Wrong(format!("PingID refused: {why:?}")))
            }
            None => Err(Refusal::Unanswered("PingID answered without an outcome".into())),
        }
    }

    /// A signed request.
    fn request(&self, key: &hmac::Key, body: &Value, now: Time) -> String {
        let token = self.token.expose();
        let header = json!({ "alg": "HS256", "org_alias": self.org_alias, "token": token });
        let claims = json!({
            "reqHeader": {
                "locale": "en",
                "orgAlias": self.org_alias,
                "secretKey": token,
                "timestamp": timestamp(now),
                "version": VERSION,
            },
            "reqBody": body,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = hmac::sign(key, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What an answer says, if it is signed with the key that is shared and meant for this organization.
    fn answer(&self, key: &hmac::Key, body: &[u8]) -> Result<Value, &'static str> {
        let text = std::str::from_utf8(body).map_err(|_| "no signed token")?.trim();
        let (signed, signature) = text.rsplit_once('.').ok_or("no signed token")?;
        let (header, claims) = signed.split_once('.').ok_or("no signed token")?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "no signed token");
        hmac::verify(key, signed.as_bytes(), &bytes(signature)?)
            .map_err(|_| "a signature that is not right")?;
        let parse = |part: &str| -> Result<Value, &'static str> {
            serde_json::from_slice(&bytes(part)?).map_err(|_| "no signed token")
        };
        let (header, claims) = (parse(header)?, parse(claims)?);
        let said = |name: &str| header.get(name).and_then(Value::as_str);
        if said("alg") != Some("HS256") {
            return Err("another way to sign than HS256");
        }
        if said("token") != Some(self.token.expose().as_str()) {
            return Err("the token of somebody else");
        }
        if said("orgAlias").or_else(|| said("org_alias")) != Some(self.org_alias.as_str()) {
            return Err("the org_alias of somebody else");
        }
        Ok(claims)
    }
}

/// A flag as Go reads it.
fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `2026-11-26 15:22:27.000`.
fn timestamp(now: Time) -> String {
    let text = now.truncated().rfc3339().replace('T', " ");
    format!("{}.000", text.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PingId {
        let file = "# made by PingID\nuse_base64_key=a2V5\ntoken=tok\nidp_url=https://i.example/pingid\norg_alias=al\n";
        PingId::read(file).unwrap()
    }

    fn signed(settings: &PingId, key: &str, header: &Value) -> Result<Value, &'static str> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(&json!({"responseBody": {"errorId": 200}})));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes());
        let text = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag));
        settings.answer(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), text.as_bytes())
    }

    #[test]
    fn only_an_answer_with_the_shared_key_for_this_organization_counts() {
        let settings = settings();
        let good = json!({"alg": "HS256", "token": "tok", "orgAlias": "al"});
        assert_eq!(signed(&settings, "key", &good).unwrap()["responseBody"]["errorId"], 200);
        let older = json!({"alg": "HS256", "token": "tok", "org_alias": "al"});
        assert!(signed(&settings, "key", &older).is_ok());
        assert!(signed(&settings, "other", &good).is_err());
        for header in [
            json!({"alg": "none", "token": "tok", "orgAlias": "al"}),
            json!({"alg": "HS256", "token": "other", "orgAlias": "al"}),
            json!({"alg": "HS256", "token": "tok", "orgAlias": "other"}),
            json!({"alg": "HS256", "orgAlias": "al"}),
            json!({"alg": "HS256", "token": "tok"}),
        ] {
            assert!(signed(&settings, "key", &header).is_err(), "{header}");
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        for body in ["", "a.b", "a.b.c", "{}"] {
            assert!(settings.answer(&key, body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn settings_files_read_or_say_what_is_wrong() {
        assert!(PingId::read("use_signature=maybe").is_err());
        assert!(PingId::read("idp_url=http://i.example").is_err());
        let text = PingId::read("token=a\nhush hush").unwrap_err().to_string();
        assert!(text.contains("line 2") && !text.contains("hush"), "{text}");
    }
}
