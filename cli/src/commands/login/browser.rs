//! Logging in through a browser (OpenID Connect): the provider asks who someone is, and their browser, or the server,
//! brings the answer here.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_lc_rs::rand;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use super::{wrong, yes};
use crate::{
    address::Scheme, call::Call, output::warn, refused::Refused, secret::Secret, session::Session, stop::Stop,
};

mod callback;

use callback::{Page, Returned, Visits};

/// How long somebody may take whose browser returns here.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to ask the server, at least and at most, whatever it says.
const INTERVAL_SECONDS: (u64, u64) = (1, 60);
const PORT: &str = "8250";
const HOST: &str = "localhost";
const NONCE_SIZE: usize = 20;
/// Divides 256 nowhere near evenly, so bytes beyond the last whole run of it are thrown away.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Where the browser goes when the provider is done with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// To this program.
    Client,
    /// To the server.
    Direct,
    /// Nowhere: a device shows a code.
    Device,
}

/// What the server says when a login begins.
struct Begun {
    url: String,
    client_nonce: String,
    state: Option<String>,
    poll_interval: Option<String>,
    user_code: Option<String>,
}

pub(super) const SETTINGS: &str = "  role=<string>\n      The role to use; the default one of the method if left out.\n\n  \
callbackmode=<string>\n      Where the browser returns to: `client`, this program; `direct`, the server; `device`, nowhere, \
for a code is\n      typed in [client].\n\n  \
listenaddress=<string>\n      Where this program waits for the browser [localhost].\n\n  \
port=<string>\n      The port there [8250].\n\n  \
callbackmethod=<string>, callbackhost=<string>, callbackport=<string>\n      How the browser is told to come back [http, localhost \
and the port above; in mode `direct` those of the\n      server's address, with the path of the method].\n\n  \
skip_browser=<bool>\n      Print the address and open no browser [false].\n\n  \
show_qr=<bool>\n      Show the address as a QR code, too [false].\n\n  \
abort_on_error=<bool>\n      Give up if no browser can be opened [false].";

/// Logs in, and comes back when that is done.
pub(super) async fn log_in(
    session: &Session,
    mount: &str,
    given: &BTreeMap<String, String>,
) -> Result<Secret, Stop> {
    let mode = match given.get("callbackmode").map(String::as_str) {
        None | Some("" | "client") => Mode::Client,
        Some("direct") => Mode::Direct,
        Some("device") => Mode::Device,
        Some(_) => return Err(wrong("callbackmode must be client, direct or device")),
    };
    let (skip, show_qr) = (yes(given, "skip_browser")?, yes(given, "show_qr")?);
    let abort = yes(given, "abort_on_error")?;
    let text = |name: &str, usual: &str| given.get(name).map_or(usual, String::as_str).to_owned();
    // Before anybody is asked, so that no other program can take the place of this one.
    let visits = match mode {
        Mode::Client => Some(Visits::wait_at(&text("listenaddress", HOST), &text("port", PORT)).await?),
        Mode::Direct | Mode::Device => None,
    };
    let begun = begin(session, mount, given, mode).await?;
    show(&begun, skip || !session.interactive, show_qr, abort)?;
    match visits {
        Some(visits) => returned(session, mount, &begun, visits).await,
        None => polled(session, mount, &begun).await,
    }
}

async fn begin(
    session: &Session,
    mount: &str,
    given: &BTreeMap<String, String>,
    mode: Mode,
) -> Result<Begun, Stop> {
    let redirect_uri = redirect_uri(session, mount, given, mode);
    let client_nonce = nonce()?;
    let role = given.get("role").map_or("", String::as_str);
    let body = json!({ "role": role, "redirect_uri": redirect_uri, "client_nonce": client_nonce });
    let call = Call::put(format!("auth/{mount}/oidc/auth_url"), body);
    let said = session.client.write(call).await.map_err(|e| e.during("Error authenticating"))?;
    let word = |name: &str| said.as_ref()?.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let url = word("auth_url").ok_or_else(|| {
        wrong(format!(
            "Unable to authorize role {role:?} with redirect_uri {redirect_uri:?}: the role must allow it. The server's log says more"
        ))
    })?;
    // What is opened is opened by another program: it shall be a page and nothing else.
    if !(url.starts_with("https://") || url.starts_with("http://")) || url.chars().any(char::is_control) {
        return Err(wrong("the server gave an address that is no page of the web"));
    }
    let (state, poll_interval, user_code) = (word("state"), word("poll_interval"), word("user_code"));
    let waits_here = mode == Mode::Client;
    if waits_here != (state.is_none() && poll_interval.is_none()) {
        return Err(wrong(match waits_here {
            true => "the role's callback_mode is another one: try callbackmode=direct or callbackmode=device",
            false => "the role's callback_mode is another one: try callbackmode=client",
        }));
    }
    Ok(Begun { url, client_nonce, state, poll_interval, user_code })
}

fn redirect_uri(session: &Session, mount: &str, given: &BTreeMap<String, String>, mode: Mode) -> String {
    let text = |name: &str| given.get(name).cloned();
    if mode != Mode::Direct {
        let port = text("callbackport").or_else(|| text("port")).unwrap_or_else(|| PORT.to_owned());
        let host = text("callbackhost").unwrap_or_else(|| HOST.to_owned());
        let method = text("callbackmethod").unwrap_or_else(|| "http".to_owned());
        return format!("{method}://{host}:{port}/oidc/callback");
    }
    let address = &session.client.address;
    let port = address.authority.strip_prefix(&address.host).and_then(|rest| rest.strip_prefix(':'));
    let namespace = session.client.namespace.as_deref().map(|it| it.trim_matches('/')).unwrap_or_default();
    let namespace = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let after = format!("{}/v1/{namespace}auth/{mount}", address.prefix);
    let port = text("callbackport").map_or_else(
        || port.map_or(after.clone(), |port| format!(":{port}{after}")),
        |port| format!(":{port}"),
    );
    let host = text("callbackhost").unwrap_or_else(|| address.host.clone());
    let method = text("callbackmethod").unwrap_or_else(|| match address.scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
    });
    format!("{method}://{host}{port}/oidc/callback")
}

