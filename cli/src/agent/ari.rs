//! Renewal information (RFC 9773): a CA that will revoke, or is under load, says when it wants renewals.

use std::time::Duration;

use serde_json::Value;

use super::{moment::Moment, record::Held, schedule::Window, world::World};
use crate::{call::Call, client::Reply};

/// How often to ask, unless the CA says otherwise.
const ASK_EVERY: Duration = Duration::from_secs(6 * 3600);
/// A CA that has no renewal information is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// What the CA may say.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The window that the CA suggests for a certificate, and when to ask again. `known` is what it said last.
pub(crate) async fn ask(
    world: &impl World,
    mount: &str,
    held: &Held,
    known: Option<Window>,
) -> (Option<Window>, Duration) {
    let Some(id) = &held.ari_id else { return (None, ASK_AGAIN) };
    match world.ask(Call::get(format!("{mount}/acme/renewal-info/{id}"))).await {
        Ok(reply) => {
            let pause = reply.retry_after.map_or(ASK_EVERY, |asked| asked.clamp(PAUSE_MIN, PAUSE_MAX));
            (window(&reply), pause)
        }
        Err(refused) if refused.status().is_some() => (None, ASK_AGAIN),
        // Without an answer nothing changes; the certificate's own dates count meanwhile.
        Err(_) => (known, ASK_EVERY),
    }
}

fn window(reply: &Reply) -> Option<Window> {
    let parsed: Value = serde_json::from_slice(&reply.body).ok()?;
    let suggested = parsed.get("suggestedWindow")?;
    let moment = |key: &str| {
        let text = suggested.get(key)?.as_str()?;
        let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        Some(Moment::from_seconds(at.unix_timestamp()))
    };
    let (start, end) = (moment("start")?, moment("end")?);
    (start < end).then_some(Window { start, end })
}
