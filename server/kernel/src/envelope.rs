use std::collections::BTreeMap;
use std::sync::Arc;

use kit::{Body, Notes, Time};
use serde::Serialize;

use crate::agenda::Found;
use crate::audit::Response;
use crate::control_group::Replay;
use crate::identity::mfa::{Choice, Claimed, Owed};
use crate::leases::LeaseId;
use crate::play::Play;
use crate::request::{Answer, escaped};
use crate::sys::Installing;
use crate::tokens::{Made, TokenHash, TokenRecord};

/// The `auth` part of an answer.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Auth {
    pub(crate) client_token: String,
    pub(crate) accessor: String,
    pub(crate) policies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) token_policies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) identity_policies: Vec<String>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    pub(crate) lease_duration: u64,
    pub(crate) renewable: bool,
    pub(crate) entity_id: String,
    /// This login made the entity; audit says so.
    #[serde(skip)]
    pub(crate) entity_created: bool,
    pub(crate) token_type: &'static str,
    pub(crate) orphan: bool,
    /// A login that owes a second factor has no token: see [`Requirement`].
    pub(crate) mfa_requirement: Option<()>,
    pub(crate) num_uses: u64,
    #[serde(skip)]
    pub(crate) display_name: String,
}

/// What a login still owes before it is given a token.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Requirement {
    mfa_request_id: String,
    mfa_constraints: BTreeMap<String, AnyOf>,
}

#[derive(Clone, Debug, Serialize)]
struct AnyOf {
    any: Vec<Choice>,
}

impl Requirement {
    pub(crate) fn new(id: &str, owed: &[Owed]) -> Self {
        let mut mfa_constraints = BTreeMap::new();
        // The outermost first. One of the same name further in is called by its namespace too.
        for one in owed.iter().rev() {
            let taken = mfa_constraints.contains_key(&one.enforcement);
            let name = format!("{}{}", if taken { &*one.namespace } else { "" }, one.enforcement);
            mfa_constraints.insert(name, AnyOf { any: one.methods.clone() });
        }
        Self { mfa_request_id: id.to_owned(), mfa_constraints }
    }
}

/// The `auth` part of the answer to a login that owes a second factor.
#[derive(Serialize)]
struct WithoutToken<'a> {
    client_token: &'static str,
    accessor: &'static str,
    policies: (),
    metadata: (),
    lease_duration: u64,
    renewable: bool,
    entity_id: &'static str,
    token_type: &'static str,
    orphan: bool,
    mfa_requirement: &'a Requirement,
    num_uses: u64,
}

impl<'a> WithoutToken<'a> {
    fn of(mfa_requirement: &'a Requirement) -> Self {
        Self {
            client_token: "",
            accessor: "",
            policies: (),
            metadata: (),
            lease_duration: 0,
            renewable: false,
            entity_id: "",
            token_type: "default",
            orphan: false,
            mfa_requirement,
            num_uses: 0,
        }
    }
}

/// The `wrap_info` part of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Wrapped {
    pub(crate) token: String,
    pub(crate) hash: TokenHash,
    pub(crate) accessor: String,
    pub(crate) ttl_seconds: u64,
    pub(crate) created: Time,
    pub(crate) creation_path: String,
    pub(crate) wrapped_accessor: String,
    /// The token in the form that was wished for, if that is another.
    pub(crate) signed: Option<String>,
}

/// The lease fields of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseShown {
    pub(crate) id: String,
    pub(crate) renewable: bool,
    pub(crate) seconds: u64,
}

