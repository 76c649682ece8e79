//! A template as it is read when the agent starts: what it names and we do not have is refused there, with its line.

use gotmpl::parse::{ActionNode, CommandNode, DefineNode, Expr, ListNode, Node, Parser, PipeNode};

use super::{
    fields::{self, Place},
    functions::FUNCTIONS,
    language::HERE,
    sprig,
};

/// A template taken apart.
pub(super) struct Parsed {
    pub(super) body: ListNode,
    pub(super) defines: Vec<DefineNode>,
}

/// The language's own.
const BUILT_IN: [&str; 20] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "slice", "urlquery", "nil",
];

/// What every value goes through on its way out: it is printed as Go prints it.
pub(super) const PRINTED: &str = "\u{1}printed";

/// What a version goes through before something that shows it.
pub(super) const FLAT: &str = "\u{1}flat";

/// `print`, where a version may be among what it is given.
pub(super) const PRINT: &str = "\u{1}print";

/// What a version can be asked with another one, before its name.
pub(super) const METHOD: &str = "\u{1}method.";

/// What a version can do in Go and not here.
const NOT_OF_A_VERSION: [&str; 5] = ["IncMajor", "IncMinor", "IncPatch", "SetMetadata", "SetPrerelease"];

/// What the scratchpad can do.
const SCRATCH: [&str; 6] = ["Key", "Get", "Set", "SetX", "MapSet", "MapSetX"];

/// Reads a template and says what is wrong with it, and in which line.
pub(super) fn parse(text: &str, (left, right): (&str, &str), denied: &[String]) -> Result<Parsed, String> {
    let (mut body, mut defines) = read(text, left, right)?;
    if !is_whole(text, left, right) {
        return Err("an end or else belongs to nothing".to_owned());
    }
    let mut look = Look { denied, versions: text.contains("sprig_semver"), wrong: None };
    look.list(&mut body);
    defines.iter_mut().for_each(|define| look.list(&mut define.body));
    fields::replace(&mut body, Place::Top);
    defines.iter_mut().for_each(|define| fields::replace(&mut define.body, Place::Defined));
    match look.wrong {
        None => Ok(Parsed { body, defines }),
        Some(wrong) => Err(wrong),
    }
}

fn read(text: &str, left: &str, right: &str) -> Result<(ListNode, Vec<DefineNode>), String> {
    let wrong = |error: gotmpl::TemplateError| match error {
        gotmpl::TemplateError::Parse { line, message, .. }
        | gotmpl::TemplateError::Lex { line, message, .. } => format!("line {line}: {message}"),
        other => other.to_string(),
    };
    Parser::new(text, left, right).map_err(wrong)?.parse().map_err(wrong)
}

/// Whether all of a text is read: the parser stops without a word at an end that belongs to nothing.
fn is_whole(text: &str, left: &str, right: &str) -> bool {
    let wrapped = format!("{left}if true{right}{text}{left}end{right}.");
    read(&wrapped, left, right).is_ok_and(|(list, _)| match list.nodes.as_slice() {
        [Node::If(branch), Node::Text(rest)] => branch.else_body.is_none() && &*rest.text == ".",
        _ => false,
    })
}

/// Looks at every function that is named.
struct Look<'a> {
    denied: &'a [String],
    /// Whether there are versions in it.
    versions: bool,
    wrong: Option<String>,
}

