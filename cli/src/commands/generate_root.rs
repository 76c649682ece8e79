use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use clap::Args;
use serde_json::{Value, json};

use super::operator::{pgp, share};
use crate::{
    call::Call,
    doc::Doc,
    output::{folded, say, warn},
    refused::Refused,
    session::Session,
    stop::{Outcome, Stop},
    table::{columns, plain},
};

/// Make a new root token out of enough key shares
///
/// First `-init`, which prints a one-time password; then every share holder runs it without flags; then
/// `-decode` turns the last answer and the password into the token.
#[derive(Args, Debug)]
pub(crate) struct GenerateRoot {
    /// Begin
    #[arg(long)]
    init: bool,
    /// Give up what was begun
    #[arg(long)]
    cancel: bool,
    /// Print how far it is
    #[arg(long)]
    status: bool,
    /// Answer to decode with -otp; `-` reads it from a pipe
    #[arg(long, value_name = "TOKEN")]
    decode: Option<String>,
    /// One-time password
    #[arg(long, value_name = "PASSWORD")]
    otp: Option<String>,
    /// Print a one-time password of the length that the server wants, for -init
    #[arg(long)]
    generate_otp: bool,
    /// Make a token for a server in recovery, where a server has such tokens
    #[arg(long)]
    recovery_token: bool,
    /// PGP key that encrypts the token, in place of a password
    #[arg(long, value_name = "KEY")]
    pgp_key: Option<String>,
    /// Nonce of what was begun
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// Share, or `-` to read it from a pipe; asked for if left out
    key: Option<String>,
}

/// Where Vault has it, and where newer OpenBao servers have it, which want a token for it.
const PLACES: [&str; 2] = ["sys/generate-root", "sys/generate-root-token"];
/// Where servers in recovery have it.
const RECOVERY: &str = "sys/generate-recovery-token";
const ORDER: [&str; 11] = [
    "nonce",
    "started",
    "progress",
    "required",
    "complete",
    "encoded_token",
    "encoded_root_token",
    "pgp_fingerprint",
    "otp",
    "otp_length",
    "description",
];

impl GenerateRoot {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if let Some(encoded) = &self.decode {
            return self.decode(session, encoded);
        }
        let place = if self.recovery_token { RECOVERY } else { place(session).await? };
        if self.generate_otp {
            return otp(session, place).await;
        }
        if self.cancel {
            let call = Call::delete(format!("{place}/attempt"));
            session.client.send(call).await.map_err(|e| e.during("Error canceling root token generation"))?;
            say("Success! Root token generation canceled (if it was started)");
            return Ok(0);
        }
        if self.init {
            return self.begin(session, place).await;
        }
        let status = ask(session, Call::get(format!("{place}/attempt")))
            .await
            .map_err(|e| e.during("Error getting root generation status"))?;
        if self.status {
            return print(session, &status);
        }
        self.provide(session, place, &status).await
    }

    async fn begin(&self, session: &Session, place: &str) -> Outcome {
        let mut body = json!({ "otp": self.otp.clone().unwrap_or_default() });
        if let (Some(key), Some(body)) = (&self.pgp_key, body.as_object_mut()) {
            body.insert("pgp_key".to_owned(), json!(pgp(std::slice::from_ref(key))?.first()));
        }
        let status = ask(session, Call::put(format!("{place}/attempt"), body))
            .await
            .map_err(|e| e.during("Error initializing root generation"))?;
        let made = status.get("otp").and_then(Value::as_str).is_some_and(|otp| !otp.is_empty());
        if made && session.output.is_table() {
            warn(folded(
                "A One-Time-Password has been generated for you and is shown in the OTP field. You will need this \
                 value to decode the resulting root token, so keep it safe.",
                0,
            ));
        }
        print(session, &status)
    }

    async fn provide(&self, session: &Session, place: &str, status: &Value) -> Outcome {
        if status.get("started").and_then(Value::as_bool) != Some(true) {
            return Err(Stop::local(
                "No root generation is in progress. Start a root generation by running \"keep operator generate-root -init\".",
            ));
        }
        let begun = status.get("nonce").and_then(Value::as_str).unwrap_or_default();
        let nonce = self.nonce.as_deref().unwrap_or(begun);
        if self.key.is_some() && self.nonce.is_none() {
            return Err(Stop::local("Missing nonce value: specify it via the -nonce flag")
                .hint(format!("The nonce of what is in progress is {begun}.")));
        }
        if session.output.is_table() {
            warn(format!("Operation nonce: {nonce}"));
        }
        let key = share(session, self.key.as_deref(), "Unseal Key (will be hidden): ")?;
        let call = Call::put(format!("{place}/update"), json!({ "key": key.as_str(), "nonce": nonce }));
        let status = ask(session, call).await.map_err(|e| e.during("Error posting unseal key"))?;
        print(session, &status)
    }

    fn decode(&self, session: &Session, encoded: &str) -> Outcome {
        let otp = self.otp.as_deref().ok_or_else(|| Stop::local("Missing otp: use -otp to supply it"))?;
        let encoded = share(session, Some(encoded), "")?;
        let wrong = |why: &str| Stop::local(format!("Error decoding root token: {why}"));
        let bytes = STANDARD_NO_PAD
            .decode(encoded.trim_end_matches('='))
            .map_err(|_| wrong("it is not base64; give the field Encoded Token as it was printed"))?;
        if bytes.len() != otp.len() {
            return Err(wrong("its length is not that of the one-time password"));
        }
        let token = bytes.iter().zip(otp.bytes()).map(|(a, b)| a ^ b).collect();
        let token = String::from_utf8(token).map_err(|_| wrong("this is not its one-time password"))?;
        if session.output.is_table() {
            say(token);
            return Ok(0);
        }
        session.output.doc(&Doc::map(vec![("token", json!(token).into())]))
    }
}

