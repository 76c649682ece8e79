use std::collections::BTreeMap;
use std::time::Duration;

use kit::{Error, Fault, Result, Time};
use serde::Serialize;
use storage::Txn;
use zeroize::Zeroizing;

use super::record::{Enforcement, Totp, Way};
use super::round::{Proofs, Refusal};
use super::waiting::Waiting;
use crate::identity::book::Book;
use crate::identity::books::Books;
use crate::mounts::Mounted;

/// A second factor that a login owes: any one of these methods.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) enforcement: String,
    /// The path of the namespace that wants it.
    pub(crate) namespace: String,
    pub(crate) methods: Vec<Choice>,
}

/// A method as a client is told of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Choice {
    #[serde(rename = "type")]
    kind: &'static str,
    pub(crate) id: String,
    uses_passcode: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Where it stands: in the book of the namespace that wants it, or of one that holds that.
    #[serde(skip)]
    pub(super) book: Book,
}

/// What a client has shown: for each method, by id or name, a code.
#[derive(Default)]
pub(crate) struct Shown(BTreeMap<String, Zeroizing<String>>);

impl Shown {
    /// From the headers of a login: `method:code`, each, or `method` alone. An empty one says nothing.
    ///
    /// # Errors
    /// If one names no method, or has a colon and no code behind it.
    pub(crate) fn from_headers<'a>(values: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut shown = Self::default();
        for value in values.filter(|value| !value.is_empty()) {
            let missing = match value.split_once(':') {
                Some(("", _)) => "method name or ID",
                Some((_, "")) => "method value",
                Some((method, code)) => {
                    shown.insert(method, code);
                    continue;
                }
                None => {
                    shown.insert(value, "");
                    continue;
                }
            };
            return Err(Error::invalid(format!(
                "failed to parse X-Vault-MFA header: invalid data in header \"X-Vault-MFA\"; missing {missing}"
            )));
        }
        Ok(shown)
    }

    /// Takes one in. `passcode=` before the code is as good as none.
    pub(crate) fn insert(&mut self, method: &str, code: &str) {
        let code = code.strip_prefix("passcode=").unwrap_or(code);
        self.0.insert(method.to_owned(), Zeroizing::new(code.to_owned()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(&self, choice: &Choice) -> Option<&str> {
        self.0.get(&choice.id).or_else(|| self.0.get(&choice.name)).map(|code| code.as_str())
    }
}

/// What came of looking at what was shown.
pub(crate) enum Settled {
    /// All that was owed.
    Shown,
    /// Not all; why, in the words that clients know.
    Refused(String),
}

impl Settled {
    /// Goes on only if all was shown. A wrong one is no wrong password and locks nobody out: tries have bounds of their own.
    pub(crate) fn or_refuse(self) -> Result<()> {
        match self {
            Self::Shown => Ok(()),
            Self::Refused(why) => Err(Error::new(Fault::Denied, why)),
        }
    }
}

/// Someone showing second factors.
#[derive(Clone, Copy)]
pub(crate) struct Showing<'a> {
    pub(crate) waiting: &'a Waiting,
    pub(crate) entity: &'a str,
    pub(crate) shown: &'a Shown,
    /// What others said about what was shown.
    pub(crate) proofs: &'a Proofs,
    pub(crate) now: Time,
}

/// A one-time password that was shown.
#[derive(Clone, Copy)]
struct Code<'a> {
    method: &'a str,
    name: &'a str,
    totp: &'a Totp,
    code: &'a str,
}

impl Enforcement {
    /// Whether it binds a login at this mount, aside from who it is of.
    fn binds_mount(&self, mounted: &Mounted) -> bool {
        self.accessors.contains(&mounted.entry.accessor) || self.kinds.contains(&mounted.entry.kind)
    }
}

/// Owing and showing.
impl Books {
    /// The second factors that a login of this entity at this mount owes: to its own namespace, and to each that holds it.
    ///
    /// # Errors
    /// Denied, if it owes one and has no entity that could have enrolled.
    pub(crate) fn owed(&self, txn: &Txn, mounted: &Mounted, entity: &str) -> Result<Vec<Owed>> {
        let mut enforcements = Vec::new();
        for (book, namespace) in self.iter() {
            let all = book.all_enforcements(txn)?.into_iter();
            enforcements.extend(all.map(|enforcement| (book, namespace, enforcement)));
        }
        if enforcements.is_empty() {
            return Ok(Vec::new());
        }
        let resolved = if entity.is_empty() { None } else { self.own.resolve(txn, entity)? };
        let binds = |it: &Enforcement| {
            it.binds_mount(mounted)
                || resolved.as_ref().is_some_and(|who| {
                    it.entities.contains(&who.entity.id)
                        || who.groups().any(|group| it.groups.contains(&group.id))
                })
        };
        let mut owed = Vec::new();
        for (book, namespace, enforcement) in enforcements.into_iter().filter(|(_, _, it)| binds(it)) {
            let mut methods = Vec::new();
            for id in &enforcement.methods {
                if let Some((book, _, method)) = self.method_from(book, txn, id)? {
                    methods.push(Choice {
                        book,
                        kind: method.way.kind().name(),
                        uses_passcode: method.way.uses_passcode(),
                        id: method.id,
                        name: method.name,
                    });
                }
            }
            let namespace = namespace.path.clone();
            owed.push(Owed { enforcement: enforcement.name, namespace, methods });
        }
        if !owed.is_empty() && resolved.is_none() {
            return Err(Error::denied());
        }
        Ok(owed)
    }

