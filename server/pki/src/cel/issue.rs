use std::sync::Arc;

use flow::cel::{Fact, Outcome};
use kit::{Command, Error, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use x509::{Family, PrivateKey, Request};

use super::role::CEL_ROLES;
use super::scope::{self, ISSUING, OUTPUT, SIGNING};
use super::template::{Fields, Said};
use crate::authorities::{DEFAULT, authorities, refused};
use crate::dates;
use crate::fields::{Asked, Names, key_shape};
use crate::leaf::{Holder, Leaf};
use crate::lifetime::AskedLifetime;
use crate::reply::{Format, Issued};
use crate::role::Role;
use crate::rules::Rules;
use crate::{Pki, requests};

/// Makes a key and issues a certificate for it, as the program of a role decides.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct CelIssue {
    /// Name of the role.
    role: String,
    /// Whatever the program looks at: it sees it as `request`.
    #[serde(rename = "*")]
    request: Map<String, Value>,
}

/// Issues a certificate for the key of a CSR, as the program of a role decides.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct CelSign {
    /// Name of the role.
    role: String,
    /// The certificate signing request as `csr`, in PEM, which the program sees as `parsed_csr`; and whatever else it looks
    /// at: it sees it as `request`.
    #[serde(rename = "*")]
    request: Map<String, Value>,
}

/// Roles of this kind have a name of their own in records: another role may be called the same.
pub(super) const KIND: &str = "cel/";

impl Command<Pki> for CelIssue {
    /// A program can be work, and so can a key: it runs where work does.
    const ROUTE: Route = Route::post("cel/issue/{role}").heavy();
    type Reply = Issued;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Issued>> {
        let decided = decide(cx, &self.role, self.request, None)?;
        let shape =
            key_shape(&decided.key_type, decided.key_bits, &decided.parameter_set).map_err(|why| {
                Error::invalid(format!(
                    "invalid cel response for key type, key bits, or signature bits: {why}"
                ))
            })?;
        if shape.family == Family::Rsa {
            cx.costly()?;
        }
        let key = cx.once(|| PrivateKey::generate(shape).map(Arc::new).map_err(refused))?;
        decided.issue(cx, &self.role, Holder::Made(&key))
    }
}

impl Command<Pki> for CelSign {
    const ROUTE: Route = Route::post("cel/sign/{role}").heavy();
    type Reply = Issued;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Issued>> {
        let csr = self.request.get("csr").and_then(Value::as_str).unwrap_or_default().to_owned();
        let request = requests::read(Some(kit::loose::Text(csr)))?;
        if request.wants_ca() {
            return Err(Error::invalid("the CSR asks to become a CA; a role signs leaves only"));
        }
        let decided = decide(cx, &self.role, self.request, Some(&request))?;
        decided.issue(cx, &self.role, Holder::Asks(request.public_key()))
    }
}

/// What a program decided.
struct Decided {
    asked: Asked,
    said: Said,
    rules: Rules,
    key_type: String,
    key_bits: u64,
    parameter_set: String,
}

