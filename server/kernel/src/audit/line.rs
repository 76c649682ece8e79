use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Secret, Time, Verb};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::audit::HeaderRule;
use crate::audit::device::{Device, Hasher};
use crate::audit::redact::{redact, unsaid};
use crate::envelope::{Auth, Wrapped};
use crate::inline::is_parameter;
use crate::mounts::{Class, Mounted};
use crate::namespaces::Namespace;
use crate::request::Request;
use crate::tokens::Known;

/// Everything about a request that a line may show. The same for all devices; each hashes for itself.
pub(crate) struct Record<'a> {
    pub(crate) now: Time,
    pub(crate) id: &'a str,
    pub(crate) request: &'a Request,
    /// The token that was shown, or that of the login that came along.
    pub(crate) token: Option<&'a Secret<String>>,
    /// The namespace that the request led into; nothing, if it found none.
    pub(crate) namespace: Option<&'a Namespace>,
    /// The path in that namespace.
    pub(crate) path: &'a str,
    pub(crate) operation: &'static str,
    pub(crate) mounted: Option<&'a Mounted>,
    /// The version of what is mounted.
    pub(crate) running: &'a str,
    pub(crate) known: Option<&'a Known>,
    /// A use of its token is spent for this request.
    pub(crate) spent: bool,
    pub(crate) granting: &'a [Arc<str>],
    pub(crate) error: Option<&'a str>,
    pub(crate) response: Option<Response<'a>>,
}

/// What was answered.
#[derive(Default)]
pub(crate) struct Response<'a> {
    pub(crate) data: Option<&'a [u8]>,
    pub(crate) auth: Option<&'a Auth>,
    /// Who has logged in, also if the token is wrapped.
    pub(crate) login: Option<&'a Auth>,
    /// The envelope that a wrapping token held.
    pub(crate) unwrapped: Option<&'a [u8]>,
    pub(crate) lease_id: &'a str,
    pub(crate) wrapped: Option<&'a Wrapped>,
    pub(crate) warnings: &'a [String],
}

/// What audit calls a verb.
pub(crate) fn operation(verb: Verb) -> &'static str {
    match verb {
        Verb::Delete => "delete",
        Verb::Get => "read",
        Verb::List => "list",
        Verb::Scan => "scan",
        Verb::Patch => "patch",
        Verb::Post => "update",
    }
}

/// The line of a record for one device: one JSON object and a newline.
pub(crate) fn line(record: &Record<'_>, shown: &[HeaderRule], device: &Device) -> Vec<u8> {
    let hasher = device.hasher();
    let mut json = Json { out: Vec::with_capacity(LINE_SIZE), first: true };
    json.open();
    json.text("time", &record.now.rfc3339());
    json.text("type", if record.response.is_some() { "response" } else { "request" });
    let bearer = record.known.map(|known| device.bearer(known, || TokenPart::new(known, record, device)));
    json.object("auth");
    match (&bearer, record.response.as_ref().and_then(|response| response.login)) {
        (Some(bearer), _) => {
            json.members(&bearer.auth);
            // As many as there were before this request.
            if let Some(left) = record.known.and_then(|known| known.record.uses_left) {
                json.number("remaining_uses", left + u64::from(record.spent));
            }
            verdict(&mut json, record);
        }
        (None, Some(login)) => {
            admitted(&mut json, login, device, &hasher);
            if login.entity_created {
                json.raw("entity_created", b"true");
            }
        }
        (None, None) => {
            json.raw("token_type", b"\"default\"");
            if record.error.is_none() {
                json.raw("policy_results", b"{\"allowed\":true}");
            }
        }
    }
    json.close();
    request(&mut json, record, shown, bearer.as_deref(), &hasher);
    if let Some(response) = &record.response {
        answer(&mut json, response, record, device, &hasher);
    }
    if let Some(error) = record.error.filter(|error| !error.is_empty()) {
        json.text("error", &unsaid(error, &record.request.body, &hasher));
    }
    json.close();
    json.out.push(b'\n');
    json.out
}

/// What every line of a device says of one token, ready to be copied: members of JSON objects.
///
/// A request pays for its lines twice for every device, and most of a line is about its token.
pub(crate) struct TokenPart {
    /// For `auth`.
    auth: Vec<u8>,
    /// For `request`.
    request: Vec<u8>,
}