impl Look<'_> {
    fn list(&mut self, list: &mut ListNode) {
        let nodes = std::mem::take(&mut list.nodes);
        list.nodes = nodes.into_iter().flat_map(changed_in_place).collect();
        for node in &mut list.nodes {
            match node {
                Node::List(list) => self.list(list),
                Node::Action(action) => {
                    self.pipe(&mut action.pipe);
                    if action.pipe.decl.is_empty() {
                        let pos = action.pos;
                        let args = vec![Expr::Identifier(pos, PRINTED.into())];
                        action.pipe.commands.push(CommandNode { pos, args });
                    }
                }
                Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                    self.pipe(&mut branch.pipe);
                    self.list(&mut branch.body);
                    if let Some(body) = &mut branch.else_body {
                        self.list(body);
                    }
                }
                Node::Template(template) => {
                    if let Some(pipe) = &mut template.pipe {
                        self.pipe(pipe);
                    }
                }
                Node::Define(define) => self.list(&mut define.body),
                Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
    }

    fn pipe(&mut self, pipe: &mut PipeNode) {
        pipe.commands.iter_mut().for_each(|command| self.command(command));
        if self.versions {
            self.methods(pipe);
        }
    }

    /// `$a.Compare $b` is a method in Go; here it is a function of its own. And what prints a version is given its text.
    fn methods(&mut self, pipe: &mut PipeNode) {
        let mut commands: Vec<CommandNode> = Vec::new();
        for mut command in std::mem::take(&mut pipe.commands) {
            let asked = command.args.len() > 1 || !commands.is_empty();
            match command.args.first_mut() {
                Some(
                    Expr::Field(pos, fields) | Expr::Variable(pos, _, fields) | Expr::Chain(pos, _, fields),
                ) if asked
                    && sprig::METHODS
                        .iter()
                        .any(|(name, _)| fields.last().is_some_and(|last| **last == **name)) =>
                {
                    let pos = *pos;
                    let name = fields.pop().map(|name| name.to_string()).unwrap_or_default();
                    command.args.insert(0, Expr::Identifier(pos, format!("{METHOD}{name}").into()));
                }
                Some(Expr::Identifier(_, name)) if name == "print" => *name = PRINT.into(),
                Some(Expr::Identifier(pos, name)) if matches!(name.as_str(), "printf" | "println") => {
                    let pos = *pos;
                    let flat = || Expr::Identifier(pos, FLAT.into());
                    if !commands.is_empty() {
                        commands.push(CommandNode { pos, args: vec![flat()] });
                    }
                    for arg in command.args.iter_mut().skip(1) {
                        let inner = std::mem::replace(arg, Expr::Nil(pos));
                        let commands = vec![CommandNode { pos, args: vec![flat(), inner] }];
                        *arg =
                            Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false });
                    }
                }
                _ => {}
            }
            commands.push(command);
        }
        pipe.commands = commands;
    }

    fn fields(&mut self, line: usize, fields: &[impl AsRef<str>]) {
        let odd = fields.iter().map(AsRef::as_ref).find(|field| NOT_OF_A_VERSION.contains(field));
        if let Some(odd) = odd.filter(|_| self.versions) {
            self.wrong.get_or_insert(format!(
                "line {line}: .{odd} of a version is not here: have the next version where the template has this one from"
            ));
        }
    }

    fn command(&mut self, command: &mut CommandNode) {
        command.args.iter_mut().for_each(|arg| self.expression(arg));
    }

    fn expression(&mut self, arg: &mut Expr) {
        match arg {
            Expr::Identifier(pos, name) => {
                let (line, name) = (pos.line, name.to_string());
                self.function(line, &name);
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Field(pos, fields) | Expr::Variable(pos, _, fields) => self.fields(pos.line, fields),
            Expr::Chain(pos, inner, fields) => {
                self.fields(pos.line, fields);
                // `scratch.Set "a" 1` is a method in Go; here it is a function of its own.
                if let (Expr::Identifier(_, name), [method]) = (&**inner, fields.as_slice())
                    && name == "scratch"
                {
                    let known = SCRATCH.contains(&method.as_str()) || method == "MapValues";
                    if !known && self.wrong.is_none() {
                        self.wrong = Some(format!("line {}: scratch.{method} is not known", pos.line));
                    }
                    *arg = Expr::Identifier(*pos, format!("scratch.{method}").into());
                    return;
                }
                self.expression(inner);
            }
            _ => {}
        }
    }

    fn function(&mut self, line: usize, name: &str) {
        let known = BUILT_IN.contains(&name)
            || HERE.contains(&name)
            || FUNCTIONS.iter().any(|(known, _)| *known == name)
            || sprig::has(name);
        let why = if self.denied.iter().any(|denied| denied == name) {
            "function_denylist forbids it".to_owned()
        } else if known {
            return;
        } else {
            advice(name).to_owned()
        };
        self.wrong.get_or_insert(format!("line {line}: the function {name:?}: {why}"));
    }
}

/// `sprig_set $map "key" value` changes the map that `$map` is, in Go. Values do not change here: the variable gets the new
/// one, and the statement goes on with that.
fn changed_in_place(node: Node) -> Vec<Node> {
    let Node::Action(mut action) = node else { return vec![node] };
    let changed = match action.pipe.commands.first().map(|command| command.args.as_slice()) {
        Some([Expr::Identifier(_, name), Expr::Variable(pos, variable, fields), ..])
            if sprig::changes_its_map(name) && fields.is_empty() =>
        {
            Some((*pos, variable.clone()))
        }
        _ => None,
    };
    let Some((pos, variable)) = changed else { return vec![Node::Action(action)] };
    let command = action.pipe.commands.remove(0);
    let value = CommandNode { pos, args: vec![Expr::Variable(pos, variable.clone(), Vec::new())] };
    action.pipe.commands.insert(0, value);
    let pipe = PipeNode { pos, decl: vec![variable], commands: vec![command], is_assign: true };
    vec![Node::Action(ActionNode { pos, pipe }), Node::Action(action)]
}

/// What to do without a function that consul-template has.
fn advice(name: &str) -> &'static str {
    match name {
        "key" | "keyExists" | "keyExistsGet" | "keyOrDefault" | "ls" | "safeLs" | "tree" | "safeTree"
        | "service" | "services" | "node" | "nodes" | "datacenters" | "connect" | "caRoots" | "caLeaf"
        | "partitions" | "peerings" | "exportedServices" | "byKey" | "byPort" | "byTag" | "byMeta"
        | "explode" => "it asks Consul, or sorts what Consul says; this agent does not ask Consul",
        "plugin" => "this agent runs no programs while it renders: let the template's exec do it afterwards",
        "sockaddr" => {
            "this agent does not look for addresses of this machine: put the address into a variable and use env"
        }
        _ if name.starts_with("spew") => "it shows Go's memory, which is not here: use toJSONPretty",
        _ if name.starts_with("nomad") => "it asks Nomad, which this agent does not do",
        _ if name.starts_with(sprig::PREFIX) => sprig::advice(name),
        _ => "it is not known",
    }
}