fn decide(
    cx: &Writing<'_>,
    role: &str,
    mut request: Map<String, Value>,
    csr: Option<&Request>,
) -> Result<Decided> {
    let program = CEL_ROLES.get(cx, role)?.ok_or_else(|| Error::invalid("CEL role not found"))?;
    let text = |request: &Map<String, Value>, name: &str| match request.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let (ttl, not_after) = (text(&request, "ttl"), text(&request, "not_after"));
    if !ttl.is_empty() && !not_after.is_empty() {
        return Err(Error::invalid(
            "Either ttl or not_after should be provided. Both should not be provided in the same request.",
        ));
    }
    let form = |name: &str| Some(kit::loose::Text(text(&request, name)));
    let format = Format::read(form("format"), form("private_key_format"))?;
    let remove_roots = matches!(text(&request, "remove_roots_from_chain").as_str(), "true" | "1");
    request.insert("role".to_owned(), json!(role));
    let output = evaluate(cx, &program, &Value::Object(request), csr)?;
    let output = Fields::new(OUTPUT, &output);
    for warning in output.texts("warnings")? {
        cx.warn(warning);
    }
    let template =
        output.record("template", "CertTemplate")?.ok_or_else(|| Error::invalid("template is nil"))?;
    let said = Said::read(&template)?;
    let rules = Rules::of(&Role {
        key_type: "any".to_owned(),
        no_store: output.flag("no_store")?,
        generate_lease: output.flag("generate_lease")?,
        signature_bits: output.number("signature_bits")?,
        use_pss: output.flag("use_pss")?,
        basic_constraints_valid_for_non_ca: said.says_no_ca,
        server_flag: false,
        client_flag: false,
        ..Role::default()
    })?;
    let rules = Rules {
        key_usage: said.usage,
        purposes: said.purposes.clone(),
        policies: said.policies.clone(),
        ..rules
    };
    // What the program says of the lifetime holds; where it is silent, the request may speak.
    let ttl_seconds = kit::loose::Span::parse(&ttl).map_or(0, |span| span.duration().as_secs());
    let mut lifetime = AskedLifetime::read(None, "", if said.not_after.is_some() { "" } else { &not_after })?;
    lifetime.ttl_seconds = ttl_seconds;
    lifetime.not_before = said.not_before;
    lifetime.not_after = said.not_after.or(lifetime.not_after.map(|asked| capped(asked, cx)));
    let issuer_ref = Some(output.text("issuer_ref")?).filter(|reference| !reference.is_empty());
    let named = |given: String, usual: &str| if given.is_empty() { usual.to_owned() } else { given };
    Ok(Decided {
        asked: Asked { names: Names::none(), lifetime, format, issuer_ref, remove_roots },
        key_type: named(output.text("key_type")?, "rsa"),
        key_bits: output.number("key_bits")?,
        parameter_set: output.text("parameter_set")?,
        said,
        rules,
    })
}

/// What a request may say of the end, in seconds since 1970: no more than the mount allows.
fn capped(asked: u64, cx: &impl Reads) -> u64 {
    let last = cx.now().seconds().saturating_add(cx.mount().max_ttl.as_secs());
    if asked > last {
        cx.warn(format!(
            "not_after lies beyond the longest lifetime of the mount, so {} is used",
            dates::shown(last)
        ));
    }
    asked.min(last)
}

/// Runs the program; what is no output refuses.
fn evaluate(
    cx: &Writing<'_>,
    program: &flow::cel::Program,
    request: &Value,
    csr: Option<&Request>,
) -> Result<Map<String, Value>> {
    let (usages, purposes) = (scope::key_usages(), scope::purposes());
    let parsed = csr.map(scope::csr);
    let mut facts = vec![
        ("request", Fact::Json(request)),
        ("now", Fact::Time(cx.now())),
        ("KeyUsage", Fact::Json(&usages)),
        ("ExtKeyUsage", Fact::Json(&purposes)),
    ];
    facts.extend(parsed.as_ref().map(|csr| ("parsed_csr", Fact::Json(csr))));
    let scope = if csr.is_some() { &*SIGNING } else { &*ISSUING };
    let failed = |why| Error::invalid(format!("error evaluating mainProgram: {why}"));
    match program.evaluate(scope, &facts).map_err(failed)? {
        Outcome::Record { name, fields } if name == OUTPUT => Ok(fields),
        Outcome::Plain(Value::String(why)) => Err(Error::invalid(why)),
        Outcome::Plain(Value::Bool(_)) => Err(Error::invalid("request denied")),
        Outcome::Record { name, .. } => Err(Error::invalid(format!(
            "unexpected mainProgram result type {name}; it is {OUTPUT}, a text or a boolean"
        ))),
        Outcome::Plain(other) => Err(Error::invalid(format!(
            "unexpected mainProgram result type {}",
            match other {
                Value::Number(number) if number.is_f64() => "float64",
                Value::Number(_) => "int64",
                Value::Array(_) => "list",
                Value::Object(_) => "map",
                _ => "null",
            }
        ))),
    }
}

impl Decided {
    fn issue(self, cx: &mut Writing<'_>, role: &str, holder: Holder<'_>) -> Result<Reply<Issued>> {
        let Self { asked, said, rules, .. } = self;
        let all = authorities(cx)?;
        let reference = asked.issuer_ref.as_deref().unwrap_or(DEFAULT);
        let leaf = Leaf::begin(reference, &asked, &rules, &all, cx)?.under(&format!("{KIND}{role}"));
        let key = holder.public();
        let mut extensions = leaf.extensions(&rules, key, &said.names, &said.subject, cx)?;
        for extension in said.extensions {
            extensions = extensions.with(extension.oid, extension.critical, extension.value);
        }
        leaf.issue(cx, &asked, &rules, said.subject.to_der().map_err(refused)?, extensions, holder)
    }
}
