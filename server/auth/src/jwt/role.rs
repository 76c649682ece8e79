use std::collections::{BTreeMap, BTreeSet};

use kit::loose::{Flag, Json, Number, Pairs, Span, Text, Texts};
use kit::{Command, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::template::Template;
use super::{ROLES, Signed, Title};
use crate::claims::{Leeways, list};
use crate::listing::Keys;
use crate::token_params::{OldFields, OldNames, OldShown, TokenFields, TokenParams, seconds};

/// What of a token cannot be mapped to: it is set by the login itself.
const RESERVED: &str = "role";

/// What a token is to say, and what it earns.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub(super) struct Rules {
    pub(super) allowed_redirect_uris: Option<Vec<String>>,
    pub(super) bound_audiences: Option<Vec<String>>,
    pub(super) bound_claims: Option<Map<String, Value>>,
    pub(super) bound_claims_type: String,
    pub(super) bound_subject: String,
    pub(super) callback_mode: String,
    pub(super) claim_mappings: Option<BTreeMap<String, String>>,
    pub(super) clock_skew_leeway: i64,
    pub(super) expiration_leeway: i64,
    pub(super) groups_claim: String,
    pub(super) max_age: u64,
    pub(super) not_before_leeway: i64,
    pub(super) oauth2_metadata: Option<Vec<String>>,
    pub(super) oidc_disable_confirmation: bool,
    pub(super) oidc_scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) poll_interval: Option<u64>,
    pub(super) role_type: String,
    pub(super) token_policies_template_claims: bool,
    pub(super) user_claim: String,
    pub(super) user_claim_json_pointer: bool,
    pub(super) verbose_oidc_logging: bool,
}

/// A role as it is stored.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Role {
    pub(super) rules: Rules,
    pub(super) token: TokenParams,
    old_names: OldNames,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allowed_redirect_uris: None,
            bound_audiences: None,
            bound_claims: None,
            bound_claims_type: "string".to_owned(),
            bound_subject: String::new(),
            callback_mode: "client".to_owned(),
            claim_mappings: None,
            clock_skew_leeway: 0,
            expiration_leeway: 0,
            groups_claim: String::new(),
            max_age: 0,
            not_before_leeway: 0,
            oauth2_metadata: None,
            oidc_disable_confirmation: false,
            oidc_scopes: None,
            poll_interval: None,
            role_type: "oidc".to_owned(),
            token_policies_template_claims: false,
            user_claim: String::new(),
            user_claim_json_pointer: false,
            verbose_oidc_logging: false,
        }
    }
}

impl Rules {
    /// Whether people log in to this role through their browser.
    pub(super) fn is_flow(&self) -> bool {
        self.role_type == "oidc"
    }

    /// How clocks may differ.
    pub(super) fn leeways(&self) -> Leeways {
        Leeways {
            expiration: self.expiration_leeway,
            not_before: self.not_before_leeway,
            clock_skew: self.clock_skew_leeway,
        }
    }

    /// For whom tokens must be.
    pub(super) fn audiences(&self) -> &[String] {
        self.bound_audiences.as_deref().unwrap_or_default()
    }

    fn check(&self, token: &TokenParams) -> Result<()> {
        if self.user_claim.is_empty() {
            return Err(Error::invalid("a user claim must be defined on the role"));
        }
        let unset = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
        if self.is_flow() && unset(&self.allowed_redirect_uris) {
            return Err(Error::invalid(
                "'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified.",
            ));
        }
        let free = unset(&self.bound_audiences)
            && token.token_bound_cidrs.is_empty()
            && self.bound_subject.is_empty()
            && self.bound_claims.as_ref().is_none_or(Map::is_empty);
        if !self.is_flow() && free {
            return Err(Error::invalid(
                "must have at least one bound constraint when creating/updating a role",
            ));
        }
        Ok(())
    }
}

/// Lists the roles.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// Begins after this name.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl<T: Title> Query<Signed<T>> for List {
    const ROUTE: Route = Route::list("role");
    type Reply = Keys;

    fn run(self, _: &Signed<T>, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Keys::page(&ROLES.list(cx, "")?, self.after.as_ref(), self.limit)
    }
}

/// Reads a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// Which role.
    name: String,
}

/// A role as it is shown. The names without `token_` are old, and shown while they are used.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    rules: Rules,
    #[serde(flatten)]
    token: TokenParams,
    #[serde(flatten)]
    old: OldShown,
}

impl<T: Title> Query<Signed<T>> for Read {
    const ROUTE: Route = Route::get("role/{name:lower}");
    type Reply = Shown;

    fn run(self, _: &Signed<T>, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let Role { rules, token, old_names } = ROLES.get(cx, &self.name)?.ok_or_else(Error::not_found)?;
        let shown = Shown { old: old_names.all(&token), rules, token };
        Ok(shown.into())
    }
}