impl TokenPart {
    fn new(known: &Known, record: &Record<'_>, device: &Device) -> Self {
        let hasher = &device.hasher();
        let token = &known.record;
        let mut request = Json { out: Vec::new(), first: true };
        if let Some(shown) = record.token {
            request.hashed("client_token", shown.expose(), hasher);
        }
        let mut auth = Json { out: request.out.clone(), first: request.first };
        accessor(&mut request, "client_token_accessor", &token.accessor, device, hasher);
        accessor(&mut auth, "accessor", &token.accessor, device, hasher);
        request.text("client_id", &client_id(known));
        auth.text("display_name", &token.display_name);
        auth.texts("policies", &known.caller.policies);
        auth.texts("token_policies", &token.policies);
        auth.texts("identity_policies", &known.identity_policies);
        metadata(&mut auth, token.meta.as_ref());
        if !token.entity_id.is_empty() {
            auth.text("entity_id", &token.entity_id);
        }
        auth.text("token_type", if token.batch { "batch" } else { "service" });
        if token.ttl_seconds > 0 {
            auth.number("token_ttl", token.ttl_seconds);
        }
        auth.text("token_issue_time", &known.issued);
        Self { auth: auth.out, request: request.out }
    }
}

/// What counters of clients know the bearer of a token by: its entity, or what its policies and its namespace come to.
fn client_id(known: &Known) -> String {
    let token = &known.record;
    if !token.entity_id.is_empty() {
        return token.entity_id.clone();
    }
    let mut policies: Vec<&str> = token.policies.iter().map(String::as_str).collect();
    policies.sort_unstable();
    let home = if known.namespace.ns.is_root() { "root" } else { &known.namespace.id };
    let text = format!("{}\0{home}", policies.join("\u{7f}"));
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

fn metadata(json: &mut Json, meta: Option<&BTreeMap<String, String>>) {
    if let Some(meta) = meta.filter(|meta| !meta.is_empty()) {
        json.object("metadata");
        meta.iter().for_each(|(key, value)| json.named(key, value));
        json.close();
    }
}

/// What was decided, and by which policies.
fn verdict(json: &mut Json, record: &Record<'_>) {
    json.object("policy_results");
    json.raw(
        "allowed",
        if record.error.is_some_and(|error| !error.is_empty()) && record.granting.is_empty() {
            b"false"
        } else {
            b"true"
        },
    );
    if !record.granting.is_empty() {
        json.key("granting_policies");
        json.out.push(b'[');
        for (index, name) in record.granting.iter().enumerate() {
            if index > 0 {
                json.out.push(b',');
            }
            json.open();
            json.text("name", name);
            // Its policies are those of its own namespace.
            let home = record.known.map(|known| &known.namespace).filter(|home| !home.ns.is_root());
            json.text("namespace_id", home.map_or("root", |home| &home.id));
            if let Some(home) = home {
                json.text("namespace_path", &home.path);
            }
            json.raw("type", b"\"acl\"");
            json.close();
        }
        json.out.push(b']');
        json.first = false;
    }
    json.close();
}

fn request(
    json: &mut Json,
    record: &Record<'_>,
    shown: &[HeaderRule],
    bearer: Option<&TokenPart>,
    hasher: &Hasher<'_>,
) {
    let request = record.request;
    json.object("request");
    json.text("id", record.id);
    json.text("operation", record.operation);
    mount(json, record, "mount_running_version");
    match (bearer, record.token) {
        (Some(bearer), _) => json.members(&bearer.request),
        (None, Some(shown)) => json.hashed("client_token", shown.expose(), hasher),
        (None, None) => {}
    }
    namespace(json, record);
    json.text("path", record.path);
    let keep = record.mounted.map_or(&[][..], |mounted| &mounted.entry.config.audit_non_hmac_request_keys);
    if !request.body.is_empty() && request.body != b"{}" {
        json.key("data");
        redact(&request.body, keep, hasher, &mut json.out);
    } else if !request.query.is_empty() {
        json.object("data");
        for (name, value) in &request.query {
            match keep.iter().any(|keep| keep == name) {
                true => json.named(name, value),
                false => {
                    json.name(name);
                    hasher.text(value, &mut json.out);
                }
            }
        }
        json.close();
    }
    if let Some(address) = request.remote.address {
        json.text("remote_address", &address.to_string());
        json.number("remote_port", u64::from(request.remote.port));
    }
    if let Some(ttl) = request.wrap_ttl {
        json.number("wrap_ttl", ttl.as_secs());
    }
    headers(json, &request.headers, shown, hasher);
    json.close();
}

fn namespace(json: &mut Json, record: &Record<'_>) {
    let asked = &record.request.namespace;
    match record.namespace {
        Some(namespace) if !namespace.ns.is_root() => {
            json.object("namespace");
            json.text("id", &namespace.id);
            json.text("path", &namespace.path);
            json.close();
        }
        // A namespace that there is not has no id.
        None if !asked.is_empty() => {
            json.object("namespace");
            json.text("path", asked);
            json.close();
        }
        _ => json.raw("namespace", b"{\"id\":\"root\"}"),
    }
}

/// Those headers of a request that the operator wants to see.
fn headers(json: &mut Json, sent: &[(String, String)], shown: &[HeaderRule], hasher: &Hasher<'_>) {
    let of = |rule: &HeaderRule| {
        let sent = sent.iter().filter(|(name, _)| !is_parameter(name));
        sent.filter(|(name, _)| *name == rule.name).map(|(_, value)| value).collect::<Vec<_>>()
    };
    let wanted: Vec<_> =
        shown.iter().map(|rule| (rule, of(rule))).filter(|(_, values)| !values.is_empty()).collect();
    if wanted.is_empty() {
        return;
    }
    json.object("headers");
    for (rule, values) in wanted {
        json.name(&rule.name);
        json.out.push(b'[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                json.out.push(b',');
            }
            match rule.hmac {
                true => hasher.text(value, &mut json.out),
                false => quote(value, &mut json.out),
            }
        }
        json.out.push(b']');
        json.first = false;
    }
    json.close();
}

