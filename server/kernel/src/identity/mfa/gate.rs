use std::collections::BTreeMap;
use std::time::Duration;

use kit::{Error, Fault, Result, Time};
use serde::Serialize;
use storage::Txn;
use zeroize::Zeroizing;

use super::record::{Enforcement, Method};
use super::waiting::Waiting;
use crate::identity::book::Book;
use crate::mounts::Mounted;

/// A second factor that a login owes: any one of these methods.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) enforcement: String,
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
}

/// What a client has shown: for each method, by id or name, a code.
#[derive(Default)]
pub(crate) struct Shown(BTreeMap<String, Zeroizing<String>>);

impl Shown {
    /// From the headers of a login: `method:code`, each.
    pub(crate) fn from_headers<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut shown = Self::default();
        for value in values {
            let (method, code) = value.split_once(':').unwrap_or((value, ""));
            shown.insert(method, code);
        }
        shown
    }

    /// Takes one in. `passcode=` before the code is as good as none.
    pub(crate) fn insert(&mut self, method: &str, code: &str) {
        let code = code.strip_prefix("passcode=").unwrap_or(code);
        self.0.insert(method.to_owned(), Zeroizing::new(code.to_owned()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, choice: &Choice) -> Option<&str> {
        self.0.get(&choice.id).or_else(|| self.0.get(&choice.name)).map(|code| code.as_str())
    }
}

impl Enforcement {
    /// Whether it binds a login at this mount, aside from who it is of.
    fn binds_mount(&self, mounted: &Mounted) -> bool {
        self.accessors.contains(&mounted.entry.accessor) || self.kinds.contains(&mounted.entry.kind)
    }
}

/// Owing and showing.
impl Book {
    /// The second factors that a login of this entity at this mount owes.
    ///
    /// # Errors
    /// Denied, if it owes one and has no entity that could have enrolled.
    pub(crate) fn owed(self, txn: &Txn, mounted: &Mounted, entity: &str) -> Result<Vec<Owed>> {
        let enforcements = self.all_enforcements(txn)?;
        if enforcements.is_empty() {
            return Ok(Vec::new());
        }
        let resolved = if entity.is_empty() { None } else { self.resolve(txn, entity)? };
        let binds = |it: &Enforcement| {
            it.binds_mount(mounted)
                || resolved.as_ref().is_some_and(|who| {
                    it.entities.contains(&who.entity.id)
                        || who.groups().any(|group| it.groups.contains(&group.id))
                })
        };
        let mut owed = Vec::new();
        for enforcement in enforcements.into_iter().filter(binds) {
            let mut methods = Vec::new();
            for id in &enforcement.methods {
                if let Some(method) = self.mfa_method(txn, id)? {
                    methods.push(Choice {
                        kind: super::method::KIND,
                        id: method.id,
                        uses_passcode: true,
                        name: method.name,
                    });
                }
            }
            owed.push(Owed { enforcement: enforcement.name, methods });
        }
        if !owed.is_empty() && resolved.is_none() {
            return Err(Error::denied());
        }
        Ok(owed)
    }

    /// Whether everything owed was shown. A code that is right is used up in this transaction.
    ///
    /// # Errors
    /// Denied, in the words that clients know, if something was not.
    pub(crate) fn settle_owed(
        self,
        txn: &mut Txn,
        waiting: &Waiting,
        entity: &str,
        owed: &[Owed],
        shown: &Shown,
        now: Time,
    ) -> Result<()> {
        for one in owed {
            let whys = match self.settle_one(txn, waiting, entity, one, shown, now)? {
                None => continue,
                Some(whys) => whys,
            };
            let text = format!("failed to satisfy enforcement {}. error: {whys}", one.enforcement);
            return Err(Error::new(Fault::Denied, text));
        }
        Ok(())
    }

    /// Nothing, if one of the methods was satisfied; else why none was.
    fn settle_one(
        self,
        txn: &mut Txn,
        waiting: &Waiting,
        entity: &str,
        owed: &Owed,
        shown: &Shown,
        now: Time,
    ) -> Result<Option<String>> {
        let tried: Vec<(&Choice, &str)> =
            owed.methods.iter().filter_map(|choice| Some((choice, shown.of(choice)?))).collect();
        if tried.is_empty() {
            let first = owed.methods.first();
            let (id, name) =
                first.map(|choice| (choice.id.as_str(), choice.name.as_str())).unwrap_or_default();
            return Ok(Some(format!(
                "failed to sanitize MFA creds, 1 error occurred:\n\t* failed to find MFA credentials associated with an MFA method ID {id}, method name {name}\n\n"
            )));
        }
        let mut whys = Vec::new();
        for (choice, code) in &tried {
            let Some(method) = self.mfa_method(txn, &choice.id)? else { continue };
            match self.settle_code(txn, waiting, entity, &method, code, now)? {
                None => return Ok(None),
                Some(why) => whys.push(format!("\t* {why}\n")),
            }
        }
        let ids: Vec<&str> = tried.iter().map(|(choice, _)| choice.id.as_str()).collect();
        whys.push(format!("\t* login MFA validation failed for methodID: [{}]\n", ids.join(" ")));
        let count = whys.len();
        Ok(Some(format!("{count} errors occurred:\n{}\n", whys.concat())))
    }

    /// Nothing, if the code is right; else why it is not. Tries are counted whichever way they come.
    fn settle_code(
        self,
        txn: &mut Txn,
        waiting: &Waiting,
        entity: &str,
        method: &Method,
        code: &str,
        now: Time,
    ) -> Result<Option<String>> {
        let wrong = || Ok(Some("MFA credentials not supplied or incorrect".to_owned()));
        let period = Duration::from_secs(method.period_seconds);
        let count = waiting.tried(entity, &method.id, period, now);
        if count > method.attempts_max {
            return Ok(Some(format!(
                "maximum TOTP validation attempts {count} exceeded the allowed attempts {}. Please try again in {} seconds",
                method.attempts_max, method.period_seconds
            )));
        }
        let Some(mut enrolment) = self.enrolment(txn, entity, &method.id)? else {
            return Ok(Some(format!(
                "MFA secret for method name {:?} not present in entity {entity:?}",
                method.name
            )));
        };
        // Compared as it is, never trimmed: a second spelling would be a second code.
        if code.len() != method.digits.count() {
            return wrong();
        }
        let check = otp::Check {
            secret: &enrolment.secret,
            algorithm: method.algorithm,
            digits: method.digits,
            period_seconds: method.period_seconds,
            skew: method.skew,
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
        self.put_enrolment(txn, entity, &method.id, &enrolment)?;
        waiting.clear(entity, &method.id);
        Ok(None)
    }
}
