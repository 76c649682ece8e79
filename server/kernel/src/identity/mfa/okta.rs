//! Okta: the Factors API. Someone is found by their login, and a push or a code is verified.

use kit::loose::{Flag, Text};
use kit::{Call, Error, Result, Route, Secret, World};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::kind::Kind;
use super::method::{Routes, Wish};
use super::record::{Okta, Way};
use super::round::{self, PAUSE, Question, Refusal};

/// Where organizations live that do not say otherwise.
const BASE_URL: &str = "okta.com";
/// Where they try things out.
const PREVIEW_URL: &str = "oktapreview.com";

/// What can be said of a method that asks Okta.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::identity) struct OktaWish {
    /// Its name, by which a client may call it.
    method_name: Option<Text>,
    /// What an entity is called at Okta, as an identity template; without one, by its name.
    username_format: Option<Text>,
    /// The name of the organization: what stands before the base URL.
    org_name: Option<Text>,
    /// A token of the API.
    api_token: Option<Text>,
    /// The host that follows the organization's name; without one, `okta.com`.
    base_url: Option<Text>,
    /// An older way to say `okta.com` (true) or `oktapreview.com` (false).
    production: Option<Flag>,
    /// People are looked up by their first address instead of their login.
    primary_email: Option<Flag>,
}

impl Wish for OktaWish {
    const KIND: Kind = Kind::Okta;
    const ROUTES: Routes = Routes {
        register: Route::post("mfa/method/okta"),
        get: Route::get("mfa/method/okta/{method_id}"),
        put: Route::post("mfa/method/okta/{method_id}"),
        delete: Route::delete("mfa/method/okta/{method_id}"),
    };

    fn method_name(&self) -> &str {
        self.method_name.as_ref().map_or("", |text| &text.0)
    }

    fn username_format(&self) -> Option<&str> {
        self.username_format.as_ref().map(|text| &*text.0)
    }

    /// The order of the checks is that of the API: clients see the first that fails.
    fn way(self) -> Result<Way> {
        let org_name = self.org_name.unwrap_or_default().0;
        if org_name.is_empty() {
            return Err(Error::invalid("org_name must be set"));
        }
        let api_token = self.api_token.unwrap_or_default().0;
        if api_token.is_empty() {
            return Err(Error::invalid("api_token must be set"));
        }
        let usual = if self.production.is_none() { BASE_URL } else { "" };
        let base_url = self.base_url.map_or_else(|| usual.to_owned(), |text| text.0);
        let okta = Okta {
            org_name,
            api_token: Secret::new(api_token),
            base_url,
            production: self.production.is_none_or(|flag| flag.0),
            primary_email: self.primary_email.is_some_and(|flag| flag.0),
        };
        if !round::is_host(okta.url().trim_start_matches("https://")) {
            let text = "error parsing given base_url: org_name and base_url with a dot between them must be a host such as example.okta.com";
            return Err(Error::invalid(text));
        }
        Ok(Way::Okta(okta))
    }
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Factor {
    id: String,
    factor_type: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default, rename = "factorResult")]
    result: String,
    #[serde(default, rename = "_links")]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    poll: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

/// What an error says.
#[derive(Deserialize)]
struct Complaint {
    #[serde(default, rename = "errorSummary")]
    summary: String,
}

impl Okta {
    /// The organization's site.
    fn url(&self) -> String {
        let base = match (self.base_url.as_str(), self.production) {
            ("", true) => BASE_URL,
            ("", false) => PREVIEW_URL,
            (base, _) => base,
        };
        format!("https://{}.{base}", self.org_name)
    }

    pub(super) async fn ask(&self, question: &Question, world: &dyn World) -> Result<(), Refusal> {
        let user = self.user(&question.username, world).await?;
        let path = format!("/api/v1/users/{}/factors", round::encoded(&user.id));
        let factors: Vec<Factor> = self.call(world, "GET", &path, Vec::new()).await?;
        let (kind, body) = match question.passcode.as_str() {
            "" => ("push", json!({})),
            code => ("token:software:totp", json!({ "passCode": code })),
        };
        let fits = |factor: &&Factor| factor.factor_type == kind && matches!(&*factor.status, "" | "ACTIVE");
        let factor = factors
            .iter()
            .find(fits)
            .ok_or_else(|| Refusal::Wrong(format!("no {kind}-type MFA factor found for user")))?;
        let path = format!("{path}/{}/verify", round::encoded(&factor.id));
        let mut outcome: Outcome = self.call(world, "POST", &path, body.to_string().into_bytes()).await?;
        let poll = outcome.links.poll.take().map(|link| link.href);
        loop {
            match outcome.result.as_str() {
                "SUCCESS" => return Ok(()),
                "WAITING" => {}
                "REJECTED" => return Err(Refusal::Wrong("push verification explicitly rejected".into())),
                "TIMEOUT" => return Err(Refusal::Wrong("push verification timed out".into())),
                _ => return Err(Refusal::Unanswered("Okta answered with an unknown factorResult".into())),
            }
            // The token goes to the organization and nowhere else, whatever an answer says.
            let site = self.url();
            let path =
                poll.as_deref().and_then(|href| href.strip_prefix(&site)).filter(|it| it.starts_with('/'));
            let elsewhere = || Refusal::Unanswered("Okta said to ask for the outcome at another site".into());
            let path = path.ok_or_else(elsewhere)?.to_owned();
            world.pause(PAUSE).await;
            outcome = self.call(world, "GET", &path, Vec::new()).await?;
        }
    }

    async fn user(&self, username: &str, world: &dyn World) -> Result<User, Refusal> {
        let field = if self.primary_email { "profile.email" } else { "profile.login" };
        if username.chars().any(char::is_control) {
            return Err(Refusal::Wrong("no user has such a name".into()));
        }
        let quoted = username.replace('\\', "\\\\").replace('"', "\\\"");
        let filter = round::encoded(&format!("{field} eq \"{quoted}\""));
        let path = format!("/api/v1/users?filter={filter}");
        let users: Vec<User> = self.call(world, "GET", &path, Vec::new()).await?;
        let mut users = users.into_iter();
        match (users.next(), users.next()) {
            (Some(user), None) => Ok(user),
            (None, _) => Err(Refusal::Wrong("no users found for e-mail address".into())),
            _ => Err(Refusal::Wrong("more than one user found for e-mail address".into())),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        world: &dyn World,
        method: &'static str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Refusal> {
        let headers = [
            ("authorization", format!("SSWS {}", self.api_token.expose())),
            ("accept", "application/json".to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        let call = Call {
            method,
            url: format!("{}{path}", self.url()),
            headers: headers.into_iter().map(|(name, value)| (name.into(), Secret::new(value))).collect(),
            body,
            ..Call::default()
        };
        let told = round::fetch(world, call).await?;
        match told.status {
            200 => round::read("Okta", &told),
            status => {
                let complaint: Complaint = round::read("Okta", &told)?;
                let text = format!("Okta refused with status {status}: {:?}", complaint.summary);
                // A code that is wrong is answered so.
                Err(if status == 403 && method == "POST" {
                    Refusal::Wrong(text)
                } else {
                    Refusal::Unanswered(text)
                })
            }
        }
    }
}
