//! Asking outside whether a second factor was shown. What it is about is found out from the store, then nothing of the
//! store is held while it is asked, and the verdict counts only for the very question it answers.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest;
use kit::{Call, Error, Result, Told, World};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use storage::Txn;
use zeroize::Zeroizing;

use super::gate::{Owed, Shown};
use super::record::{Method, Way};
use super::waiting::Waiting;
use crate::identity::book::Book;
use crate::identity::books::Books;
use crate::identity::resolve::Resolved;
use crate::namespaces::Namespace;

/// How long one question may take: less than clients commonly wait, so that they hear why.
const ANSWER_TIME: Duration = Duration::from_secs(50);
/// How long an answer may be held back that comes when someone has touched their phone.
pub(super) const LONG_POLL: Duration = ANSWER_TIME;
/// How long to wait before asking again what is not decided yet.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How often in a row an entity's device may be asked in vain within [`TRIES_TIME`]: who knows a password shall not be able
/// to make a phone ring until its owner gives in.
const TRIES_MAX: u64 = 5;
const TRIES_TIME: Duration = Duration::from_secs(300);
/// What URLs take as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A question about one entity to one system outside.
pub(crate) struct Question {
    /// Where the method stands.
    book: Book,
    method: Method,
    pub(super) username: String,
    /// Empty: a push, or whatever the system does without one.
    pub(super) passcode: Zeroizing<String>,
    /// Where the login came from.
    pub(super) address: Option<IpAddr>,
}

/// Why a second factor does not count as shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// It was asked, and the answer is no.
    Wrong(String),
    /// There is no answer, or none that makes sense.
    Unanswered(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Unanswered(error.to_string())
    }
}

/// What there is to ask for one login: for each enforcement, the questions of which one must be answered with yes.
pub(crate) struct Round {
    entity: String,
    asks: Vec<Vec<Question>>,
}

/// What was heard: the method, what was asked, and the verdict.
#[derive(Clone, Default)]
pub(crate) struct Proofs(Vec<Proof>);

#[derive(Clone)]
struct Proof {
    book: Book,
    method: String,
    mark: Mark,
    verdict: Result<(), Refusal>,
}

/// Stands for a question: all that it was made from.
type Mark = [u8; 32];

impl Books {
    /// What has to be asked outside about what was shown. Nothing, if something owed was not shown at all: then nobody's
    /// phone needs to ring.
    pub(crate) fn round(
        &self,
        txn: &Txn,
        namespace: &Namespace,
        entity: &str,
        owed: &[Owed],
        shown: &Shown,
        address: Option<IpAddr>,
    ) -> Result<Round> {
        let mut round = Round { entity: entity.to_owned(), asks: Vec::new() };
        let mut resolved = None;
        for one in owed {
            let tried: Vec<_> =
                one.methods.iter().filter_map(|choice| Some((choice, shown.of(choice)?))).collect();
            if tried.is_empty() {
                return Ok(Round { asks: Vec::new(), ..round });
            }
            let mut questions = Vec::new();
            for (choice, code) in tried {
                let Some(method) = choice.book.mfa_method(txn, &choice.id)? else { continue };
                if matches!(method.way, Way::Totp(_)) {
                    continue;
                }
                if resolved.is_none() {
                    resolved = self.own.resolve(txn, entity)?;
                }
                let who = resolved.as_ref().ok_or_else(Error::denied)?;
                let username = username(&method, who, namespace)?;
                let (book, passcode) = (choice.book, code.to_owned().into());
                questions.push(Question { book, method, username, passcode, address });
            }
            round.asks.push(questions);
        }
        Ok(round)
    }
}

/// What an entity is called where a method asks.
fn username(method: &Method, who: &Resolved, namespace: &Namespace) -> Result<String> {
    if method.username_format.is_empty() {
        return Ok(who.entity.name.clone());
    }
    let subject = who.caller(&namespace.path).subject();
    policy::render(&method.username_format, &subject, &namespace.path, 0, &[]).map_err(|_| {
        let name = &method.name;
        let text = format!(
            "the username_format of the MFA method {name:?} has no value for this entity: give it what the template names"
        );
        Error::new(kit::Fault::Denied, text)
    })
}

