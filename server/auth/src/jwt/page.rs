//! What a browser is shown that the provider sends to this server.

use kit::loose::Text;
use kit::{Command, Nothing, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::callback::{expired, failed, told};
use super::flow::{Brought, Flow, Flows};
use super::form::escape;
use super::sign_in::known_role;
use super::{Setup, Signed, Title};

/// Takes what a browser brings to this server for a client that waits elsewhere. The person is asked first whether it
/// was they who began: else anybody could send them a link and be let in as them.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Direct {
    /// Which login.
    #[serde(default)]
    state: Option<Text>,
    /// What the provider gives the browser to bring.
    #[serde(default)]
    code: Option<Secret<String>>,
    /// Why the provider let nobody in.
    #[serde(default)]
    error: Option<Text>,
    /// That it was the person in the browser who began.
    #[serde(default)]
    confirmation: Option<Text>,
}

/// Takes what a browser posts to this server. A client that the browser returns to fetches it from there.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Posted {
    /// Which login.
    #[serde(default)]
    state: Option<Text>,
    /// What the provider gives the browser to bring.
    #[serde(default)]
    code: Option<Secret<String>>,
    /// The identity itself, where that is what the provider hands out.
    #[serde(default)]
    id_token: Option<Secret<String>>,
    /// Why the provider let nobody in.
    #[serde(default)]
    error: Option<Text>,
}

impl<T: Title> Command<Signed<T>> for Direct {
    const ROUTE: Route = Route::get("oidc/callback").unauthenticated();
    type Reply = Nothing;

    fn run(self, _: &Signed<T>, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let state = text(&self.state);
        let flow = Flows::of(cx).find(state, cx.now()).ok_or_else(expired)?;
        let role = known_role(cx, &flow.role).map_err(|_| failed("Role could not be found"))?;
        if role.rules.callback_mode != "direct" || is_brought(&flow) {
            return Err(expired());
        }
        let code = secret(&self.code);
        let error = text(&self.error);
        if !role.rules.oidc_disable_confirmation
            && text(&self.confirmation).is_empty()
            && told(error).is_none()
        {
            return Ok(confirm(&flow, state, code));
        }
        Ok(bring(&flow, Brought { code: code.to_owned(), error: error.to_owned(), ..Brought::default() }))
    }
}

impl<T: Title> Command<Signed<T>> for Posted {
    const ROUTE: Route = Route::post("oidc/callback").unauthenticated();
    type Reply = Nothing;

    fn run(self, _: &Signed<T>, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let setup = Setup::of(cx)?;
        let config = setup.as_ref().as_ref().map(|setup| &setup.config);
        let config = config.ok_or_else(|| failed("Could not load configuration."))?;
        if config.oidc_response_mode != "form_post" {
            return Ok(Reply::Raw { status: 405, kind: "application/json", bytes: Vec::new() });
        }
        let state = text(&self.state);
        // With a namespace in it, the state has a tail that is the client's.
        let state = state.split_once(",ns=").map_or(state, |(state, _)| state);
        let Some(flow) = Flows::of(cx).find(state, cx.now()).filter(|flow| !is_brought(flow)) else {
            return Ok(page(
                400,
                "The login failed",
                "<p>It has expired, or was never begun. Begin anew.</p>",
            ));
        };
        let (code, id_token) = (secret(&self.code).to_owned(), secret(&self.id_token).to_owned());
        let brought = Brought { code, id_token, error: text(&self.error).to_owned() };
        let role = known_role(cx, &flow.role).map_err(|_| failed("Role could not be found"))?;
        if role.rules.callback_mode == "direct" {
            let told = told(&brought.error).is_some();
            let asks = !role.rules.oidc_disable_confirmation && !told;
            if asks && brought.id_token.is_empty() {
                return Ok(confirm(&flow, state, &brought.code));
            }
            if asks {
                let text = "<p>This provider hands out identities without a code, which cannot be confirmed here.</p>";
                return Ok(page(400, "The login failed", text));
            }
            return Ok(bring(&flow, brought));
        }
        let Some(mount) = mount_of(&flow.redirect_uri) else {
            return Ok(page(
                400,
                "The login failed",
                "<p>The address to return to is not one of this server.</p>",
            ));
        };
        flow.bring(brought);
        let next =
            format!("/ui/vault/auth/{}/oidc/callback?code=no_code&state={}", escape(mount), escape(state));
        let next = markup(&next);
        let text = format!(
            "<meta http-equiv=\"refresh\" content=\"0;url={next}\"><p><a href=\"{next}\">Go on to log in.</a></p>"
        );
        Ok(page(200, "Logging in", &text))
    }
}

fn text(text: &Option<Text>) -> &str {
    text.as_ref().map_or("", |text| text.0.as_str())
}

fn secret(secret: &Option<Secret<String>>) -> &str {
    secret.as_ref().map_or("", |secret| secret.expose().as_str())
}

fn is_brought(flow: &Flow) -> bool {
    let Brought { code, id_token, error } = flow.brought();
    !code.is_empty() || !id_token.is_empty() || !error.is_empty()
}

fn bring(flow: &Flow, brought: Brought) -> Reply<Nothing> {
    let told = told(&brought.error);
    flow.bring(brought);
    match told {
        Some(why) => page(400, "The login failed", &format!("<p>{}</p>", markup(why))),
        None => page(200, "Done here", "<p>Go back to where you began. This window can be closed.</p>"),
    }
}

/// Asks the person in the browser whether it was they who began.
fn confirm(flow: &Flow, state: &str, code: &str) -> Reply<Nothing> {
    let (state, code) = (markup(state), markup(code));
    let text = format!(
        "<p>Someone at the address <b>{}</b> wants to be let in as you, with the role <b>{}</b>.</p>\
         <p>If that was not you, close this window.</p>\
         <form method=\"get\"><input type=\"hidden\" name=\"state\" value=\"{state}\">\
         <input type=\"hidden\" name=\"code\" value=\"{code}\">\
         <input type=\"hidden\" name=\"confirmation\" value=\"yes\">\
         <button type=\"submit\">That was me: let me in</button></form>",
        markup(&flow.requester),
        markup(&flow.role),
    );
    page(200, "Was it you?", &text)
}

fn page(status: u16, title: &str, text: &str) -> Reply<Nothing> {
    let bytes = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>{text}</body></html>\n"
    );
    Reply::Raw { status, kind: "text/html", bytes: bytes.into_bytes() }
}

/// Text as it may stand in a page.
fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// The mount in an address of this server.
fn mount_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("/v1/auth/")?;
    rest.split_once('/').map(|(mount, _)| mount).filter(|mount| !mount.is_empty())
}
