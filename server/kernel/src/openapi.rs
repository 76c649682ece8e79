//! Everything the server can be asked, as an OpenAPI document in the shape that Vault's generators read.

use std::collections::{BTreeMap, BTreeSet};

use kit::{AnyEngine, AnyMethod, Engine, Kind, Listed, Verb};
use serde_json::{Map, Value, json};

use crate::cubbyhole::Cubbyhole;
use crate::identity::Identity;
use crate::mounts::{Class, Mounted, Registry};
use crate::sys::{Sys, always};
use crate::token::Token;

/// How deep schemas may hold schemas.
const DEPTH_MAX: usize = 8;

/// The document of a server with one mount of every type, for those who generate clients from it.
pub fn openapi(registry: &dyn Registry, version: &str) -> Value {
    let mut document = Document::default();
    let nowhere = std::sync::Weak::new;
    let sys: &dyn AnyEngine = &Sys::new(nowhere());
    let token: &dyn AnyEngine = &Token::new(nowhere());
    let cubbyhole: &dyn AnyEngine = &Cubbyhole;
    let identity: &dyn AnyEngine = &Identity::new(nowhere());
    let mut system = reachable(sys, None);
    system.extend(always::listed());
    document.add(&Place::fixed("sys/", Sys::NAME), &system);
    document.add(&Place::fixed("auth/token/", Token::NAME), &reachable(token, None));
    document.add(&Place::fixed("cubbyhole/", Cubbyhole::NAME), &reachable(cubbyhole, None));
    document.add(&Place::fixed("identity/", Identity::NAME), &reachable(identity, None));
    let options = Value::Null;
    for kind in registry.engine_kinds().iter().filter(|kind| !ALIASES.contains(kind)) {
        if let Ok(engine) = registry.engine(kind, &options) {
            document.add(&Place::generic("", kind, kind), &reachable(&*engine, None));
        }
    }
    for kind in registry.method_kinds() {
        if let Ok((engine, method)) = registry.method(kind, &options) {
            document.add(&Place::generic("auth/", kind, kind), &reachable(&*engine, Some(&*method)));
        }
    }
    document.finish(version)
}

/// Other names of types.
const ALIASES: [&str; 2] = ["kv", "generic"];

fn reachable(engine: &dyn AnyEngine, method: Option<&dyn AnyMethod>) -> Vec<Listed> {
    let mut listed = engine.catalog();
    listed.extend(method.into_iter().flat_map(AnyMethod::logins));
    listed.retain(|listed| listed.route.verb.is_some());
    listed
}

/// Where the operations of an engine lie, and what they are called by.
pub(crate) struct Place {
    /// `/sys/`, `/auth/{userpass_mount_path}/`.
    prefix: String,
    /// The parameter in the prefix, and its usual value.
    mount: Option<(String, String)>,
    /// What stands before the names of operations and schemas.
    name: String,
    tag: &'static str,
}

impl Place {
    fn fixed(path: &str, name: &str) -> Self {
        Self { prefix: format!("/{path}"), mount: None, name: name.to_owned(), tag: tag(path) }
    }

    /// A mount whose path is a parameter.
    fn generic(class: &str, path: &str, name: &str) -> Self {
        let parameter = format!("{}_mount_path", path.trim_matches('/').replace(['-', '/', '.'], "_"));
        Self {
            prefix: format!("/{class}{{{parameter}}}/"),
            mount: Some((parameter, path.trim_matches('/').to_owned())),
            name: name.to_owned(),
            tag: if class == "auth/" { "auth" } else { "secrets" },
        }
    }

    /// A mount that is there.
    pub(crate) fn of(mounted: &Mounted, generic: Naming) -> Self {
        let path = &mounted.entry.path;
        let version = mounted.entry.options.as_ref().and_then(|options| options.get("version"));
        let name = match (mounted.entry.kind.as_str(), version) {
            ("kv", Some(version)) => format!("kv-v{version}"),
            ("kv", None) => "kv-v1".to_owned(),
            (kind, _) => kind.to_owned(),
        };
        match (generic, mounted.entry.class) {
            (Naming::Generic, Class::Auth) => {
                Self::generic("auth/", path.strip_prefix("auth/").unwrap_or(path), &name)
            }
            (Naming::Generic, Class::Secret) => Self::generic("", path, &name),
            _ => Self::fixed(path, &name),
        }
    }
}

