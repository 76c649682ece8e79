//! Duo: the Auth API, version 2. Requests are signed with the application's secret key.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::loose::{Flag, Text};
use kit::{Call, Error, Result, Route, Secret, Time, World};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::kind::Kind;
use super::method::{Routes, Wish};
use super::record::{Duo, Way};
use super::round::{self, LONG_POLL, PAUSE, Question, Refusal};

/// What can be said of a method that asks Duo.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::identity) struct DuoWish {
    /// Its name, by which a client may call it.
    method_name: Option<Text>,
    /// What an entity is called at Duo, as an identity template; without one, by its name.
    username_format: Option<Text>,
    /// The secret key of the application.
    secret_key: Option<Text>,
    /// The integration key of the application.
    integration_key: Option<Text>,
    /// The host of the API: `api-….duosecurity.com`.
    api_hostname: Option<Text>,
    /// What a push shows besides: `from=login&domain=example.com`.
    push_info: Option<Text>,
    /// Whether clients are told to ask for a passcode.
    use_passcode: Option<Flag>,
}

impl Wish for DuoWish {
    const KIND: Kind = Kind::Duo;
    const ROUTES: Routes = Routes {
        register: Route::post("mfa/method/duo"),
        get: Route::get("mfa/method/duo/{method_id}"),
        put: Route::post("mfa/method/duo/{method_id}"),
        delete: Route::delete("mfa/method/duo/{method_id}"),
    };

    fn method_name(&self) -> &str {
        self.method_name.as_ref().map_or("", |text| &text.0)
    }

    fn username_format(&self) -> Option<&str> {
        self.username_format.as_ref().map(|text| &*text.0)
    }

    /// The order of the checks is that of the API: clients see the first that fails.
    fn way(self) -> Result<Way> {
        let text = |field: Option<Text>| field.unwrap_or_default().0;
        let needed =
            |field, empty: &str| Some(text(field)).filter(|it| !it.is_empty()).ok_or(empty.to_owned());
        let secret_key = needed(self.secret_key, "secret_key is empty").map_err(Error::invalid)?;
        let integration_key =
            needed(self.integration_key, "integration_key is empty").map_err(Error::invalid)?;
        let api_hostname = needed(self.api_hostname, "api_hostname is empty").map_err(Error::invalid)?;
        if !round::is_host(&api_hostname) {
            let text =
                "api_hostname must be a host name such as api-12345678.duosecurity.com, without https://";
            return Err(Error::invalid(text));
        }
        Ok(Way::Duo(Duo {
            api_hostname,
            integration_key,
            secret_key: Secret::new(secret_key),
            push_info: text(self.push_info),
            use_passcode: self.use_passcode.is_some_and(|flag| flag.0),
        }))
    }
}

/// What stands around every answer.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct Envelope<T> {
    stat: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    message_detail: String,
    response: Option<T>,
}

/// Where an authentication stands.
#[derive(Deserialize)]
struct Status {
    result: String,
    #[serde(default)]
    status_msg: String,
}

/// An authentication that has begun.
#[derive(Deserialize)]
struct Begun {
    txid: String,
}