    /// Whether everything owed was shown. A code that is right is used up in this transaction, and counts for all who want
    /// one of its method.
    pub(crate) fn settle_owed(&self, txn: &mut Txn, owed: &[Owed], showing: &Showing<'_>) -> Result<Settled> {
        let mut right = Vec::new();
        for one in owed {
            let Some(failed) = self.settle_one(txn, one, showing, &mut right)? else { continue };
            let why = format!("failed to satisfy enforcement {}. error: {failed}", one.enforcement);
            return Ok(Settled::Refused(why));
        }
        Ok(Settled::Shown)
    }

    /// Nothing, if one of the methods was satisfied; else why none was. `right` are the methods whose code was right.
    fn settle_one(
        &self,
        txn: &mut Txn,
        owed: &Owed,
        showing: &Showing<'_>,
        right: &mut Vec<String>,
    ) -> Result<Option<String>> {
        if owed.methods.iter().any(|choice| right.contains(&choice.id)) {
            return Ok(None);
        }
        let tried: Vec<(&Choice, &str)> =
            owed.methods.iter().filter_map(|choice| Some((choice, showing.shown.of(choice)?))).collect();
        if tried.is_empty() {
            let missing = |choice: &Choice| {
                let Choice { id, name, .. } = choice;
                format!(
                    "\t* failed to find MFA credentials associated with an MFA method ID {id}, method name {name}\n"
                )
            };
            let missing: Vec<String> = owed.methods.iter().map(missing).collect();
            let whys = format!("failed to sanitize MFA creds, {}", listed(&missing));
            return Ok(Some(whys));
        }
        let mut whys = Vec::new();
        for (choice, code) in &tried {
            let Some(method) = choice.book.mfa_method(txn, &choice.id)? else { continue };
            let verdict = match &method.way {
                Way::Totp(totp) => {
                    let code = Code { method: &method.id, name: &method.name, totp, code };
                    self.settle_code(txn, showing, &code)?.map_or(Ok(()), |why| Err(Refusal::Wrong(why)))
                }
                _ => showing.proofs.of(choice.book, &method.id).cloned().unwrap_or_else(|| {
                    Err(Refusal::Unanswered("what is asked about changed meanwhile; try again".to_owned()))
                }),
            };
            match verdict {
                Ok(()) => {
                    right.push(method.id);
                    return Ok(None);
                }
                Err(Refusal::Wrong(why) | Refusal::Unanswered(why)) => whys.push(format!("\t* {why}\n")),
            }
        }
        let ids: Vec<&str> = owed.methods.iter().map(|choice| choice.id.as_str()).collect();
        whys.push(format!("\t* login MFA validation failed for methodID: [{}]\n", ids.join(" ")));
        Ok(Some(listed(&whys)))
    }

    /// Nothing, if the code is right; else why it is not. Tries are counted whichever way they come.
    fn settle_code(&self, txn: &mut Txn, showing: &Showing<'_>, code: &Code<'_>) -> Result<Option<String>> {
        let Showing { waiting, entity, now, .. } = *showing;
        let Code { method, name, totp, code } = *code;
        let wrong = || Ok(Some("MFA credentials not supplied or incorrect".to_owned()));
        let Some(mut enrolment) = self.own.enrolment(txn, entity, method)? else {
            return Ok(Some(format!("MFA secret for method name {name:?} not present in entity {entity:?}")));
        };
        // Who shows nothing has tried nothing.
        if code.is_empty() {
            return wrong();
        }
        let period = Duration::from_secs(totp.period_seconds);
        let count = waiting.tried(entity, method, period, now);
        if count > totp.attempts_max {
            return Ok(Some(format!(
                "maximum TOTP validation attempts {count} exceeded the allowed attempts {}. Please try again in {} seconds",
                totp.attempts_max, totp.period_seconds
            )));
        }
        // Compared as it is, never trimmed: a second spelling would be a second code.
        if code.len() != totp.digits.count() {
            return wrong();
        }
        let check = otp::Check {
            secret: &enrolment.secret,
            algorithm: totp.algorithm,
            digits: totp.digits,
            period_seconds: totp.period_seconds,
            skew: totp.skew,
            accepted: &enrolment.accepted,
        };
        let oldest = check.first(now.seconds());
        let step = match check.fitting(code, now.seconds()) {
            Ok(Some(step)) => step,
            Ok(None) => return wrong(),
            Err(used) => return Ok(Some(used.to_string())),
        };
        enrolment.accepted.retain(|accepted| *accepted >= oldest);
        enrolment.accepted.push(step);
        self.own.put_enrolment(txn, entity, method, &enrolment)?;
        waiting.clear(entity, method);
        Ok(None)
    }
}

/// Errors as Go lists them.
fn listed(errors: &[String]) -> String {
    let count = errors.len();
    let occurred = if count == 1 { "error" } else { "errors" };
    format!("{count} {occurred} occurred:\n{}\n", errors.concat())
}