/// Creates a role, or changes it. What is left out stays as it is, but for `role_type`, `bound_claims_type`,
/// `callback_mode` and `oidc_disable_confirmation`, which go back to what they are at first.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Which role.
    name: String,
    /// `jwt`: who logs in brings a token. `oidc`, if it is left out: they come through their browser.
    #[serde(default)]
    role_type: Option<Text>,
    /// For whom tokens must be: one of these must be among their audiences.
    #[serde(default)]
    bound_audiences: Option<Texts>,
    /// Of whom tokens must be.
    #[serde(default)]
    bound_subject: Option<Text>,
    /// Values that claims must have, by the name of the claim or a JSON pointer; one of a list is enough.
    #[serde(default)]
    bound_claims: Option<Json>,
    /// Whether these values are meant as they are (`string`), or `*` stands for any text in them (`glob`).
    #[serde(default)]
    bound_claims_type: Option<Text>,
    /// Claims that become metadata: the name of the claim or a JSON pointer, and the name of the metadata.
    #[serde(default)]
    claim_mappings: Option<Pairs>,
    /// The claim that holds groups.
    #[serde(default)]
    groups_claim: Option<Text>,
    /// The claim by which identity knows who logs in.
    #[serde(default)]
    user_claim: Option<Text>,
    /// `user_claim` is a JSON pointer.
    #[serde(default)]
    user_claim_json_pointer: Option<Flag>,
    /// What to ask the provider for, beside `openid`.
    #[serde(default)]
    oidc_scopes: Option<Texts>,
    /// Where a login through a browser may return to.
    #[serde(default)]
    allowed_redirect_uris: Option<Texts>,
    /// Where the browser returns to: the `client`, this server (`direct`), or nowhere (`device`).
    #[serde(default)]
    callback_mode: Option<Text>,
    /// How often clients should ask whether the browser is done, in seconds.
    #[serde(default)]
    poll_interval: Option<Number>,
    /// Has no effect: nothing of a token is ever logged.
    #[serde(default)]
    verbose_oidc_logging: Option<Flag>,
    /// How long ago the provider may have seen the person.
    #[serde(default)]
    max_age: Option<Span>,
    /// Which of `access_token`, `id_token` and `refresh_token` become metadata.
    #[serde(default)]
    oauth2_metadata: Option<Texts>,
    /// In `direct` mode: does not ask the person in the browser whether it was they who began.
    #[serde(default)]
    oidc_disable_confirmation: Option<Flag>,
    /// `{{.claim}}` in the names of policies stands for the claim.
    #[serde(default)]
    token_policies_template_claims: Option<Flag>,
    /// By how much an end of tokens may be past that do not say theirs; 0: 150 seconds, below: none.
    #[serde(default)]
    expiration_leeway: Option<Span>,
    /// The same for a beginning.
    #[serde(default)]
    not_before_leeway: Option<Span>,
    /// By how much clocks may differ; 0: 60 seconds, below: none.
    #[serde(default)]
    clock_skew_leeway: Option<Span>,
    #[serde(rename = "token_*")]
    token: TokenFields,
    #[serde(rename = "**")]
    old: OldFields,
}

impl<T: Title> Command<Signed<T>> for Write {
    const ROUTE: Route = Route::post("role/{name:lower}");
    const EXISTS: Option<Exists<Signed<T>>> = Some(|_, path, cx| ROLES.has(cx, path.get("name")).map(Some));
    type Reply = Nothing;

    fn run(mut self, _: &Signed<T>, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let fresh = || Role {
            rules: Rules::default(),
            token: TokenParams::default(),
            old_names: OldNames::default(),
        };
        let mut role = ROLES.get(cx, &self.name)?.unwrap_or_else(fresh);
        role.rules.role_type =
            choice("role_type", &self.role_type.clone().filter(|kind| !kind.0.is_empty()), &["oidc", "jwt"])?;
        let late = "ttl should not be greater than max ttl";
        let (new, old) = (std::mem::take(&mut self.token), std::mem::take(&mut self.old));
        role.token.take_over(&mut role.old_names, new, old, late)?;
        role.token.check_period(cx.mount().max_ttl, "'period'")?;
        self.settle_rules(&mut role.rules)?;
        role.rules.check(&role.token)?;
        if role.token.token_max_ttl > cx.mount().max_ttl.as_secs() {
            cx.warn(
                "token max ttl is greater than the system or backend mount's maximum TTL value; issued tokens' max TTL \
                 value will be truncated",
            );
        }
        if role.rules.verbose_oidc_logging {
            cx.warn(
                "verbose_oidc_logging has been enabled for this role. This is not recommended in production since \
                 sensitive information may be present in OIDC responses.",
            );
        }
        if role.rules.token_policies_template_claims {
            Template::check(&role.token.token_policies)?;
        }
        ROLES.put(cx, &self.name, &role)?;
        Ok(Reply::Nothing)
    }
}