fn nonce() -> Result<String, Stop> {
    let mut nonce = String::with_capacity(NONCE_SIZE);
    while nonce.len() < NONCE_SIZE {
        let mut byte = [0; 1];
        rand::fill(&mut byte).map_err(|_| wrong("the system has no randomness"))?;
        let [byte] = byte;
        let even = 256 / BASE62.len() * BASE62.len();
        let letter = BASE62.get(usize::from(byte) % BASE62.len()).filter(|_| usize::from(byte) < even);
        nonce.extend(letter.map(|letter| char::from(*letter)));
    }
    Ok(nonce)
}

/// Says where to go, and goes there.
fn show(begun: &Begun, skip: bool, show_qr: bool, abort: bool) -> Result<(), Stop> {
    let url = &begun.url;
    if skip {
        warn(format!(
            "Complete the login via your OIDC provider. Open the following link in your browser:\n\n    {url}\n\n"
        ));
    } else {
        warn(format!("Complete the login via your OIDC provider. Launching browser to:\n\n    {url}\n\n"));
        if let Err(error) = open(url) {
            if abort {
                return Err(wrong(format!("failed to launch the browser: {error}")));
            }
            warn(format!(
                "Error attempting to automatically open browser: '{error}'.\nPlease visit the authorization URL manually."
            ));
        }
    }
    if show_qr && let Ok(code) = QrCode::new(url) {
        warn(code.render::<Dense1x2>().build());
    }
    warn("Waiting for OIDC authentication to complete...");
    if let Some(code) = &begun.user_code {
        warn(format!("When prompted, enter code {code}\n"));
    }
    Ok(())
}

/// Has the desktop open a page.
fn open(url: &str) -> std::io::Result<()> {
    let (program, first): (&str, &[&str]) = match std::env::consts::OS {
        "macos" => ("open", &[]),
        "windows" => ("rundll32", &["url.dll,FileProtocolHandler"]),
        _ => ("xdg-open", &[]),
    };
    let mut command = Command::new(program);
    command.args(first).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop)
}

/// The browser returns to this program, which ends the login.
async fn returned(session: &Session, mount: &str, begun: &Begun, mut visits: Visits) -> Result<Secret, Stop> {
    let expected = callback::state_of(&begun.url);
    let visit = async {
        loop {
            let visit = visits.next().await?;
            // Any page can send a browser here. Only the one that this login began with is listened to.
            if expected.as_deref() != Some(visit.returned.state.as_str()) {
                visit.answer(Page::Stranger).await;
                continue;
            }
            let ended = end(session, mount, begun, &visit.returned).await;
            match &ended {
                Ok(_) => visit.answer(Page::Done).await,
                Err(refused) => visit.answer(Page::Refused(refused.reason())).await,
            }
            // Not the address that was asked: it holds the code.
            let secret = ended.map_err(|refused| wrong(refused.reason()))?;
            return secret.ok_or_else(|| wrong("empty response from credential provider"));
        }
    };
    let late = |_| wrong("Timed out waiting for response from provider");
    tokio::time::timeout(PATIENCE, visit).await.map_err(late)?
}

async fn end(
    session: &Session,
    mount: &str,
    begun: &Begun,
    returned: &Returned,
) -> Result<Option<Secret>, Refused> {
    let mut call = Call::get(format!("auth/{mount}/oidc/callback"));
    for (name, value) in [
        ("state", returned.state.as_str()),
        ("code", &returned.code),
        ("error", &returned.error),
        ("error_description", &returned.error_description),
        ("client_nonce", &begun.client_nonce),
    ] {
        if !value.is_empty() {
            call = call.query(name, value);
        }
    }
    session.client.read(call).await
}

/// The browser returns elsewhere: the server is asked until it knows.
async fn polled(session: &Session, mount: &str, begun: &Begun) -> Result<Secret, Stop> {
    let missing = |what: &str| wrong(format!("the server gave no {what}"));
    let state = begun.state.as_ref().ok_or_else(|| missing("state"))?;
    let interval = begun.poll_interval.as_ref().ok_or_else(|| missing("poll_interval"))?;
    let interval: u64 =
        interval.parse().map_err(|_| wrong("the server gave a poll_interval that is no number"))?;
    let (least, most) = INTERVAL_SECONDS;
    let mut interval = interval.clamp(least, most);
    loop {
        tokio::time::sleep(Duration::from_secs(interval)).await;
        let body = json!({ "state": state, "client_nonce": begun.client_nonce });
        match session.client.write(Call::put(format!("auth/{mount}/oidc/poll"), body)).await {
            Ok(secret) => return secret.ok_or_else(|| wrong("empty response from credential provider")),
            Err(Refused::Answer(answer)) if answer.says("slow_down") => interval = (interval * 2).min(most),
            Err(Refused::Answer(answer)) if answer.says("authorization_pending") => {}
            Err(other) => return Err(other.during("Error authenticating")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_of_letters_and_digits_and_never_the_same() {
        let (first, second) = (nonce().unwrap(), nonce().unwrap());
        assert!(first.len() == NONCE_SIZE && first.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(first, second);
    }
}
