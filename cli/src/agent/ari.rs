//! What the CA wants of whoever holds a certificate: when it is to be renewed (RFC 9773), and whom it should trust.
//!
//! Sealkeep answers at `renewal-info`, whether it offers ACME or not, and names the bundle of CAs there too; other
//! servers answer at `acme/renewal-info`, or not at all.

use std::time::Duration;

use serde_json::Value;

use super::{moment::Moment, record::Held, schedule::Window, world::World};
use crate::{
    call::Call,
    client::Reply,
    refused::{Answer, Refused},
};

/// How often to ask, unless the CA says otherwise.
const ASK_EVERY: Duration = Duration::from_secs(6 * 3600);
/// A CA that has no renewal information is asked again after this long. It costs it little, and who has none today may only have
/// been moved, or lie behind a proxy that is being mended.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// One that did not answer, after this.
const ASK_LOST: Duration = Duration::from_secs(15 * 60);
/// What the CA may say.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the CA says of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// When it wants the renewal.
    pub(crate) window: Option<Window>,
    /// The fingerprint of the bundle that is right now.
    pub(crate) bundle: Option<String>,
    /// When to ask again.
    pub(crate) again: Duration,
    /// Whether the CA was heard at all.
    pub(crate) heard: bool,
}

/// Asks. `known` is the window that the CA said last.
pub(crate) async fn ask(world: &impl World, mount: &str, held: &Held, known: Option<Window>) -> Advice {
    let nothing = Advice { again: ASK_AGAIN, heard: true, ..Advice::default() };
    let Some(id) = &held.ari_id else { return nothing };
    for path in ["renewal-info", "acme/renewal-info"] {
        match world.ask(Call::get(format!("{mount}/{path}/{id}"))).await {
            Ok(reply) => return read(&reply),
            Err(refused) if is_absent(&refused) => {}
            // Without an answer nothing changes; the certificate's own dates count meanwhile.
            Err(refused) => {
                let asked = answer(&refused).and_then(|answer| answer.retry_after);
                let again = asked.map_or(ASK_LOST, |asked| asked.clamp(PAUSE_MIN, PAUSE_MAX));
                return Advice { window: known, bundle: None, again, heard: false };
            }
        }
    }
    match known {
        None => nothing,
        // It has said one of this very certificate, so it is not the CA that knows of none.
        Some(_) => Advice { window: known, bundle: None, again: ASK_LOST, heard: false },
    }
}

/// Whether the server says that it has no such thing, or not for us.
pub(crate) fn is_absent(refused: &Refused) -> bool {
    refused.status().is_some_and(|status| (400..500).contains(&status) && status != 429)
}

fn answer(refused: &Refused) -> Option<&Answer> {
    match refused {
        Refused::Answer(answer) => Some(answer),
        _ => None,
    }
}

fn read(reply: &Reply) -> Advice {
    let again = reply.retry_after.map_or(ASK_EVERY, |asked| asked.clamp(PAUSE_MIN, PAUSE_MAX));
    let parsed: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let bundle = parsed.get("bundle").and_then(Value::as_str).map(str::to_owned);
    Advice { window: window(&parsed), bundle, again, heard: true }
}

fn window(parsed: &Value) -> Option<Window> {
    let suggested = parsed.get("suggestedWindow")?;
    let moment = |key: &str| {
        let text = suggested.get(key)?.as_str()?;
        let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        Some(Moment::from_seconds(at.unix_timestamp()))
    };
    let (start, end) = (moment("start")?, moment("end")?);
    (start < end).then_some(Window { start, end })
}