/// What a request came to, before it is put on the wire.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) body: Body,
    pub(crate) auth: Option<Auth>,
    pub(crate) lease: LeaseShown,
    pub(crate) warnings: Vec<String>,
    pub(crate) wrapped: Option<Wrapped>,
    /// The accessor that a wrapped answer shows of what it holds.
    pub(crate) wrapped_accessor: Option<String>,
    /// The whole answer that a wrapping token held, but for its request id.
    pub(crate) unwrapped: Option<Unwrapped>,
    /// A token that was made, to be revoked if its answer cannot be audited.
    pub(crate) made: Option<TokenHash>,
    /// The token that the answer is wrapped in, to be revoked likewise.
    pub(crate) wrapper: Option<TokenHash>,
    /// A lease that was made, to be ended if its answer cannot be audited.
    pub(crate) lent: Option<LeaseId>,
    /// A seal whose shares stand in the answer. It holds once that is audited.
    pub(crate) installing: Vec<Arc<Installing>>,
    /// Old clients find the fields of `data` at the top, too.
    pub(crate) merged: bool,
    /// What is to be ended before the answer goes out.
    pub(crate) ending: Option<Ending>,
    /// A login that waited, and waits no more once this is durable.
    pub(crate) admitted: Option<Arc<Claimed>>,
    /// What a login still owes. It has no token yet.
    pub(crate) owes: Option<Requirement>,
    /// A request that waited, and is to be done before this one is answered.
    pub(crate) replay: Option<Box<Replay>>,
    /// The answer of such a request, which is the answer of this one.
    pub(crate) replayed: Option<Answer>,
    /// Requests that are to be made before there is an answer.
    pub(crate) play: Option<Box<Play>>,
    /// Headers of its own.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What an answer waits for once the request is durable.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The end of a lease on something outside.
    Lease(LeaseId),
    /// That of the leases which one commit did not end: an entry of the agenda, which does it if nobody waits any more.
    Rest(Found),
}

/// What a wrapping token held: an envelope without its request id.
#[derive(Debug)]
pub(crate) struct Unwrapped(pub(crate) Vec<u8>);

/// How an envelope begins. A wrapped one has no request id of its own.
const HEAD: &[u8] = b"{\"request_id\":\"";

impl Outcome {
    /// Whether something is to be done beside its answer.
    pub(crate) fn goes_on(&self) -> bool {
        self.ending.is_some() || !self.installing.is_empty()
    }

    pub(crate) fn new(body: Body) -> Self {
        Self {
            body,
            auth: None,
            lease: LeaseShown::default(),
            warnings: Vec::new(),
            wrapped: None,
            wrapped_accessor: None,
            unwrapped: None,
            made: None,
            wrapper: None,
            lent: None,
            installing: Vec::new(),
            merged: false,
            ending: None,
            admitted: None,
            owes: None,
            replay: None,
            replayed: None,
            play: None,
            headers: Vec::new(),
        }
    }