impl Duo {
    pub(super) async fn ask(&self, question: &Question, world: &dyn World) -> Result<(), Refusal> {
        let address = question.address.map(|address| address.to_string()).unwrap_or_default();
        let mut about = vec![("username", question.username.as_str())];
        if !address.is_empty() {
            about.push(("ipaddr", &address));
        }
        let status: Status = self.call(world, "POST", "/auth/v2/preauth", &about).await?;
        match status.result.as_str() {
            "auth" => {}
            "allow" => return Ok(()),
            "deny" | "enroll" => return Err(Refusal::Wrong(format!("Duo refused: {}", status.status_msg))),
            _ => return Err(Refusal::Unanswered("Duo answered preauth with something unknown".into())),
        }
        if question.passcode.is_empty() {
            about.extend([("factor", "push"), ("device", "auto")]);
            if !self.push_info.is_empty() {
                about.push(("pushinfo", &self.push_info));
            }
        } else {
            about.extend([("factor", "passcode"), ("passcode", question.passcode.as_str())]);
        }
        about.push(("async", "1"));
        let begun: Begun = self.call(world, "POST", "/auth/v2/auth", &about).await?;
        loop {
            // Duo holds this answer back until there is something new.
            let path = "/auth/v2/auth_status";
            let status: Status = self.call(world, "GET", path, &[("txid", &begun.txid)]).await?;
            match status.result.as_str() {
                "allow" => return Ok(()),
                "waiting" => world.pause(PAUSE).await,
                "deny" => return Err(Refusal::Wrong(format!("Duo refused: {}", status.status_msg))),
                _ => {
                    return Err(Refusal::Unanswered(
                        "Duo answered auth_status with something unknown".into(),
                    ));
                }
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        world: &dyn World,
        method: &'static str,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, Refusal> {
        let parameters = canonical(parameters);
        let date = date(world.now());
        let authorization = self.sign(&date, method, path, &parameters);
        let mut call = Call {
            method,
            url: format!("https://{}{path}", self.api_hostname),
            headers: vec![
                ("date".into(), Secret::new(date)),
                ("authorization".into(), Secret::new(authorization)),
            ],
            patience: Some(LONG_POLL),
            ..Call::default()
        };
        if method == "GET" {
            call.url = format!("{}?{parameters}", call.url);
        } else {
            let form = "application/x-www-form-urlencoded".to_owned();
            call.headers.push(("content-type".into(), Secret::new(form)));
            call.body = parameters.into_bytes();
        }
        let told = round::fetch(world, call).await?;
        let envelope: Envelope<T> = round::read("Duo", &told)?;
        let response = envelope.response.filter(|_| told.status == 200 && envelope.stat == "OK");
        response.ok_or_else(|| {
            let (message, detail) = (&envelope.message, &envelope.message_detail);
            Refusal::Unanswered(format!(
                "Duo refused {path} with status {}: {message:?} {detail:?}",
                told.status
            ))
        })
    }

    /// HMAC-SHA1, as the API wants it: what is known against SHA-1 does not touch that.
    fn sign(&self, date: &str, method: &str, path: &str, parameters: &str) -> String {
        let host = self.api_hostname.to_ascii_lowercase();
        let text = format!("{date}\n{method}\n{host}\n{path}\n{parameters}");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.secret_key.expose().as_bytes());
        let signature = hex::encode(hmac::sign(&key, text.as_bytes()));
        format!("Basic {}", STANDARD.encode(format!("{}:{signature}", self.integration_key)))
    }
}

/// The parameters in the order and spelling that are signed, and sent just so.
fn canonical(parameters: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", round::encoded(name), round::encoded(value)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// A date as mail has it: `Tue, 21 Aug 2012 17:29:18 -0000`.
fn date(now: Time) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = now.truncated().rfc3339();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let weekday = usize::try_from(now.seconds() / 86_400 % 7).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or(1).saturating_sub(1);
    format!(
        "{}, {} {} {} {} -0000",
        DAYS.get(weekday).unwrap_or(&""),
        part(8..10),
        MONTHS.get(month).unwrap_or(&""),
        part(0..4),
        part(11..19)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_mail() {
        assert_eq!(date(Time::from_seconds(1_345_570_158)), "Tue, 21 Aug 2012 17:29:18 -0000");
        assert_eq!(date(Time::from_seconds(0)), "Thu, 01 Jan 1970 00:00:00 -0000");
    }

    #[test]
    fn parameters_are_sorted_and_escaped() {
        let parameters = canonical(&[("username", "ann lee"), ("factor", "push"), ("pushinfo", "a=b&c=d~")]);
        assert_eq!(parameters, "factor=push&pushinfo=a%3Db%26c%3Dd~&username=ann%20lee");
    }

    /// The example of the API's own documentation.
    #[test]
    fn the_documented_request_has_the_documented_signature() {
        let duo = Duo {
            api_hostname: "api-XXXXXXXX.duosecurity.com".to_owned(),
            integration_key: "DIWJ8X6AEYOR5OMC6TQ1".to_owned(),
            secret_key: Secret::new("Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep".to_owned()),
            push_info: String::new(),
            use_passcode: false,
        };
        let parameters = canonical(&[("username", "root"), ("realname", "First Last")]);
        let date = "Tue, 21 Aug 2012 17:29:18 -0000";
        let signed = duo.sign(date, "POST", "/accounts/v1/account/list", &parameters);
        let signed = STANDARD.decode(signed.strip_prefix("Basic ").unwrap()).unwrap();
        let expect = "DIWJ8X6AEYOR5OMC6TQ1:2d97d6166319781b5a3a07af39d366f491234edc";
        assert_eq!(String::from_utf8(signed).unwrap(), expect);
    }
}