/// Whether the paths of mounts are parameters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Naming {
    /// They are.
    Generic,
    /// They are as they are.
    AsMounted,
}

fn tag(path: &str) -> &'static str {
    match path {
        "sys/" => "system",
        "identity/" => "identity",
        path if path.starts_with("auth/") => "auth",
        _ => "secrets",
    }
}

/// A document in the making.
#[derive(Default)]
pub(crate) struct Document {
    paths: BTreeMap<String, Map<String, Value>>,
    /// The path under which the same path of a mount with other names of parameters stands.
    same: BTreeMap<String, String>,
    schemas: BTreeMap<String, Value>,
    ids: BTreeSet<String>,
}

impl Document {
    /// Adds the operations of one mount.
    pub(crate) fn add(&mut self, place: &Place, listed: &[Listed]) {
        // What reads comes first, so that a listing finds the operation that it is a variant of.
        let lists = |listed: &&Listed| matches!(listed.route.verb, Some(Verb::List | Verb::Scan));
        listed.iter().filter(|listed| !lists(listed)).for_each(|listed| self.operation(place, listed));
        listed.iter().filter(lists).for_each(|listed| self.operation(place, listed));
    }

    pub(crate) fn finish(self, version: &str) -> Value {
        json!({
            "openapi": "3.0.2",
            "info": {
                "title": "Sealkeep API",
                "description": "HTTP API that gives you full access to Sealkeep. All API routes are prefixed with `/v1/`.",
                "version": version,
                "license": { "name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
            },
            "paths": self.paths,
            "components": { "schemas": self.schemas },
        })
    }

    fn operation(&mut self, place: &Place, listed: &Listed) {
        let Some(verb) = listed.route.verb else { return };
        let shape = Shape::of(&listed.route, &listed.fields);
        // A list of everything has a path of its own, without the part that may be left out.
        if matches!(verb, Verb::List | Verb::Scan)
            && listed.route.pattern.ends_with("*}")
            && let Some(root) = shape.root()
        {
            self.enter(place, listed, verb, &root);
        }
        // What a path names as `url_…` a body may name as well, and then the path ends before it.
        if verb == Verb::Post
            && shape.parameters.last().is_some_and(|last| text(last, "name").starts_with("url_"))
            && let Some(root) = shape.root()
        {
            self.enter(place, listed, verb, &root);
        }
        self.enter(place, listed, verb, &shape);
    }

    fn enter(&mut self, place: &Place, listed: &Listed, verb: Verb, shape: &Shape) {
        let name = format!("{}-{}-{}", place.name, word(verb), words(&shape.path));
        let name = name.trim_matches('-').replace("--", "-");
        let mut operation = Map::new();
        operation.insert("summary".to_owned(), shape.about.clone().into());
        operation.insert("operationId".to_owned(), self.unused(&name).into());
        operation.insert("tags".to_owned(), json!([place.tag]));
        let mut query = Vec::new();
        match verb {
            Verb::Post | Verb::Patch if shape.has_body() => {
                let schema = self.schema(&format!("{}Request", pascal(&name)), shape.body());
                let kind =
                    if verb == Verb::Patch { "application/merge-patch+json" } else { "application/json" };
                let body = json!({ "required": true, "content": { kind: { "schema": { "$ref": schema } } } });
                operation.insert("requestBody".to_owned(), body);
            }
            Verb::Post | Verb::Patch => {}
            _ => query.extend(shape.query()),
        }
        let responses = self.responses(&name, listed);
        operation.insert("responses".to_owned(), responses);
        let path = self.path(place, shape);
        let entry = self.paths.entry(path).or_default();
        let method = match verb {
            Verb::Get | Verb::List | Verb::Scan => "get",
            Verb::Post => "post",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        };
        let flag = match verb {
            Verb::List => Some("list"),
            Verb::Scan => Some("scan"),
            _ => None,
        };
        if let Some(flag) = flag {
            let taken = entry.contains_key(method);
            let about =
                if taken { format!("Return a {flag} if `true`") } else { "Must be set to `true`".to_owned() };
            let schema = if taken {
                json!({ "type": "string" })
            } else {
                json!({ "type": "string", "enum": ["true"] })
            };
            query.push(json!({ "name": flag, "description": about, "in": "query", "schema": schema, "required": !taken }));
        }
        if listed.route.sudo {
            entry.insert("x-vault-sudo".to_owned(), true.into());
        }
        if listed.creates {
            entry.insert("x-vault-createSupported".to_owned(), true.into());
        }
        if listed.route.open {
            entry.insert("x-vault-unauthenticated".to_owned(), true.into());
        }
        let kept = entry.entry(method).or_insert(Value::Object(operation));
        add_parameters(kept, query);
    }

    /// The path of an operation, entered with its parameters.
    fn path(&mut self, place: &Place, shape: &Shape) -> String {
        let path = format!("{}{}", place.prefix, shape.path);
        let mut parameters = shape.parameters.clone();
        let known = self.same.entry(format!("{}{}", place.prefix, bare(&shape.path)));
        let known = known.or_insert_with(|| path.clone()).clone();
        let entry = self.paths.entry(known.clone()).or_default();
        if !entry.contains_key("description") {
            entry.insert("description".to_owned(), shape.about.clone().into());
        }
        if let Some((name, usual)) = &place.mount {
            parameters.push(json!({
                "name": name, "description": "Path that the backend was mounted at", "in": "path",
                "schema": { "type": "string", "default": usual }, "required": true,
            }));
        }
        if !parameters.is_empty() && !entry.contains_key("parameters") {
            entry.insert("parameters".to_owned(), parameters.into());
        }
        known
    }

    fn responses(&mut self, name: &str, listed: &Listed) -> Value {
        let reply = listed.reply.as_ref().map(|reply| plain(reply.as_value(), reply.as_value(), 0));
        let speaks = reply.filter(|reply| {
            let properties = reply.get("properties").and_then(Value::as_object);
            properties.is_some_and(|properties| !properties.is_empty())
                || reply.get("additionalProperties").is_some()
        });
        match speaks {
            Some(reply) => {
                let schema = self.schema(&format!("{}Response", pascal(name)), without_title(reply));
                json!({ "200": { "description": "OK", "content": { "application/json": { "schema": { "$ref": schema } } } } })
            }
            None if listed.kind != Kind::Query && listed.kind != Kind::Login => {
                json!({ "204": { "description": "empty body" } })
            }
            None => json!({ "200": { "description": "OK" } }),
        }
    }

    /// A reference to a schema, under a name that no other one has.
    fn schema(&mut self, name: &str, schema: Value) -> String {
        let mut unused = name.to_owned();
        let mut count = 1;
        while self.schemas.get(&unused).is_some_and(|known| *known != schema) {
            count += 1;
            unused = format!("{name}{count}");
        }
        let reference = format!("#/components/schemas/{unused}");
        self.schemas.insert(unused, schema);
        reference
    }

    fn unused(&mut self, name: &str) -> String {
        let numbered = (2..).map(|count| format!("{name}{count}"));
        let unused = std::iter::once(name.to_owned()).chain(numbered).find(|name| !self.ids.contains(name));
        let unused = unused.unwrap_or_else(|| name.to_owned());
        self.ids.insert(unused.clone());
        unused
    }
}

/// What an operation takes, divided by where it comes.
#[derive(Clone)]
struct Shape {
    /// `mounts/{path}/tune`.
    path: String,
    about: String,
    parameters: Vec<Value>,
    properties: Map<String, Value>,
    required: Vec<String>,
    /// The body may hold anything.
    free: bool,
}

impl Shape {
    fn of(route: &kit::Route, fields: &schemars::Schema) -> Self {
        let fields = plain(fields.as_value(), fields.as_value(), 0);
        let mut required: Vec<String> = fields
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        let (mut properties, free) = parameters(&fields);
        required.retain(|name| properties.contains_key(name));
        let (mut path, mut parameters) = (Vec::new(), Vec::new());
        for segment in route.pattern.split('/') {
            let Some(hole) = segment.strip_prefix('{').and_then(|hole| hole.strip_suffix('}')) else {
                path.push(segment.to_owned());
                continue;
            };
            let name = hole.split(':').next().unwrap_or(hole).trim_end_matches(['*', '+']);
            let about = properties
                .remove(name)
                .map_or_else(String::new, |property| text(&property, "description").to_owned());
            required.retain(|other| other != name);
            path.push(format!("{{{name}}}"));
            parameters.push(json!({
                "name": name, "description": about, "in": "path", "schema": { "type": "string" }, "required": true,
            }));
        }
        let about = text(&fields, "description").to_owned();
        Self { path: path.join("/"), about, parameters, properties, required, free }
    }

