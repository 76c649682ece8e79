use std::collections::BTreeSet;

use kit::{Beyond, Command, Error, Fault, Name, Query, Reading, Reply, Result, Route, Writing};
use policy::hcl::{self, Body};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::Random;
use zeroize::Zeroizing;

use super::Sys;
use super::policies::decoded;
use crate::namespaces::Ns;
use crate::shelf::{Shelves, Source};

/// Password policies by name, as they were written, those of each namespace for themselves.
const PASSWORDS: Shelves<String> = Shelves::new(13);

const LENGTH_MIN: usize = 4;
const LENGTH_MAX: usize = 100;
/// How many different characters there may be to choose from: one random byte chooses.
const ALPHABET_MAX: usize = 256;
/// A policy whose rules so many passwords in a row fail is refused: it would keep a core busy.
const TRIES_MAX: usize = 10_000;

/// How passwords are made, parsed.
struct PasswordPolicy {
    length: usize,
    /// Every character that may occur, once.
    alphabet: Vec<char>,
    rules: Vec<Rule>,
}

/// Of some characters, at least so many.
struct Rule {
    /// Which of the alphabet, by their places there.
    of: [bool; ALPHABET_MAX],
    least: usize,
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Text {
    policy: String,
}

/// Shows how passwords of a kind are made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// The name of the password policy.
    name: String,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("policies/password/{name+}");
    type Reply = Text;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Text>> {
        Ok(Text { policy: find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &self.name)? }.into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    keys: Vec<String>,
}

/// Lists the names of password policies.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Sys> for List {
    const ROUTE: Route = Route::list("policies/password");
    type Reply = Keys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let keys = PASSWORDS.of(Ns::of(cx)).walk(cx.beyond(&Beyond::for_the_kernel()), "")?;
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
    }
}

/// Says how passwords of a kind are made: `length = 20`, and blocks `rule "charset"` with `charset` and `min-chars`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// The name of the password policy.
    name: String,
    /// The rules, in HCL or JSON, or either in base64.
    #[serde(default)]
    policy: String,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("policies/password/{name+}").logged().heavy();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        if self.policy.is_empty() {
            return Err(Error::invalid("missing policy").wrapped());
        }
        let text = decoded(self.policy);
        let policy = PasswordPolicy::parse(&text)?;
        policy.generate(cx.randomness())?;
        PASSWORDS.of(Ns::of(cx)).put(cx.beyond(&Beyond::for_the_kernel()), Name::Path(&self.name), &text)?;
        Ok(Reply::Nothing)
    }
}

/// Deletes a password policy.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// The name of the password policy.
    name: String,
}

impl Command<Sys> for Delete {
    const ROUTE: Route = Route::delete("policies/password/{name+}").logged();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        if !is_folder(&self.name) {
            let shelf = PASSWORDS.of(Ns::of(cx));
            shelf.delete(cx.beyond(&Beyond::for_the_kernel()), Name::Path(&self.name))?;
        }
        Ok(Reply::Nothing)
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Password {
    password: String,
}

/// Makes a password.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Generate {
    /// The name of the password policy.
    name: String,
}

impl Query<Sys> for Generate {
    const ROUTE: Route = Route::get("policies/password/{name+}/generate").heavy();
    type Reply = Password;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Password>> {
        let text = find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &self.name)?;
        let password = PasswordPolicy::parse(&text)?.generate(&*engine.kernel()?.env.random)?;
        Ok(Password { password }.into())
    }
}

fn find(source: &impl Source, ns: Ns, name: &str) -> Result<String> {
    let missing = || Error::new(Fault::NotFound, "policy does not exist").wrapped();
    if is_folder(name) {
        return Err(missing());
    }
    PASSWORDS.of(ns).get(source, Name::Path(name))?.ok_or_else(missing)
}

/// With a slash at its end it is no name: rules about the one without do not judge it.
fn is_folder(name: &str) -> bool {
    name.ends_with('/')
}