fn answer(
    json: &mut Json,
    response: &Response<'_>,
    record: &Record<'_>,
    device: &Device,
    hasher: &Hasher<'_>,
) {
    json.object("response");
    mount(json, record, "mount_running_plugin_version");
    if let Some(auth) = response.auth {
        json.object("auth");
        admitted(json, auth, device, hasher);
        json.close();
    }
    if !response.lease_id.is_empty() {
        json.object("secret");
        json.text("lease_id", response.lease_id);
        json.close();
    }
    if let Some(data) = response.data {
        let list = matches!(record.request.verb, Verb::List | Verb::Scan);
        let keep =
            record.mounted.map_or(&[][..], |mounted| &mounted.entry.config.audit_non_hmac_response_keys);
        json.key("data");
        match (list && device.options.elide_list_responses).then(|| elided(data)).flatten() {
            Some(counts) => json.out.extend_from_slice(counts.as_bytes()),
            None => redact(data, keep, hasher, &mut json.out),
        }
    }
    if let Some(envelope) = response.unwrapped {
        unwrapped(json, envelope, device, hasher);
    }
    if let Some(error) = record.error.filter(|error| !error.is_empty()) {
        json.object("data");
        json.hashed("error", error, hasher);
        json.close();
    }
    json.texts("warnings", response.warnings);
    if let Some(wrapped) = response.wrapped {
        json.object("wrap_info");
        json.number("ttl", wrapped.ttl_seconds);
        json.hashed("token", &wrapped.token, hasher);
        json.hashed("accessor", &wrapped.accessor, hasher);
        json.text("creation_time", &wrapped.created.rfc3339());
        json.text("creation_path", &wrapped.creation_path);
        if !wrapped.wrapped_accessor.is_empty() {
            json.hashed("wrapped_accessor", &wrapped.wrapped_accessor, hasher);
        }
        json.close();
    }
    json.close();
}

/// A token that was made or renewed.
fn admitted(json: &mut Json, auth: &Auth, device: &Device, hasher: &Hasher<'_>) {
    json.hashed("client_token", &auth.client_token, hasher);
    accessor(json, "accessor", &auth.accessor, device, hasher);
    json.text("display_name", &auth.display_name);
    json.texts("policies", &auth.policies);
    json.texts("token_policies", &auth.token_policies);
    json.texts("identity_policies", &auth.identity_policies);
    metadata(json, auth.metadata.as_ref());
    if !auth.entity_id.is_empty() {
        json.text("entity_id", &auth.entity_id);
    }
    if auth.num_uses > 0 {
        json.number("num_uses", auth.num_uses);
    }
    json.text("token_type", auth.token_type);
    json.number("token_ttl", auth.lease_duration);
}

/// What a wrapping token held, so that a value that is found somewhere can be looked for here: that answer's data, and its token.
fn unwrapped(json: &mut Json, envelope: &[u8], device: &Device, hasher: &Hasher<'_>) {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        auth: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Held {
        client_token: String,
        accessor: String,
        policies: Option<Vec<String>>,
        token_policies: Option<Vec<String>>,
        metadata: Option<BTreeMap<String, String>>,
        entity_id: String,
        token_type: String,
        lease_duration: u64,
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(envelope) else { return };
    if let Some(data) = envelope.data {
        json.key("data");
        redact(data.get().as_bytes(), &[], hasher, &mut json.out);
    }
    let Some(auth) = envelope.auth.and_then(|auth| serde_json::from_str::<Held>(auth.get()).ok()) else {
        return;
    };
    json.object("auth");
    json.hashed("client_token", &auth.client_token, hasher);
    accessor(json, "accessor", &auth.accessor, device, hasher);
    json.texts("policies", &auth.policies.unwrap_or_default());
    json.texts("token_policies", &auth.token_policies.unwrap_or_default());
    metadata(json, auth.metadata.as_ref());
    if !auth.entity_id.is_empty() {
        json.text("entity_id", &auth.entity_id);
    }
    json.text("token_type", &auth.token_type);
    json.number("token_ttl", auth.lease_duration);
    json.close();
}