    fn has_body(&self) -> bool {
        self.free || !self.properties.is_empty()
    }

    fn body(&self) -> Value {
        let mut body = json!({ "type": "object", "properties": self.properties });
        if let Some(body) = body.as_object_mut() {
            if !self.required.is_empty() {
                body.insert("required".to_owned(), self.required.clone().into());
            }
            if self.free {
                body.insert("additionalProperties".to_owned(), true.into());
            }
        }
        body
    }

    fn query(&self) -> impl Iterator<Item = Value> {
        self.properties.iter().map(|(name, property)| {
            let kind = property.get("type").cloned().unwrap_or_else(|| "string".into());
            json!({ "name": name, "description": text(property, "description"), "in": "query", "schema": { "type": kind } })
        })
    }

    /// The same without the parameter at the end of the path.
    fn root(&self) -> Option<Self> {
        let (root, last) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let name = last.strip_prefix('{')?.strip_suffix('}')?;
        let kept = self.parameters.iter().filter(|parameter| text(parameter, "name") != name);
        Some(Self { path: root.to_owned(), parameters: kept.cloned().collect(), ..self.clone() })
    }
}

/// The parameters that a schema stands for, each under the name that a client sends, and whether there may be any others. What
/// [`Fields`](kit::Fields) has special names for is spelled out: `*` is the whole body, `x_*` the fields of a struct after `x_`, `**`
/// those of a struct as they are, and `x?` is `x`.
pub(crate) fn parameters(fields: &Value) -> (Map<String, Value>, bool) {
    let (mut all, mut free) = (Map::new(), false);
    for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        match (name.as_str(), name.strip_suffix('*')) {
            ("*", _) => free = true,
            (_, Some(prefix)) => {
                let prefix = prefix.trim_end_matches('*');
                let (inner, open) = parameters(property);
                free |= open;
                all.extend(inner.into_iter().map(|(name, property)| (format!("{prefix}{name}"), property)));
            }
            (name, None) => drop(all.insert(name.trim_end_matches('?').to_owned(), property.clone())),
        }
    }
    (all, free)
}

