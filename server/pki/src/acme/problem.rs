//! What goes wrong, as ACME clients read it: problem documents (RFC 7807, RFC 8555 §6.7).

use kit::{Error, Fault, Page};
use serde::{Deserialize, Serialize};

/// The content type of problem documents.
const KIND: &str = "application/problem+json";
const PREFIX: &str = "urn:ietf:params:acme:error:";

/// The types of problems.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    AccountDoesNotExist,
    AlreadyReplaced,
    AlreadyRevoked,
    #[serde(rename = "badCSR")]
    BadCsr,
    BadNonce,
    BadPublicKey,
    BadRevocationReason,
    BadSignatureAlgorithm,
    Caa,
    Connection,
    Dns,
    ExternalAccountRequired,
    IncorrectResponse,
    InvalidContact,
    InvalidProfile,
    Malformed,
    OrderNotReady,
    RateLimited,
    RejectedIdentifier,
    ServerInternal,
    Tls,
    Unauthorized,
    UnsupportedContact,
    UnsupportedIdentifier,
    UserActionRequired,
}

impl Kind {
    /// What every refusal of this type begins with.
    fn sentence(self) -> &'static str {
        match self {
            Self::AccountDoesNotExist => "the request specified an account that does not exist",
            Self::AlreadyReplaced => "the certificate has been replaced by another order already",
            Self::AlreadyRevoked => {
                "the request specified a certificate to be revoked that has already been revoked"
            }
            Self::BadCsr => "the CSR is unacceptable",
            Self::BadNonce => "the client sent an unacceptable anti-replay nonce",
            Self::BadPublicKey => "the JWS was signed by a public key the server does not support",
            Self::BadRevocationReason => "the revocation reason provided is not allowed by the server",
            Self::BadSignatureAlgorithm => "the JWS was signed with an algorithm the server does not support",
            Self::Caa => "the owner of the name lets other authorities certify it, and not this one",
            Self::Connection => "the server could not connect to validation target",
            Self::Dns => "there was a problem with a DNS query during identifier validation",
            Self::ExternalAccountRequired => {
                "the request must include a value for the 'externalAccountBinding' field"
            }
            Self::IncorrectResponse => "response received didn't match the challenge's requirements",
            Self::InvalidContact => "a contact URL for an account was invalid",
            Self::InvalidProfile => "the request asks for a profile that the server does not offer",
            Self::Malformed => "the request message was malformed",
            Self::OrderNotReady => {
                "the request attempted to finalize an order that is not ready to be finalized"
            }
            Self::RateLimited => "the request exceeds a rate limit",
            Self::RejectedIdentifier => "the server will not issue certificates for the identifier",
            Self::ServerInternal => "the server experienced an internal error",
            Self::Tls => "the server received a TLS error during validation",
            Self::Unauthorized => "the client lacks sufficient authorization",
            Self::UnsupportedContact => "a contact URL for an account used an unsupported protocol scheme",
            Self::UnsupportedIdentifier => "an identifier is of an unsupported type",
            Self::UserActionRequired => "the user has to act before the server goes on",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Caa | Self::OrderNotReady => 403,
            Self::ExternalAccountRequired | Self::Unauthorized | Self::UserActionRequired => 401,
            Self::AlreadyReplaced => 409,
            Self::RateLimited => 429,
            Self::Connection | Self::Dns | Self::ServerInternal | Self::Tls => 500,
            _ => 400,
        }
    }
}

/// What went wrong, as it is stored with a challenge.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Problem {
    pub(super) kind: Kind,
    pub(super) detail: String,
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    r#type: String,
    detail: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithms: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subproblems: Vec<Subproblem>,
}

#[derive(Debug, Serialize)]
struct Subproblem {
    r#type: String,
    detail: String,
    identifier: super::identifier::Identifier,
}

impl Problem {
    /// A problem of this type, and why.
    pub(super) fn new(kind: Kind, why: impl std::fmt::Display) -> Self {
        Self { kind, detail: format!("{}: {why}", kind.sentence()) }
    }

    /// The same, the reason first.
    pub(super) fn because(why: impl std::fmt::Display, kind: Kind) -> Self {
        Self { kind, detail: format!("{why}: {}", kind.sentence()) }
    }

    /// As clients read it.
    pub(super) fn document(&self) -> Document {
        Document {
            r#type: format!("{PREFIX}{}", self.name()),
            detail: self.detail.clone(),
            status: self.kind.status(),
            algorithms: None,
            subproblems: Vec::new(),
        }
    }