impl Round {
    /// Asks until each enforcement has a yes or no question left.
    pub(crate) async fn ask(&self, world: &dyn World, waiting: &Waiting) -> Proofs {
        let mut proofs = Proofs::default();
        for questions in &self.asks {
            for question in questions {
                let (book, id) = (question.book, &question.method.id);
                if proofs.of(book, id).is_none() {
                    let verdict = self.verdict(question, world, waiting).await;
                    let mark = question.mark();
                    proofs.0.push(Proof { book, method: id.clone(), mark, verdict });
                }
                if matches!(proofs.of(book, id), Some(Ok(()))) {
                    break;
                }
            }
        }
        proofs
    }

    async fn verdict(
        &self,
        question: &Question,
        world: &dyn World,
        waiting: &Waiting,
    ) -> Result<(), Refusal> {
        let id = &question.method.id;
        let tries = waiting.tried(&self.entity, id, TRIES_TIME, world.now());
        if tries > TRIES_MAX {
            return Err(Refusal::Wrong(format!(
                "maximum MFA validation attempts {tries} exceeded the allowed attempts {TRIES_MAX}. Please try again in {} seconds",
                TRIES_TIME.as_secs()
            )));
        }
        let answer = async {
            match &question.method.way {
                Way::Totp(_) => Err(Refusal::Unanswered("nobody outside knows of one-time passwords".into())),
                Way::Duo(duo) => duo.ask(question, world).await,
                Way::Okta(okta) => okta.ask(question, world).await,
                Way::PingId(pingid) => pingid.ask(question, world).await,
            }
        };
        let verdict = tokio::select! {
            biased;
            verdict = answer => verdict,
            () = world.pause(ANSWER_TIME) => {
                Err(Refusal::Unanswered(format!("nobody answered within {} seconds", ANSWER_TIME.as_secs())))
            }
        };
        if verdict.is_ok() {
            waiting.clear(&self.entity, id);
        }
        verdict
    }
}

impl Question {
    fn mark(&self) -> Mark {
        let mut context = digest::Context::new(&digest::SHA256);
        // A record that cannot be written could not have been read; each part is told from the next by its length.
        let method = Zeroizing::new(serde_json::to_vec(&self.method).unwrap_or_default());
        for part in [&method[..], self.username.as_bytes(), self.passcode.as_bytes()] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut mark = Mark::default();
        mark.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        mark
    }
}

impl Proofs {
    /// What was heard about a method.
    pub(super) fn of(&self, book: Book, method: &str) -> Option<&Result<(), Refusal>> {
        self.find(book, method).map(|proof| &proof.verdict)
    }

    fn find(&self, book: Book, method: &str) -> Option<&Proof> {
        self.0.iter().find(|proof| proof.book == book && proof.method == method)
    }

    /// Whether these are the answers to just these questions. After a conflict they may be others.
    pub(crate) fn answer(&self, round: &Round) -> bool {
        let answers = |question: &Question| {
            let proof = self.find(question.book, &question.method.id)?;
            (proof.mark == question.mark()).then_some(proof.verdict.is_ok())
        };
        round.asks.iter().all(|questions| {
            let heard: Vec<Option<bool>> = questions.iter().map(answers).collect();
            heard.iter().all(Option::is_some) || heard.contains(&Some(true))
        })
    }
}

/// What a system answered, as JSON.
pub(super) fn read<T: DeserializeOwned>(whose: &str, told: &Told) -> Result<T, Refusal> {
    serde_json::from_slice(&told.body).map_err(|_| {
        let text = format!("{whose} answered with status {} and something that is no answer", told.status);
        Refusal::Unanswered(text)
    })
}

/// Fetches as it is asked, never anywhere else.
pub(super) async fn fetch(world: &dyn World, call: Call) -> Result<Told, Refusal> {
    Ok(world.fetch(Call { redirects: kit::Redirects::Shown, ..call }).await?)
}

/// As a URL or a form has it.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Whether a text is a host, with or without a port, and nothing besides.
pub(super) fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(fits)
}
