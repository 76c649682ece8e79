//! Identity templates: `{{identity.entity.name}}` and its like, in paths and in parameter values.

use crate::duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What templates may read of the caller. The default is a caller without an entity.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subject {
    /// The entity's id; empty if there is no entity.
    pub entity_id: String,
    /// The entity's name.
    pub entity_name: String,
    /// The entity's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The entity's aliases, by the accessor of their mount.
    pub aliases: BTreeMap<String, Alias>,
    /// The groups the entity belongs to, directly or through others.
    pub groups: Vec<Group>,
}

/// What a caller is called at one auth mount.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Alias {
    /// The alias's id.
    pub id: String,
    /// The alias's name.
    pub name: String,
    /// What the auth method says about it.
    pub metadata: BTreeMap<String, String>,
    /// What operators say about it.
    pub custom_metadata: BTreeMap<String, String>,
}

/// A group the caller belongs to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Group {
    /// The group's id.
    pub id: String,
    /// The group's name.
    pub name: String,
    /// The path of the group's namespace: empty, or ending in a slash. Names are looked up only in the
    /// namespace of the policy.
    pub namespace: String,
    /// The group's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// A text with directives in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Directive { source: String, meaning: Directive },
}

#[derive(Clone, Debug, PartialEq)]
enum Directive {
    EntityId,
    EntityName,
    EntityMetadata(String),
    Alias { accessor: String, field: AliasField },
    Group { key: GroupKey, field: GroupField },
    Now { offset_nanos: i64 },
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
enum AliasField {
    Id,
    Name,
    Metadata(String),
    CustomMetadata(String),
}

#[derive(Clone, Debug, PartialEq)]
enum GroupKey {
    Id(String),
    Name(String),
}

#[derive(Clone, Debug, PartialEq)]
enum GroupField {
    Id,
    Name,
    Metadata(String),
}

/// What a template is filled with.
#[derive(Clone, Copy)]
pub(crate) struct Filling<'a> {
    pub(crate) subject: &'a Subject,
    /// The path of the policy's namespace.
    pub(crate) namespace: &'a str,
    /// Nanoseconds since 1970.
    pub(crate) now: u64,
    /// Characters that a value must not contain, because they would change what the rule matches.
    pub(crate) forbidden: &'a [char],
}

/// Why a template gave no text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Unfilled {
    /// Nothing is known: the rule does not apply to this caller.
    Missing(String),
    /// The value would reach beyond what the author meant: the caller is refused altogether.
    Forbidden { directive: String, character: char },
}

/// Why a text outside of policies could not be filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unrendered {
    /// Braces do not pair up.
    Unbalanced,
    /// Nothing is known of the caller for one of the directives.
    Missing,
    /// A value holds a character that would make it mean more than one thing.
    Forbidden(char),
}

/// Whether a text has a directive in it, in braces that pair up.
pub fn has_directive(text: &str) -> bool {
    Template::parse(text).is_ok_and(|template| template.as_text().is_none())
}

/// Fills in the directives of a text that an engine keeps, such as a role's list of users, for the caller `subject` at
/// `now` (nanoseconds since 1970). Values must hold none of the `forbidden` characters.
///
/// # Errors
/// If the text is no template, or a directive has no value or a forbidden one.
pub fn render(
    text: &str,
    subject: &Subject,
    namespace: &str,
    now: u64,
    forbidden: &[char],
) -> Result<String, Unrendered> {
    let template = Template::parse(text).map_err(|_| Unrendered::Unbalanced)?;
    template.fill(Filling { subject, namespace, now, forbidden }).map_err(|unfilled| match unfilled {
        Unfilled::Missing(_) => Unrendered::Missing,
        Unfilled::Forbidden { character, .. } => Unrendered::Forbidden(character),
    })
}

/// Braces that do not pair up.
#[derive(Debug, PartialEq)]
pub(crate) struct Unbalanced;

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, Unbalanced> {
        let mut parts = text.split("{{");
        let first = parts.next().unwrap_or_default();
        if first.contains("}}") {
            return Err(Unbalanced);
        }
        let mut pieces = vec![Piece::Text(first.to_owned())];
        for part in parts {
            let (source, text) = part.split_once("}}").ok_or(Unbalanced)?;
            if text.contains("}}") {
                return Err(Unbalanced);
            }
            let source = source.trim().to_owned();
            pieces.push(Piece::Directive { meaning: Directive::parse(&source), source });
            pieces.push(Piece::Text(text.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// A template only if there is a directive in it that means something: for values, where braces may be data.
    pub(crate) fn of_value(text: &str) -> Option<Self> {
        let template = Self::parse(text).ok()?;
        let means_something = |piece: &Piece| matches!(piece, Piece::Directive { meaning, .. } if *meaning != Directive::Unknown);
        template.0.iter().any(means_something).then_some(template)
    }

    /// The text, if nothing is to be filled in.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether what it gives changes with time.
    pub(crate) fn reads_clock(&self) -> bool {
        let is_clock =
            |piece: &Piece| matches!(piece, Piece::Directive { meaning: Directive::Now { .. }, .. });
        self.0.iter().any(is_clock)
    }

    pub(crate) fn fill(&self, with: Filling<'_>) -> Result<String, Unfilled> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Directive { source, meaning } => {
                    let value = meaning.value(with).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| Unfilled::Missing(source.clone()))?;
                    if let Some(character) = value.chars().find(|c| with.forbidden.contains(c)) {
                        return Err(Unfilled::Forbidden { directive: source.clone(), character });
                    }
                    text.push_str(&value);
                }
            }
        }
        Ok(text)
    }
}