impl Write {
    fn settle_rules(&mut self, rules: &mut Rules) -> Result<()> {
        let signed = |span: Option<Span>, place: &mut i64| {
            if let Some(span) = span {
                *place = span.seconds();
            }
        };
        signed(self.expiration_leeway, &mut rules.expiration_leeway);
        signed(self.not_before_leeway, &mut rules.not_before_leeway);
        signed(self.clock_skew_leeway, &mut rules.clock_skew_leeway);
        for (texts, place) in [
            (self.bound_audiences.take(), &mut rules.bound_audiences),
            (self.oidc_scopes.take(), &mut rules.oidc_scopes),
            (self.allowed_redirect_uris.take(), &mut rules.allowed_redirect_uris),
            (self.oauth2_metadata.take(), &mut rules.oauth2_metadata),
        ] {
            if let Some(texts) = texts {
                *place = Some(texts.0.into_iter().filter(|text| !text.is_empty()).collect());
            }
        }
        for (text, place) in [
            (self.bound_subject.take(), &mut rules.bound_subject),
            (self.user_claim.take(), &mut rules.user_claim),
            (self.groups_claim.take(), &mut rules.groups_claim),
        ] {
            if let Some(Text(text)) = text {
                *place = text;
            }
        }
        for (flag, place) in [
            (self.verbose_oidc_logging, &mut rules.verbose_oidc_logging),
            (self.user_claim_json_pointer, &mut rules.user_claim_json_pointer),
            (self.token_policies_template_claims, &mut rules.token_policies_template_claims),
        ] {
            if let Some(Flag(flag)) = flag {
                *place = flag;
            }
        }
        rules.oidc_disable_confirmation = self.oidc_disable_confirmation.is_some_and(|flag| flag.0);
        if let Some(span) = self.max_age {
            rules.max_age = seconds("max_age", span)?;
        }
        if let Some(Number(interval)) = self.poll_interval {
            let negative = |_| Error::invalid("'poll_interval' cannot be negative");
            rules.poll_interval =
                Some(u64::try_from(interval).map_err(negative)?).filter(|seconds| *seconds > 0);
        }
        rules.bound_claims_type = choice("bound_claims_type", &self.bound_claims_type, &["string", "glob"])?;
        if let Some(Json(claims)) = self.bound_claims.take() {
            rules.bound_claims = Some(bound_claims(claims, &rules.bound_claims_type)?);
        }
        if let Some(Pairs(mappings)) = self.claim_mappings.take() {
            rules.claim_mappings = Some(claim_mappings(mappings)?);
        }
        let tokens = rules.oauth2_metadata.iter().flatten();
        if let Some(name) = tokens
            .into_iter()
            .find(|name| !["id_token", "refresh_token", "access_token"].contains(&name.as_str()))
        {
            return Err(Error::invalid(format!("Unrecognized oauth2 metadata name {name}")));
        }
        rules.callback_mode = choice("callback_mode", &self.callback_mode, &["client", "direct", "device"])?;
        Ok(())
    }
}

/// One of a few words, the first if none is given.
fn choice(field: &str, text: &Option<Text>, words: &[&str]) -> Result<String> {
    let first = words.first().copied().unwrap_or_default();
    let text = text.as_ref().map_or(first, |text| text.0.as_str());
    let word = words.iter().copied().find(|word| *word == text);
    word.map(str::to_owned).ok_or_else(|| Error::invalid(format!("invalid '{field}': {text}")))
}

fn bound_claims(claims: Value, kind: &str) -> Result<Map<String, Value>> {
    let claims = match claims {
        // Some languages write an object without names so.
        Value::Array(items) if items.is_empty() => Value::Object(Map::new()),
        claims => claims,
    };
    let Value::Object(claims) = claims else {
        return Err(Error::invalid(
            "error converting input for field \"bound_claims\": expected an object of claims and their values",
        ));
    };
    if kind == "glob" {
        for value in claims.values() {
            let values = list(value.clone())
                .ok_or_else(|| Error::invalid(format!("claim is not a string or list: {value}")))?;
            if let Some(wrong) = values.iter().find(|value| !value.is_string()) {
                return Err(Error::invalid(format!("claim is not a string: {wrong}")));
            }
        }
    }
    Ok(claims)
}

fn claim_mappings(mappings: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut targets = BTreeSet::new();
    for target in mappings.values() {
        if target == RESERVED {
            return Err(Error::invalid(format!(
                "metadata key {target:?} is reserved and may not be a mapping destination"
            )));
        }
        if !targets.insert(target) {
            return Err(Error::invalid(format!("multiple keys are mapped to metadata key {target:?}")));
        }
    }
    Ok(mappings)
}

/// Deletes a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Which role.
    name: String,
}

impl<T: Title> Command<Signed<T>> for Delete {
    const ROUTE: Route = Route::delete("role/{name:lower}");
    type Reply = Nothing;

    fn run(self, _: &Signed<T>, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        ROLES.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