/// Adds parameters to an operation, each once.
fn add_parameters(operation: &mut Value, query: Vec<Value>) {
    let Some(operation) = operation.as_object_mut().filter(|_| !query.is_empty()) else { return };
    let Some(list) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut() else {
        return;
    };
    for parameter in query {
        if list.iter().all(|known| text(known, "name") != text(&parameter, "name")) {
            list.push(parameter);
        }
    }
}

/// A schema as OpenAPI 3.0 has them: no references into itself, no type that is also null.
pub(crate) fn plain(schema: &Value, root: &Value, depth: usize) -> Value {
    let Some(schema) = schema.as_object().filter(|_| depth < DEPTH_MAX) else {
        return json!({ "type": "object" });
    };
    if let Some(name) =
        schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"))
    {
        let found = root.get("$defs").and_then(|defs| defs.get(name));
        let mut found =
            found.map_or_else(|| json!({ "type": "object" }), |found| plain(found, root, depth + 1));
        if let (Some(found), Some(about)) = (found.as_object_mut(), schema.get("description")) {
            found.insert("description".to_owned(), about.clone());
        }
        return found;
    }
    if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let first = choices.iter().find(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
        let mut first = first.map_or_else(|| json!({}), |first| plain(first, root, depth + 1));
        if let (Some(first), Some(about)) = (first.as_object_mut(), schema.get("description")) {
            first.insert("description".to_owned(), about.clone());
        }
        return first;
    }
    let mut out = Map::new();
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("$schema" | "$defs" | "title", _) | ("default", Value::Null) => {}
            ("type", Value::Array(kinds)) => {
                let kind = kinds.iter().find(|kind| kind.as_str() != Some("null"));
                out.insert(key.clone(), kind.cloned().unwrap_or_else(|| "object".into()));
            }
            ("properties", Value::Object(properties)) => {
                let inner =
                    properties.iter().map(|(name, value)| (name.clone(), plain(value, root, depth + 1)));
                out.insert(key.clone(), Value::Object(inner.collect()));
            }
            ("items" | "additionalProperties", Value::Object(_)) => {
                out.insert(key.clone(), plain(value, root, depth + 1));
            }
            ("items", _) => drop(out.insert(key.clone(), json!({}))),
            ("const", only) => drop(out.insert("enum".to_owned(), json!([only]))),
            _ => drop(out.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(out)
}

fn without_title(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
    schema
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A path with the names of its parameters taken out: two that are the same without them are one.
fn bare(path: &str) -> String {
    let segments: Vec<&str> =
        path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect();
    segments.join("/")
}

fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "read",
        Verb::List => "list",
        Verb::Scan => "scan",
        Verb::Post => "write",
        Verb::Patch => "patch",
        Verb::Delete => "delete",
    }
}