impl Directive {
    fn parse(source: &str) -> Self {
        if let Some(rest) = source.strip_prefix("identity.entity.") {
            return Self::parse_entity(rest).unwrap_or(Self::Unknown);
        }
        if let Some(rest) = source.strip_prefix("identity.groups.") {
            return Self::parse_group(rest).unwrap_or(Self::Unknown);
        }
        if let Some(rest) = source.strip_prefix("time.") {
            return Self::parse_time(rest).unwrap_or(Self::Unknown);
        }
        Self::Unknown
    }

    fn parse_entity(rest: &str) -> Option<Self> {
        match rest {
            "id" => return Some(Self::EntityId),
            "name" => return Some(Self::EntityName),
            _ => {}
        }
        if let Some(key) = rest.strip_prefix("metadata.") {
            return Some(Self::EntityMetadata(key.to_owned()));
        }
        let (accessor, field) = rest.strip_prefix("aliases.")?.split_once('.')?;
        let field = match field {
            "id" => AliasField::Id,
            "name" => AliasField::Name,
            _ => match field.split_once('.')? {
                ("metadata", key) => AliasField::Metadata(key.to_owned()),
                ("custom_metadata", key) => AliasField::CustomMetadata(key.to_owned()),
                _ => return None,
            },
        };
        Some(Self::Alias { accessor: accessor.to_owned(), field })
    }

    fn parse_group(rest: &str) -> Option<Self> {
        let (kind, rest) = rest.split_once('.')?;
        let (key, field) = rest.split_once('.')?;
        let key = match kind {
            "ids" => GroupKey::Id(key.to_owned()),
            "names" => GroupKey::Name(key.to_owned()),
            _ => return None,
        };
        let field = match field {
            "id" => GroupField::Id,
            "name" => GroupField::Name,
            _ => GroupField::Metadata(field.strip_prefix("metadata.")?.to_owned()),
        };
        Some(Self::Group { key, field })
    }

    fn parse_time(rest: &str) -> Option<Self> {
        if rest == "now" {
            return Some(Self::Now { offset_nanos: 0 });
        }
        let (operator, duration) = rest.strip_prefix("now.")?.split_once('.')?;
        let offset = duration::parse_duration(duration).ok()?;
        let offset_nanos = match operator {
            "plus" => offset,
            "minus" => offset.checked_neg()?,
            _ => return None,
        };
        Some(Self::Now { offset_nanos })
    }