/// A list with its names replaced by their number.
fn elided(data: &[u8]) -> Option<String> {
    let mut value: serde_json::Value = serde_json::from_slice(data).ok()?;
    for (name, list) in value.as_object_mut()? {
        let count = match (name.as_str(), &*list) {
            ("keys", serde_json::Value::Array(keys)) => keys.len(),
            ("key_info", serde_json::Value::Object(keys)) => keys.len(),
            _ => continue,
        };
        *list = count.into();
    }
    Some(value.to_string())
}

fn mount(json: &mut Json, record: &Record<'_>, version: &'static str) {
    let Some(Mounted { entry, namespace, .. }) = record.mounted else { return };
    match namespace.ns.is_root() {
        true => {
            json.text("mount_point", &entry.path);
            json.text("mount_type", &entry.kind);
        }
        false => {
            json.text("mount_point", &format!("{}{}", namespace.path, entry.path));
            json.text("mount_type", &entry.shown_kind());
        }
    }
    json.text("mount_accessor", &entry.accessor);
    json.text(version, record.running);
    let auth = entry.class == Class::Auth || entry.path.starts_with("auth/");
    json.raw("mount_class", if auth { b"\"auth\"" } else { b"\"secret\"" });
}

fn accessor(json: &mut Json, key: &'static str, accessor: &str, device: &Device, hasher: &Hasher<'_>) {
    match accessor {
        "" => {}
        _ if device.options.hmac_accessor => json.hashed(key, accessor, hasher),
        _ => json.text(key, accessor),
    }
}

/// A string as JSON.
pub(crate) fn quote(text: &str, out: &mut Vec<u8>) {
    // Nearly all texts stand as they are. Without a way out of it early, this loop looks at many bytes at once.
    let odd = text.bytes().fold(false, |odd, byte| odd | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
    if odd {
        return serde_json::to_writer(out, text).expect("writing to memory does not fail");
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// What most lines fit in.
const LINE_SIZE: usize = 2048;

/// Writes an object piece by piece: a line is built for each device of each request, so without a tree.
struct Json {
    out: Vec<u8>,
    first: bool,
}

impl Json {
    fn open(&mut self) {
        self.out.push(b'{');
        self.first = true;
    }

    fn close(&mut self) {
        self.out.push(b'}');
        self.first = false;
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }

    /// A key of ours: it needs no escapes.
    fn key(&mut self, key: &'static str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A key of somebody's.
    fn name(&mut self, key: &str) {
        self.comma();
        quote(key, &mut self.out);
        self.out.push(b':');
    }

    /// Members that were written before.
    fn members(&mut self, members: &[u8]) {
        if !members.is_empty() {
            self.comma();
            self.out.extend_from_slice(members);
        }
    }

    fn object(&mut self, key: &'static str) {
        self.key(key);
        self.open();
    }

    fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        quote(text, &mut self.out);
    }

    fn named(&mut self, key: &str, text: &str) {
        self.name(key);
        quote(text, &mut self.out);
    }

    fn hashed(&mut self, key: &'static str, text: &str, hasher: &Hasher<'_>) {
        self.key(key);
        hasher.text(text, &mut self.out);
    }

    fn number(&mut self, key: &'static str, number: u64) {
        self.key(key);
        self.out.extend_from_slice(number.to_string().as_bytes());
    }

    fn raw(&mut self, key: &'static str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }

    /// Texts, if there are any.
    fn texts(&mut self, key: &'static str, texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        self.key(key);
        serde_json::to_writer(&mut self.out, texts).expect("writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_what_it_was() {
        let every: String = (0..=0x17f).filter_map(char::from_u32).collect();
        for text in ["", "plain", "a\"b", "back\\slash", "line\nend", "\u{7f}\u{80}ü€\u{2028}😀", &every]
        {
            let mut out = Vec::new();
            quote(text, &mut out);
            assert_eq!(out, serde_json::to_vec(text).unwrap());
        }
    }
}
