use kit::{Error, Fault, Result};

use crate::claims::Claims;

/// The name of a policy in which `{{.claim}}` or `{{.claim.inner}}` stands for a claim. Of Go's templates this is all
/// there is; what goes further is refused when the role is written.
pub(super) struct Template<'a>(Vec<Piece<'a>>);

enum Piece<'a> {
    Text(&'a str),
    Claim(Vec<&'a str>),
}

impl<'a> Template<'a> {
    /// Whether all of these are templates.
    ///
    /// # Errors
    /// With the first that is none.
    pub(super) fn check(policies: &'a [String]) -> Result<()> {
        for (index, policy) in policies.iter().enumerate() {
            Self::parse(policy).map_err(|why| {
                Error::listed(format!(
                    "failed to parse template policy [{index}]: unable to parse template: {why}"
                ))
            })?;
        }
        Ok(())
    }

    fn parse(mut text: &'a str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        while let Some((before, rest)) = text.split_once("{{") {
            let (inner, after) = rest.split_once("}}").ok_or("template: template:1: unclosed action")?;
            let name = inner.trim_matches('-').trim().strip_prefix('.').unwrap_or_default();
            let steps: Vec<&str> = name.split('.').collect();
            let word = |step: &&str| {
                !step.is_empty() && step.chars().all(|char| char.is_alphanumeric() || char == '_')
            };
            if !steps.iter().all(word) {
                return Err(format!(
                    "only the name of a claim may stand in braces, as in {{{{.sub}}}}: not {inner:?}"
                ));
            }
            pieces.extend([Piece::Text(before), Piece::Claim(steps)]);
            text = after;
        }
        pieces.push(Piece::Text(text));
        Ok(Self(pieces))
    }

    fn fill(&self, claims: &Claims) -> Result<String, String> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Claim(steps) => {
                    let name = steps.join(".");
                    match claims.find(&format!("/{}", steps.join("/"))) {
                        Some(serde_json::Value::String(text)) => filled.push_str(&text),
                        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
                            filled.push_str(&value.to_string());
                        }
                        Some(_) => {
                            return Err(format!("the claim {name:?} is not a text, number or boolean"));
                        }
                        None => return Err(format!("map has no entry for key {name:?}")),
                    }
                }
            }
        }
        Ok(filled)
    }
}

/// The policies that these templates come to. One that comes to nothing is left out.
///
/// # Errors
/// If a claim is not there, or not text.
pub(super) fn fill(policies: &[String], claims: &Claims) -> Result<Vec<String>> {
    let mut filled = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let name = Template::parse(policy).and_then(|template| template.fill(claims)).map_err(|why| {
            let text = format!("failed to template policy [{index}]: unable to apply template: {why}");
            Error::new(Fault::Internal, text)
        })?;
        let name = name.trim().to_lowercase();
        if !name.is_empty() && !filled.contains(&name) {
            filled.push(name);
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(policy: &str, expect: Result<&str, &str>) {
        let Value::Object(claims) = json!({"sub": "Ann", "n": 5, "a": {"b": "x"}, "l": [1]}) else {
            panic!()
        };
        let came = Template::parse(policy).and_then(|template| template.fill(&Claims(claims)));
        match expect {
            Ok(text) => assert_eq!(came.as_deref(), Ok(text), "{policy}"),
            Err(part) => assert!(came.as_ref().unwrap_err().contains(part), "{policy}: {came:?}"),
        }
    }

    use serde_json::Value;

    #[test]
    fn claims_are_filled_in() {
        check("plain", Ok("plain"));
        check("p-{{.sub}}-{{ .a.b }}!", Ok("p-Ann-x!"));
        check("{{.n}}", Ok("5"));
        check("{{.none}}", Err("map has no entry for key \"none\""));
        check("{{.a}}", Err("not a text"));
        check("{{.l}}", Err("not a text"));
        check("{{.sub", Err("unclosed action"));
        check("{{if .x}}q{{end}}", Err("only the name of a claim"));
        check("{{printf}}", Err("only the name of a claim"));
    }
}