    fn name(&self) -> String {
        let name = serde_json::to_value(self.kind).unwrap_or_default();
        name.as_str().unwrap_or_default().to_owned()
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// With a problem document, and perhaps headers.
    Problem(Box<Refusal>),
    /// By something beneath.
    Error(Error),
}

/// A problem and what is told beside it.
#[derive(Debug)]
pub(super) struct Refusal {
    problem: Problem,
    headers: Vec<(&'static str, String)>,
    status: Option<u16>,
    parts: Vec<(super::identifier::Identifier, Problem)>,
}

/// What an operation of ACME comes to.
pub(super) type Result<T, E = Refused> = std::result::Result<T, E>;

impl Refused {
    /// A refusal of this type, and why.
    pub(super) fn new(kind: Kind, why: impl std::fmt::Display) -> Self {
        Problem::new(kind, why).into()
    }

    /// The same with a header.
    pub(super) fn with_header(mut self, name: &'static str, value: String) -> Self {
        if let Self::Problem(refusal) = &mut self {
            refusal.headers.push((name, value));
        }
        self
    }

    /// The same with a status of its own.
    pub(super) fn with_status(mut self, status: u16) -> Self {
        if let Self::Problem(refusal) = &mut self {
            refusal.status = Some(status);
        }
        self
    }

    /// One refusal for several names, each with its reason.
    pub(super) fn of_identifiers(mut parts: Vec<(super::identifier::Identifier, Problem)>) -> Self {
        if parts.len() == 1
            && let Some((_, problem)) = parts.pop()
        {
            return problem.into();
        }
        let kind = parts.first().map_or(Kind::Malformed, |(_, problem)| problem.kind);
        let problem = Problem::new(kind, format!("{} identifiers are refused", parts.len()));
        Self::Problem(Box::new(Refusal { problem, headers: Vec::new(), status: None, parts }))
    }

    /// The error that rolls back and answers with the document.
    pub(super) fn into_error(self, beside: Vec<(&'static str, String)>) -> Error {
        let (error, refusal) = match self {
            // Not a failure: it is run again where it holds nobody up.
            Self::Error(error) if error.fault() == Fault::Costly => return error,
            Self::Error(error) => {
                let kind = match error.fault() {
                    Fault::Invalid | Fault::NotFound => Kind::Malformed,
                    Fault::Denied => Kind::Unauthorized,
                    Fault::Busy => Kind::RateLimited,
                    _ => Kind::ServerInternal,
                };
                let problem = Problem::new(kind, &error);
                (error, Refusal { problem, headers: Vec::new(), status: None, parts: Vec::new() })
            }
            Self::Problem(refusal) => (Error::invalid(refusal.problem.detail.clone()), *refusal),
        };
        let mut document = refusal.problem.document();
        document.status = refusal.status.unwrap_or(document.status);
        if refusal.problem.kind == Kind::BadSignatureAlgorithm {
            document.algorithms = Some(jws::Alg::ALL.iter().map(|alg| alg.name()).collect());
        }
        document.subproblems = refusal
            .parts
            .into_iter()
            .map(|(identifier, problem)| Subproblem {
                r#type: format!("{PREFIX}{}", problem.name()),
                detail: problem.detail,
                identifier,
            })
            .collect();
        let bytes = serde_json::to_vec(&document).unwrap_or_default();
        let mut headers: Vec<_> = refusal.headers.into_iter().chain(beside).collect();
        if document.status == 429 && !headers.iter().any(|(name, _)| *name == "retry-after") {
            headers.push(("retry-after", "1".to_owned()));
        }
        error.shown_as(Page { status: document.status, kind: KIND, headers, bytes })
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(Refusal { problem, headers: Vec::new(), status: None, parts: Vec::new() }))
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::Error(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn header(refused: Refused, status: u16, expect: Option<&str>) {
        let error = refused.into_error(vec![("link", "x".to_owned())]);
        let page = error.page().unwrap();
        let found = page.headers.iter().find(|(name, _)| *name == "retry-after");
        assert_eq!((page.status, found.map(|(_, value)| value.as_str())), (status, expect));
    }

    #[test]
    fn who_comes_too_often_is_told_when_to_come_back() {
        header(Error::new(Fault::Busy, "too much at once").into(), 429, Some("1"));
        header(Refused::new(Kind::RateLimited, "often"), 429, Some("1"));
        let told = Refused::new(Kind::RateLimited, "often").with_header("retry-after", "60".to_owned());
        header(told, 429, Some("60"));
        header(Refused::new(Kind::Malformed, "odd"), 400, None);
    }
}