    /// The JSON of `data`, if there is any.
    pub(crate) fn data(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Data(data) | Body::Bare(data) | Body::Accepted(data) | Body::Gone(data) => Some(data),
            Body::Status { data, .. } => Some(data),
            Body::Keys { data, .. } => Some(data),
            Body::Raw { .. } | Body::Nothing | Body::Empty => None,
        }
    }

    /// What audit shows of it.
    pub(crate) fn response(&self) -> Response<'_> {
        Response {
            data: self.data().filter(|_| self.wrapped.is_none()),
            auth: self.auth.as_ref().filter(|_| self.wrapped.is_none()),
            login: self.auth.as_ref(),
            unwrapped: self.unwrapped.as_ref().filter(|_| self.wrapped.is_none()).map(|held| &*held.0),
            lease_id: &self.lease.id,
            wrapped: self.wrapped.as_ref(),
            warnings: &self.warnings,
        }
    }

    /// Whether there is an envelope to wrap.
    pub(crate) fn can_be_wrapped(&self) -> bool {
        match &self.body {
            Body::Data(_) | Body::Accepted(_) | Body::Gone(_) | Body::Status { .. } => true,
            Body::Keys { bare, .. } => !bare,
            Body::Nothing => self.auth.is_some() || self.unwrapped.is_some(),
            Body::Bare(_) | Body::Raw { .. } | Body::Empty => false,
        }
    }

    /// The envelope as it is wrapped: without a request id.
    pub(crate) fn envelope(&self) -> Vec<u8> {
        match &self.unwrapped {
            Some(Unwrapped(held)) => held.clone(),
            None => self.write(""),
        }
    }

    /// The answer on the wire.
    pub(crate) fn into_answer(mut self, request_id: &str) -> Answer {
        if let Some(answer) = self.replayed {
            return answer;
        }
        let headers = std::mem::take(&mut self.headers);
        Answer { headers, ..self.into_bare_answer(request_id) }
    }

    fn into_bare_answer(self, request_id: &str) -> Answer {
        if let Some(wrapped) = &self.wrapped {
            return Answer::json(200, wrap_envelope(wrapped, &self.warnings));
        }
        if let Some(Unwrapped(held)) = &self.unwrapped {
            let rest = held.strip_prefix(HEAD).unwrap_or_default();
            return Answer::json(200, [HEAD, request_id.as_bytes(), rest, b"\n"].concat());
        }
        let status = match &self.body {
            Body::Raw { status, kind, bytes } => {
                return Answer {
                    status: *status,
                    kind,
                    body: bytes.clone(),
                    headers: Vec::new(),
                    retry_after: None,
                    allowance: None,
                };
            }
            Body::Bare(data) => {
                let mut body = escaped(data.clone());
                body.push(b'\n');
                return Answer {
                    status: 200,
                    kind: crate::request::JSON,
                    body,
                    headers: Vec::new(),
                    retry_after: None,
                    allowance: None,
                };
            }
            Body::Keys { bare: true, data } => {
                let mut body = Vec::with_capacity(data.len() + 1);
                body.extend_from_slice(data);
                body.push(b'\n');
                return Answer::with_keys(body);
            }
            Body::Keys { bare: false, .. } => {
                let mut body = self.write(request_id);
                body.push(b'\n');
                return Answer::with_keys(body);
            }
            Body::Empty => return Answer::json(404, Vec::new()),
            Body::Nothing if self.auth.is_none() && self.lease.id.is_empty() && self.warnings.is_empty() => {
                return Answer::json(204, Vec::new());
            }
            Body::Nothing | Body::Data(_) => 200,
            Body::Accepted(_) => 202,
            Body::Gone(_) => 404,
            Body::Status { status, .. } => *status,
        };
        let mut body = self.write(request_id);
        self.merge(&mut body);
        body.push(b'\n');
        Answer::json(status, body)
    }

    fn write(&self, request_id: &str) -> Vec<u8> {
        let data = self.data().unwrap_or(b"null");
        // What is quoted in a warning may be written in six times its size.
        let warned: usize = self.warnings.iter().map(|warning| 6 * warning.len() + 3).sum();
        let rest = if self.auth.is_some() { 1024 } else { 256 };
        let mut out = Vec::with_capacity(data.len() + warned + rest);
        out.extend_from_slice(HEAD);
        out.extend_from_slice(request_id.as_bytes());
        out.extend_from_slice(b"\",\"lease_id\":");
        json(&mut out, &self.lease.id);
        out.extend_from_slice(b",\"renewable\":");
        json(&mut out, &self.lease.renewable);
        out.extend_from_slice(b",\"lease_duration\":");
        json(&mut out, &self.lease.seconds);
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
        out.extend_from_slice(b",\"wrap_info\":null,\"warnings\":");
        json(&mut out, &Some(&self.warnings).filter(|warnings| !warnings.is_empty()));
        out.extend_from_slice(b",\"auth\":");
        match &self.owes {
            Some(requirement) => json(&mut out, &WithoutToken::of(requirement)),
            None => json(&mut out, &self.auth),
        }
        out.push(b'}');
        out
    }

    /// Repeats the fields of `data` at the end of an envelope, if the route wants it so. What is wrapped is
    /// without them.
    fn merge(&self, envelope: &mut Vec<u8>) {
        let data = self.data().filter(|_| self.merged).unwrap_or_default();
        if let Some(inner) = data.strip_prefix(b"{").and_then(|data| data.strip_suffix(b"}"))
            && !inner.is_empty()
        {
            envelope.pop();
            envelope.push(b',');
            envelope.extend_from_slice(inner);
            envelope.push(b'}');
        }
    }
}