impl PasswordPolicy {
    fn parse(text: &str) -> Result<Self> {
        let invalid = |why: String| Error::invalid(format!("invalid password policy: {why}")).wrapped();
        let body = hcl::parse_any(text).map_err(|error| invalid(format!("unable to decode: {error}")))?;
        let rules = rules(&body).map_err(invalid)?;
        let length = match body.attribute("length") {
            None => 0,
            Some(value) => value.as_i64().ok_or_else(|| {
                let what = format!("'length' expected type 'int', got unconvertible type '{}'", value.kind());
                invalid(format!(
                    "failed to decode configuration: decoding failed due to the following error(s):\n\n{what}"
                ))
            })?,
        };
        let listed = |why: &str| invalid(format!("1 error occurred:\n\t* {why}\n\n"));
        let mut alphabet = BTreeSet::new();
        for char in rules.iter().flat_map(|(set, _)| set.chars()) {
            if alphabet.len() <= ALPHABET_MAX {
                alphabet.insert(char);
            }
        }
        if alphabet.is_empty() {
            return Err(listed("no charset specified"));
        }
        if length <= 0 {
            return Err(listed("length must be > 0"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let needed = rules.iter().fold(0_usize, |sum, (_, least)| sum.saturating_add(*least));
        if needed > length {
            return Err(listed(&format!(
                "specified rules require at least {needed} characters but {length} is specified"
            )));
        }
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
            let text = format!("passwords must be between {LENGTH_MIN} and {LENGTH_MAX} characters");
            return Err(Error::invalid(text).wrapped());
        }
        if alphabet.len() > ALPHABET_MAX {
            let text = format!("charset is too long: limited to {ALPHABET_MAX} characters");
            return Err(Error::invalid(text).wrapped());
        }
        let alphabet: Vec<char> = alphabet.into_iter().collect();
        let strict = rules.into_iter().filter(|(_, least)| *least > 0);
        let rules = strict.map(|(set, least)| Rule::new(&alphabet, &set, least)).collect();
        Ok(Self { length, alphabet, rules })
    }

    /// A password: characters chosen evenly, over and over until the rules hold, so that every password that
    /// fits is as likely as any other.
    fn generate(&self, random: &dyn Random) -> Result<String> {
        for _ in 0..TRIES_MAX {
            let places = self.draw(random);
            if self.rules.iter().all(|rule| rule.holds(&places)) {
                return Ok(places.iter().filter_map(|place| self.alphabet.get(*place)).collect());
            }
        }
        Err(Error::invalid("passwords of this policy cannot be made in reasonable time; ask for fewer characters of rare sets, or for longer passwords").wrapped())
    }

    /// As many places in the alphabet as a password is long, each as likely as the others.
    fn draw(&self, random: &dyn Random) -> Vec<usize> {
        let count = self.alphabet.len().max(1);
        let fair = ALPHABET_MAX - ALPHABET_MAX % count;
        let mut places = Vec::with_capacity(self.length);
        let mut bytes = Zeroizing::new([0; LENGTH_MAX]);
        while places.len() < self.length {
            random.fill(&mut *bytes);
            let drawn = bytes.iter().map(|byte| usize::from(*byte)).filter(|drawn| *drawn < fair);
            places.extend(drawn.map(|drawn| drawn % count).take(self.length - places.len()));
        }
        places
    }
}

impl Rule {
    fn new(alphabet: &[char], set: &str, least: usize) -> Self {
        let mut of = [false; ALPHABET_MAX];
        for place in set.chars().filter_map(|char| alphabet.binary_search(&char).ok()) {
            of.iter_mut().skip(place).take(1).for_each(|has| *has = true);
        }
        Self { of, least }
    }

    fn holds(&self, places: &[usize]) -> bool {
        places.iter().filter(|place| self.of.get(**place) == Some(&true)).count() >= self.least
    }
}

/// The sets of characters, and how many of each there are to be at least.
fn rules(body: &Body) -> Result<Vec<(String, usize)>, String> {
    let blocks = body.blocks("rule", 1).map_err(|error| format!("unable to parse rules: {error}"))?;
    let mut rules = Vec::with_capacity(blocks.len());
    for block in blocks {
        let kind = block.labels.first().copied().unwrap_or_default();
        if kind != "charset" {
            return Err(format!(
                "unable to parse rules: unable to parse rule {kind}: unrecognized rule type {kind}"
            ));
        }
        let set = block.body.attribute("charset").and_then(hcl::Value::as_text).unwrap_or_default();
        let least = match block.body.attribute("min-chars") {
            None => 0,
            Some(value) => value.as_i64().and_then(|number| usize::try_from(number).ok()).ok_or_else(|| {
                "unable to parse rules: unable to parse rule charset: 'min-chars' must be a whole number, 0 or more".to_owned()
            })?,
        };
        if set.chars().any(char::is_control) {
            return Err(
                "unable to parse rules: unable to parse rule charset: non-printable character in charset"
                    .to_owned(),
            );
        }
        rules.push((set.to_owned(), least));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use storage::SystemRandom;

    use super::*;

    #[test]
    fn passwords_keep_the_rules() {
        let text = r#"length = 12 rule "charset" { charset = "abc" min-chars = 2 } rule "charset" { charset = "01" min-chars = 3 }"#;
        let policy = PasswordPolicy::parse(text).unwrap();
        for _ in 0..200 {
            let password = policy.generate(&SystemRandom).unwrap();
            assert_eq!(password.len(), 12);
            assert!(password.chars().all(|char| "abc01".contains(char)));
            assert!(password.chars().filter(|char| "01".contains(*char)).count() >= 3, "{password}");
            assert!(password.chars().filter(|char| "abc".contains(*char)).count() >= 2, "{password}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let set = |range: std::ops::Range<u32>| range.filter_map(char::from_u32).collect::<String>();
        let rule = |set: &str| format!("rule \"charset\" {{ charset = \"{set}\" }}\n");
        let (low, high) = (set(0x4e00..0x4e80), set(0x4e80..0x4f00));
        let just = format!("length = 20\n{}{}{}", rule(&low), rule(&high), rule(&low));
        let made = PasswordPolicy::parse(&just).unwrap().generate(&SystemRandom).unwrap();
        assert!(
            made.chars().count() == 20 && made.chars().all(|char| low.contains(char) || high.contains(char))
        );
        let too_many = just + &rule("a");
        for (text, why) in [
            ("length = 20", "no charset specified"),
            (r#"rule "charset" { charset = "ab" }"#, "length must be > 0"),
            (r#"length = 2 rule "charset" { charset = "ab" }"#, "between 4 and 100"),
            (r#"length = 5 rule "charset" { charset = "ab" min-chars = 6 }"#, "at least 6 characters but 5"),
            (r#"length = 5 rule "odd" { charset = "ab" }"#, "unrecognized rule type odd"),
            ("garbage", "unable to decode"),
            (&too_many, "limited to 256 characters"),
        ] {
            let error = PasswordPolicy::parse(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why), "{text}: {error}");
        }
        let wide: String = ('!'..='~').filter(|char| *char != '"' && *char != '\\').collect();
        let text = format!(
            "length = 8 rule \"charset\" {{ charset = \"{wide}\" }} rule \"charset\" {{ charset = \"a\" min-chars = 8 }}"
        );
        assert!(PasswordPolicy::parse(&text).unwrap().generate(&SystemRandom).is_err());
    }
}