/// Where the generation stands; the older place tells it outside the envelope, the newer one inside.
async fn ask(session: &Session, call: Call) -> Result<Value, Refused> {
    let secret = session.client.write(call).await?.unwrap_or_default();
    Ok(secret.data.unwrap_or_default())
}

/// The place that this server has.
async fn place(session: &Session) -> Result<&'static str, Stop> {
    let [first, second] = PLACES;
    match session.client.send(Call::get(format!("{first}/attempt")).preflight()).await {
        Err(refused) if matches!(refused.status(), Some(404 | 405)) => Ok(second),
        Err(refused) => Err(refused.during("Error getting root generation status")),
        Ok(_) => Ok(first),
    }
}

/// Of what a one-time password is made.
const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// No token is longer.
const OTP_SIZE_MAX: u64 = 1024;

/// Prints a new one-time password, as long as the tokens of this server.
async fn otp(session: &Session, place: &str) -> Outcome {
    let status = ask(session, Call::get(format!("{place}/attempt")))
        .await
        .map_err(|e| e.during("Error getting root generation status"))?;
    let wanted =
        status.get("otp_length").and_then(Value::as_u64).filter(|length| (1..=OTP_SIZE_MAX).contains(length));
    let length = wanted.ok_or_else(|| Stop::remote("The server does not say how long its tokens are"))?;
    let mut otp = String::new();
    while (otp.len() as u64) < length {
        let mut byte = [0];
        aws_lc_rs::rand::fill(&mut byte).map_err(|_| Stop::local("The system gives no randomness"))?;
        // A byte that is none of 62 is thrown away, or some letters would come more often.
        otp.extend(ALPHABET.get(usize::from(byte[0] & 0x3f)).map(|letter| char::from(*letter)));
    }
    if session.output.is_table() {
        return session.output.field(Some(&json!(otp)), "otp", "map");
    }
    session.output.doc(&Doc::map(vec![("otp", json!(otp).into()), ("otp_length", json!(length).into())]))
}

fn print(session: &Session, status: &Value) -> Outcome {
    if !session.output.is_table() {
        return session.output.doc(&Doc::ordered(status, &ORDER));
    }
    let text = |key: &str| status.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |title: &str, value: String| rows.push(vec![title.to_owned(), value]);
    row("Nonce", text("nonce"));
    row("Started", text("started"));
    row("Progress", format!("{}/{}", text("progress"), text("required")));
    row("Complete", text("complete"));
    for (title, key) in [("PGP Fingerprint", "pgp_fingerprint"), ("OTP", "otp"), ("OTP Length", "otp_length")]
    {
        if !matches!(text(key).as_str(), "" | "0") {
            row(title, text(key));
        }
    }
    let encoded =
        if text("encoded_token").is_empty() { text("encoded_root_token") } else { text("encoded_token") };
    if !encoded.is_empty() {
        row("Encoded Token", encoded);
    }
    say(columns(&rows));
    Ok(0)
}