/// What an operation said, apart from leases.
pub(crate) fn said(body: Body, notes: &Notes, merged: bool) -> Outcome {
    let mut outcome = Outcome::new(body);
    outcome.warnings = notes.take_warnings();
    outcome.lease.seconds = notes.advised().unwrap_or(0);
    outcome.wrapped_accessor = notes.take_wrapped_accessor();
    outcome.merged = merged;
    outcome.headers = notes.take_headers();
    let Some(attached) = notes.take_attached() else { return outcome };
    match attached.downcast::<Attached>().map(|attached| *attached) {
        Ok(Attached::Auth(auth, made)) => {
            outcome.auth = Some(auth);
            outcome.made = made;
        }
        Ok(Attached::Admitted(auth, made, claimed)) => {
            outcome.auth = Some(auth);
            outcome.made = made;
            outcome.admitted = Some(claimed);
        }
        Ok(Attached::Unwrapped(held)) => outcome.unwrapped = Some(held),
        Ok(Attached::Wrapped(wrapped)) => {
            outcome.wrapper = Some(wrapped.hash);
            outcome.wrapped = Some(wrapped);
        }
        Ok(Attached::Seal(installing)) => outcome.installing.push(installing),
        Ok(Attached::Lease(lease)) => outcome.lease = lease,
        Ok(Attached::Made(hash)) => outcome.made = Some(hash),
        Ok(Attached::Ending(ending)) => outcome.ending = Some(ending),
        Ok(Attached::Replay(replay)) => outcome.replay = Some(replay),
        Ok(Attached::Play(play)) => outcome.play = Some(play),
        Err(_) => {}
    }
    outcome
}

/// What the kernel's own engines hand back beside a reply.
pub(crate) enum Attached {
    /// A token, made or renewed; and its hash if it is new.
    Auth(Auth, Option<TokenHash>),
    /// The token of a login that waited for its second factor.
    Admitted(Auth, Option<TokenHash>, Arc<Claimed>),
    /// What a wrapping token held.
    Unwrapped(Unwrapped),
    /// The same under a new wrapping token.
    Wrapped(Wrapped),
    /// A seal that holds once its shares are handed out.
    Seal(Arc<Installing>),
    /// A lease that lives longer.
    Lease(LeaseShown),
    /// A token that was made and is not shown as a login.
    Made(TokenHash),
    /// What is being ended; the answer waits for that.
    Ending(Ending),
    /// A request that waited and is to be done.
    Replay(Box<Replay>),
    /// Requests that are to be made.
    Play(Box<Play>),
}

fn wrap_envelope(wrapped: &Wrapped, warnings: &[String]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Shown<'a> {
        token: &'a str,
        accessor: &'a str,
        ttl: u64,
        creation_time: String,
        creation_path: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        wrapped_accessor: &'a str,
    }
    let shown = Shown {
        token: wrapped.signed.as_ref().unwrap_or(&wrapped.token),
        accessor: &wrapped.accessor,
        ttl: wrapped.ttl_seconds,
        creation_time: wrapped.created.rfc3339(),
        creation_path: &wrapped.creation_path,
        wrapped_accessor: &wrapped.wrapped_accessor,
    };
    let mut out = b"{\"request_id\":\"\",\"lease_id\":\"\",\"renewable\":false,\"lease_duration\":0,\"data\":null,\"wrap_info\":".to_vec();
    json(&mut out, &shown);
    out.extend_from_slice(b",\"warnings\":");
    json(&mut out, &Some(warnings).filter(|warnings| !warnings.is_empty()));
    out.extend_from_slice(b",\"auth\":null}\n");
    out
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("plain values are written to memory");
}

impl Auth {
    /// What a client is told of a token that was just made.
    pub(crate) fn of(made: &Made) -> Self {
        Self { client_token: made.id.expose().clone(), ..Self::of_record(&made.record) }
    }

    /// The same, with what the token may do by its identity.
    pub(crate) fn with_identity(self, mut identity_policies: Vec<String>) -> Self {
        identity_policies.sort();
        let policies = crate::identity::united(&self.token_policies, &identity_policies);
        Self { policies, identity_policies, ..self }
    }

    /// What a client is told of a token, its id aside.
    pub(crate) fn of_record(record: &TokenRecord) -> Self {
        Self {
            client_token: String::new(),
            accessor: record.accessor.clone(),
            policies: record.policies.clone(),
            token_policies: record.policies.clone(),
            identity_policies: Vec::new(),
            metadata: record.meta.clone(),
            lease_duration: record.ttl_seconds,
            renewable: record.renewable,
            entity_id: record.entity_id.clone(),
            entity_created: false,
            token_type: if record.batch { "batch" } else { "service" },
            orphan: record.parent.is_none(),
            mfa_requirement: None,
            num_uses: record.uses_left.unwrap_or(0),
            display_name: record.display_name.clone(),
        }
    }
}