    fn value(&self, with: Filling<'_>) -> Option<String> {
        let subject = with.subject;
        match self {
            Self::Unknown => None,
            Self::Now { offset_nanos } => {
                let nanos = i128::from(with.now) + i128::from(*offset_nanos);
                Some(nanos.div_euclid(1_000_000_000).to_string())
            }
            // Whatever else is asked, without an entity nothing is known.
            _ if subject.entity_id.is_empty() => None,
            Self::EntityId => Some(subject.entity_id.clone()),
            Self::EntityName => Some(subject.entity_name.clone()),
            Self::EntityMetadata(key) => subject.metadata.get(key).cloned(),
            Self::Alias { accessor, field } => {
                let alias = subject.aliases.get(accessor)?;
                match field {
                    AliasField::Id => Some(alias.id.clone()),
                    AliasField::Name => Some(alias.name.clone()),
                    AliasField::Metadata(key) => alias.metadata.get(key).cloned(),
                    AliasField::CustomMetadata(key) => alias.custom_metadata.get(key).cloned(),
                }
            }
            Self::Group { key, field } => {
                let group = subject.groups.iter().find(|group| match key {
                    GroupKey::Id(id) => group.id == *id,
                    GroupKey::Name(name) => group.name == *name && group.namespace == with.namespace,
                })?;
                match field {
                    GroupField::Id => Some(group.id.clone()),
                    GroupField::Name => Some(group.name.clone()),
                    GroupField::Metadata(key) => group.metadata.get(key).cloned(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Subject {
            entity_id: "e1".into(),
            entity_name: "ann".into(),
            metadata: map(&[
                ("team", "red"),
                ("dotted.key", "d"),
                ("path", "a/b"),
                ("star", "x*"),
                ("none", ""),
            ]),
            aliases: [(
                "acc_1".to_owned(),
                Alias {
                    id: "al1".into(),
                    name: "ann@corp".into(),
                    metadata: map(&[("role", "dev")]),
                    custom_metadata: map(&[("cost", "42")]),
                },
            )]
            .into(),
            groups: vec![
                Group { id: "g1".into(), name: "ops".into(), namespace: "t/".into(), ..Group::default() },
                Group {
                    id: "g2".into(),
                    name: "ops".into(),
                    metadata: map(&[("tier", "1")]),
                    ..Group::default()
                },
            ],
        }
    }

    #[track_caller]
    fn check(text: &str, expect: Result<&str, Unfilled>) {
        let template = Template::parse(text).unwrap();
        let with = Filling {
            subject: &subject(),
            namespace: "",
            now: 1_700_000_000_500_000_000,
            forbidden: &['/', '*', '+'],
        };
        assert_eq!(template.fill(with), expect.map(str::to_owned), "{text}");
    }

    fn missing(source: &str) -> Result<&str, Unfilled> {
        Err(Unfilled::Missing(source.into()))
    }

    #[test]
    fn every_directive() {
        check("plain/*", Ok("plain/*"));
        check("a/{{identity.entity.id}}/{{ identity.entity.name }}", Ok("a/e1/ann"));
        check("{{identity.entity.metadata.team}}", Ok("red"));
        check("{{identity.entity.metadata.dotted.key}}", Ok("d"));
        check("{{identity.entity.aliases.acc_1.id}}", Ok("al1"));
        check("{{identity.entity.aliases.acc_1.name}}", Ok("ann@corp"));
        check("{{identity.entity.aliases.acc_1.metadata.role}}", Ok("dev"));
        check("{{identity.entity.aliases.acc_1.custom_metadata.cost}}", Ok("42"));
        check("{{identity.groups.ids.g1.name}}", Ok("ops"));
        check("{{identity.groups.names.ops.id}}", Ok("g2"));
        check("{{identity.groups.names.ops.metadata.tier}}", Ok("1"));
        check("{{time.now}}", Ok("1700000000"));
        check("{{time.now.plus.1h}}", Ok("1700003600"));
        check("{{time.now.minus.60}}", Ok("1699999940"));
    }

    #[test]
    fn what_is_not_known_is_missing() {
        for source in [
            "identity.entity.metadata.other",
            "identity.entity.metadata.none",
            "identity.entity.metadata",
            "identity.entity.aliases.acc_2.name",
            "identity.entity.aliases.acc_1.other",
            "identity.groups.names.dev.id",
            "identity.groups.ids.g9.id",
            "time.now.plus.xx",
            "time.now.plus",
            "foo",
            "",
        ] {
            check(&format!("a/{{{{{source}}}}}"), missing(source));
        }
        let nobody = Filling { subject: &Subject::default(), namespace: "", now: 0, forbidden: &[] };
        let template = Template::parse("{{identity.entity.id}}").unwrap();
        assert_eq!(template.fill(nobody), Err(Unfilled::Missing("identity.entity.id".into())));
    }

    #[test]
    fn a_value_that_reaches_further_is_forbidden() {
        for (key, character) in [("path", '/'), ("star", '*')] {
            let directive = format!("identity.entity.metadata.{key}");
            check(&format!("{{{{{directive}}}}}"), Err(Unfilled::Forbidden { directive, character }));
        }
    }

    #[test]
    fn a_text_of_an_engine_is_filled_in() {
        let render = |text: &str| super::render(text, &subject(), "", 0, &[',', '*']);
        assert_eq!(render("u-{{identity.entity.name}}"), Ok("u-ann".to_owned()));
        assert_eq!(render("{{identity.entity.metadata.star}}"), Err(Unrendered::Forbidden('*')));
        assert_eq!(render("{{identity.entity.metadata.none}}"), Err(Unrendered::Missing));
        assert_eq!(render("{{x"), Err(Unrendered::Unbalanced));
        assert!(has_directive("a{{x}}") && !has_directive("a{x}") && !has_directive("{{x"));
    }

    #[test]
    fn braces_must_pair_up() {
        for text in ["{{a", "a}}", "{{a}}b}}", "a}}{{b"] {
            assert_eq!(Template::parse(text), Err(Unbalanced), "{text}");
            assert_eq!(Template::of_value(text), None);
        }
        assert_eq!(Template::of_value("{{foo}}"), None);
        assert!(Template::of_value("x{{time.now}}").unwrap().reads_clock());
    }
}