/// `mounts/{path+}/tune` as `mounts-path-tune`.
fn words(pattern: &str) -> String {
    let hole = |segment: &str| {
        let name = segment.trim_matches(['{', '}']);
        name.split(':').next().unwrap_or(name).trim_end_matches(['*', '+']).replace('_', "-")
    };
    pattern.split('/').map(hole).collect::<Vec<_>>().join("-")
}

/// `kv-v2-write-data-path` as `KvV2WriteDataPath`.
fn pascal(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    name.split(['-', '_', '.']).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct None;

    impl Registry for None {
        fn engine(&self, kind: &str, _: &Value) -> kit::Result<std::sync::Arc<dyn AnyEngine>> {
            Err(kit::Error::invalid(kind))
        }
        fn method(
            &self,
            kind: &str,
            _: &Value,
        ) -> kit::Result<(std::sync::Arc<dyn AnyEngine>, std::sync::Arc<dyn AnyMethod>)> {
            Err(kit::Error::invalid(kind))
        }
        fn engine_kinds(&self) -> &'static [&'static str] {
            &[]
        }
        fn method_kinds(&self) -> &'static [&'static str] {
            &[]
        }
    }

    #[test]
    fn the_document_can_be_read_by_generators() {
        let document = openapi(&None, "1.2.3");
        let enable = &document["paths"]["/sys/mounts/{path}"];
        assert_eq!(enable["parameters"][0]["name"], "path");
        let reference =
            enable["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let schema = &document["components"]["schemas"][reference.rsplit('/').next().unwrap()];
        assert_eq!(schema["properties"]["type"]["type"], "string");
        assert!(schema["properties"].get("path").is_none());
        assert_eq!(schema["properties"]["config"]["properties"]["default_lease_ttl"]["type"], "string");
        assert_eq!(document["paths"]["/sys/auth/{path}"]["x-vault-sudo"], true);
        assert_eq!(document["paths"]["/sys/wrapping/lookup"]["x-vault-unauthenticated"], true);
        assert_eq!(document["paths"]["/sys/policies/acl"]["get"]["parameters"][0]["required"], true);
        assert_eq!(document["paths"]["/sys/policies/acl/{name}"]["get"]["parameters"][0]["required"], false);
        assert!(document["paths"]["/sys/leases/lookup/{prefix}"]["get"].is_object());
        let text = document.to_string();
        assert!(!text.contains("$defs") && !text.contains("\"null\""), "{text}");
    }

    #[test]
    fn every_operation_and_schema_has_a_name_of_its_own() {
        let document = openapi(&None, "1.2.3");
        let mut ids = BTreeSet::new();
        for (path, entry) in document["paths"].as_object().unwrap() {
            for method in ["get", "post", "patch", "delete"] {
                let Some(id) = entry.get(method).map(|operation| operation["operationId"].as_str().unwrap())
                else {
                    continue;
                };
                assert!(ids.insert(id.to_owned()), "{id} at {path} is not the only one");
            }
            let holes = path.matches('{').count();
            let named = entry.get("parameters").and_then(Value::as_array).map_or(0, Vec::len);
            assert_eq!(holes, named, "{path} names other parameters than it has");
        }
    }
}
