use std::collections::BTreeMap;

use kit::loose::Text;
use kit::{AskLogin, Claim, Error, Reads, Recording, Result, Route, Terms, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use x509::Certificate;

use super::chain::{Shown, certificates};
use super::ocsp::Question;
use super::role::Role;
use super::{CONFIG, Cert, ROLES, config, crls, rules};
use crate::cidr;

/// How many roles a login without a name is held against.
const ROLES_MAX: usize = 10_000;

/// Logs in by the client certificate of the connection.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignIn {
    /// The role to log in with; any that fits, if left out.
    #[serde(default)]
    name: Option<Text>,
}

/// A role that lets the client in, unless OCSP knows better.
pub(super) struct Candidate {
    admitted: Admitted,
    question: Option<Question>,
}

/// As what a client is let in.
#[derive(Clone)]
pub(super) struct Admitted {
    role: String,
    common_name: String,
    display_name: String,
    metadata: BTreeMap<String, String>,
    alias_metadata: BTreeMap<String, String>,
    key_hash: String,
    terms: Terms,
}

/// How far a role trusts a certificate.
enum Distrust {
    /// It does not at all.
    Stranger,
    /// It trusts its chain, and wants something else of it.
    Unfit,
}

impl AskLogin<Cert> for SignIn {
    const ROUTE: Route = Route::post("login");
    type Facts = Vec<Candidate>;
    type Heard = Admitted;

    fn who(&self) -> String {
        // Certificates cannot be guessed, so nobody is locked out.
        String::new()
    }

    fn facts(&self, _: &Cert, cx: &Recording<'_>) -> Result<Vec<Candidate>> {
        let shown = Shown::of(cx.remote())?;
        let with_alias = CONFIG.get(cx, config::KEY)?.unwrap_or_default().enable_identity_alias_metadata;
        let (mut candidates, mut unfit) = (Vec::new(), false);
        for name in self.names(cx)? {
            let Some(role) = ROLES.get(cx, &name)? else { continue };
            match fit(&role, &shown, cx)? {
                Err(Distrust::Stranger) => {}
                Err(Distrust::Unfit) => unfit = true,
                Ok(chain) => {
                    let trust = &role.trust;
                    let question = trust.ocsp_enabled.then(|| Question::new(trust, &shown.leaf, &chain));
                    let certain = question.is_none();
                    let admitted = Admitted::new(name, &role, &shown, with_alias);
                    candidates.push(Candidate { admitted, question });
                    if certain {
                        break;
                    }
                }
            }
        }
        match candidates.is_empty() {
            false => Ok(candidates),
            true => Err(refusal(unfit)),
        }
    }

    async fn ask(&self, candidates: &Vec<Candidate>, world: &dyn World) -> Result<Admitted> {
        let mut refused = refusal(false);
        for candidate in candidates {
            let Some(question) = &candidate.question else { return Ok(candidate.admitted.clone()) };
            match question.ask(world).await {
                Ok(()) => return Ok(candidate.admitted.clone()),
                Err(error) => {
                    let text =
                        format!("{}; additionally got errors during verification: {error}", refusal(true));
                    refused = Error::invalid(text);
                }
            }
        }
        Err(refused)
    }

    fn run(self, _: &Cert, admitted: &Admitted, cx: &mut Writing<'_>) -> Result<Claim> {
        let bound = &admitted.terms.bound_cidrs;
        if !bound.is_empty() && !cx.remote().address.is_some_and(|address| cidr::any_holds(bound, address)) {
            return Err(Error::denied());
        }
        if admitted.common_name.is_empty() {
            // As OpenBao: whom nobody can name, nobody can lock out.
            return Err(Error::invalid("missing name in alias"));
        }
        let Admitted { role, common_name, display_name, metadata, alias_metadata, key_hash, terms } =
            admitted.clone();
        let internal = json!({ "role": role, "key": key_hash, "common_name": common_name });
        Ok(Claim {
            called: None,
            alias: common_name,
            alias_metadata,
            display_name,
            metadata,
            terms,
            internal,
            ..Claim::default()
        })
    }
}

impl SignIn {
    /// The roles to try: what is trusted by itself first, as it is the more exact.
    fn names(&self, cx: &Recording<'_>) -> Result<Vec<String>> {
        if let Some(Text(name)) = self.name.as_ref().filter(|name| !name.0.is_empty()) {
            return Ok(vec![name.to_lowercase()]);
        }
        let order = cx.memo("order", |cx| {
            let (mut exact, mut rest) = (Vec::new(), Vec::new());
            for name in ROLES.list(cx, "")?.iter().take(ROLES_MAX) {
                let role = ROLES.get(cx, name)?.unwrap_or_default();
                let first = certificates(&role.trust.certificate).into_iter().next();
                let is_ca = first.is_some_and(|first| first.is_ca());
                if is_ca { rest.push(name.clone()) } else { exact.push(name.clone()) }
            }
            exact.append(&mut rest);
            Ok(exact)
        })?;
        Ok(order.to_vec())
    }
}

/// Whether a role lets the client in, OCSP aside.
///
/// # Errors
/// If it does not.
pub(super) fn judge(role: &Role, shown: &Shown, cx: &impl Reads) -> Result<()> {
    match fit(role, shown, cx)? {
        Ok(_) => Ok(()),
        Err(Distrust::Stranger) => Err(refusal(false)),
        Err(Distrust::Unfit) => Err(refusal(true)),
    }
}

/// The chain of certificates above the client's, if the role lets it in.
fn fit(
    role: &Role,
    shown: &Shown,
    cx: &impl Reads,
) -> Result<std::result::Result<Vec<Certificate>, Distrust>> {
    let Some(chain) = shown.chain(&role.trust, &*crls::revoked(cx)?, cx.now()) else {
        return Ok(Err(Distrust::Stranger));
    };
    // Of what is trusted by itself, bao tells no difference.
    let distrust = if chain.is_empty() { Distrust::Stranger } else { Distrust::Unfit };
    Ok(if rules::allow(&role.trust, &shown.leaf) { Ok(chain) } else { Err(distrust) })
}

fn refusal(trusted: bool) -> Error {
    Error::invalid(match trusted {
        false => "invalid certificate or no client certificate supplied",
        true => "no chain matching all constraints could be found for this login certificate",
    })
}

impl Admitted {
    fn new(name: String, role: &Role, shown: &Shown, with_alias: bool) -> Self {
        let leaf = &shown.leaf;
        let common_name = shown.common_name();
        let pairs = |id: Option<Vec<u8>>| {
            let pairs: Vec<String> =
                id.unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
            pairs.join(":")
        };
        let mut metadata = BTreeMap::from([
            ("authority_key_id".to_owned(), pairs(leaf.authority_key_id())),
            ("cert_name".to_owned(), name.clone()),
            ("common_name".to_owned(), common_name.clone()),
            ("serial_number".to_owned(), crls::decimal(leaf.serial().as_bytes())),
            ("subject_key_id".to_owned(), pairs(leaf.subject_key_id())),
        ]);
        metadata.extend(rules::metadata(&role.trust, leaf));
        let mut terms = role.token.terms();
        // A renewal cannot ask outside, so who is to be asked about at each login logs in each time.
        terms.not_renewable = role.trust.ocsp_enabled;
        Self {
            role: name,
            common_name,
            display_name: role.trust.display_name.clone(),
            alias_metadata: if with_alias { metadata.clone() } else { BTreeMap::new() },
            metadata,
            key_hash: shown.key_hash(),
            terms,
        }
    }
}
