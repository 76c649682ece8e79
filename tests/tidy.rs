//! The rules that matter, as tests: what `docs/ARCHITECTURE.md` says about floors, sizes, names and clocks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says no"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::binary::source_root;

const FILE_LINES_MAX: usize = 600;
const FILE_LINES_MEDIAN_MAX: usize = 220;
const FUNCTION_LINES_MAX: usize = 70;

/// What each crate may use of the others: arrows only downward, and none between kernel, engines and auth.
const FLOORS: [(&str, &[&str]); 14] = [
    ("policy", &[]),
    ("locked", &[]),
    ("storage", &["locked"]),
    ("kit", &["policy", "storage"]),
    ("x509", &["policy", "storage"]),
    ("otp", &["kit", "policy", "storage"]),
    ("flow", &["kit", "policy", "storage"]),
    ("jws", &["x509"]),
    ("kernel", &["flow", "kit", "x509", "otp", "jws", "policy", "storage"]),
    ("pki", &["flow", "kit", "x509", "jws", "policy", "storage"]),
    ("engines", &["pki", "flow", "kit", "x509", "otp", "jws", "policy", "storage"]),
    ("auth", &["flow", "kit", "x509", "jws", "policy", "storage"]),
    ("sealkeep", &["kernel", "engines", "auth", "flow", "kit", "x509", "policy", "storage", "locked"]),
    // It reads the catalogue as data: it links no server crate.
    ("keep", &[]),
];

/// Crates below the binary: time, chance and settings reach them in a context only.
const BELOW_SERVER: [&str; 8] = [
    "policy/",
    "storage/",
    "server/kit/",
    "server/kernel/",
    "server/engines/",
    "server/pki/",
    "server/auth/",
    "server/x509/",
];

/// A file of the tree and its text.
struct Source {
    path: String,
    text: String,
}

/// The whole tree as git has it, or would take it.
fn tree() -> Vec<Source> {
    let root = source_root();
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&root);
    let listed = git.output().expect("git is installed");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let read = |path: &str| {
        Some(Source { path: path.to_owned(), text: std::fs::read_to_string(root.join(path)).ok()? })
    };
    listed.lines().filter_map(read).collect()
}

fn rust() -> Vec<Source> {
    tree().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

/// The lines of a file that are code, with their numbers: comments may name what code may not.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[track_caller]
fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn cargo(arguments: &[&str]) -> std::process::Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--offline", "--locked"]).current_dir(source_root());
    cargo.output().expect("cargo runs")
}

fn cargo_metadata() -> Value {
    let output = cargo(&["metadata", "--format-version=1", "--no-deps"]);
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// What is really built on this platform, with the features that are really on; nothing for a crate that is not.
fn cargo_tree(arguments: &[&str]) -> Vec<String> {
    let output =
        cargo(&[&["tree", "--workspace", "--prefix=none", "--edges=normal,build"], arguments].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || error.contains("did not match any packages"), "cargo tree: {error}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn arrows_between_crates_go_downward() {
    let metadata = cargo_metadata();
    let ours: BTreeSet<&str> =
        array(&metadata, "packages").iter().map(|package| text(package, "name")).collect();
    let mut broken = Vec::new();
    for package in array(&metadata, "packages") {
        let name = text(package, "name");
        if name == "tests" {
            continue;
        }
        let Some((_, allowed)) = FLOORS.iter().find(|(floor, _)| *floor == name) else {
            broken.push(format!("{name} stands on no floor: add it to FLOORS and to the architecture"));
            continue;
        };
        for dependency in array(package, "dependencies") {
            let below = text(dependency, "name");
            // A test may stand on a higher floor than the code it tests.
            if ours.contains(below) && !allowed.contains(&below) && dependency["kind"].as_str() != Some("dev")
            {
                broken.push(format!("{name} uses {below}"));
            }
        }
    }
    none("a crate uses another that is not below it", broken);
}

#[test]
fn sibling_engines_do_not_know_each_other() {
    let mut broken = Vec::new();
    for folder in ["server/engines/src/", "server/auth/src/"] {
        let files: Vec<Source> =
            rust().into_iter().filter(|source| source.path.starts_with(folder)).collect();
        let module = |source: &Source| {
            let rest = source.path.strip_prefix(folder).unwrap_or_default();
            rest.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
        };
        // What implements neither is ground that siblings share, as auth's parameters of tokens.
        let is_engine = |source: &&Source| {
            source.text.contains("impl Engine for ") || source.text.contains("impl AuthMethod for ")
        };
        let modules: BTreeSet<String> = files.iter().filter(is_engine).map(module).collect();
        assert!(modules.len() > 1, "no engines are found in {folder}: the rule holds nothing");
        for source in files.iter().filter(|source| module(source) != "lib") {
            let own = module(source);
            for sibling in modules.iter().filter(|sibling| **sibling != own) {
                let names = [format!("crate::{sibling}"), format!("super::{sibling}::")];
                let at_top = source.path == format!("{folder}{own}.rs");
                let named = |line: &str| line.contains(&names[0]) || (at_top && line.contains(&names[1]));
                for (number, _) in code(source).filter(|(_, line)| named(line)) {
                    broken.push(format!("{}:{number} names {sibling}", source.path));
                }
            }
        }
    }
    none("an engine knows its sibling", broken);
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut lengths: Vec<(usize, String)> =
        rust().into_iter().map(|source| (source.text.lines().count(), source.path)).collect();
    lengths.sort();
    let long = lengths.iter().filter(|(lines, _)| *lines > FILE_LINES_MAX);
    none("files over 600 lines", long.map(|(lines, path)| format!("{path}: {lines}")).collect());
    let median = lengths.get(lengths.len() / 2).map_or(0, |(lines, _)| *lines);
    assert!(median <= FILE_LINES_MEDIAN_MAX, "the median file has {median} lines; near 150 is meant");
}

#[test]
fn functions_can_be_read_at_a_glance() {
    let mut broken = Vec::new();
    for source in rust() {
        for (number, name, lines) in functions(&source.text) {
            if lines > FUNCTION_LINES_MAX {
                broken.push(format!("{}:{number} {name}: {lines} lines", source.path));
            }
        }
    }
    none("functions over 70 lines", broken);
}

/// Line, name and length of every function, by what rustfmt guarantees: it ends at the first line that closes a brace
/// at its own depth.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let depth = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let one_line = line.trim_end().ends_with('}') || line.trim_end().ends_with(';');
        let ends =
            |later: &&str| later.len() > depth && later[..depth].trim().is_empty() && later[depth..] == *"}";
        let signature_only = |later: &&str| {
            later.len() > depth
                && later[..depth].trim().is_empty()
                && later.trim_end().ends_with(';')
                && later.as_bytes()[depth] == b')'
        };
        let rest = &lines[index + 1..];
        let end = rest.iter().position(|later| ends(later) || signature_only(later));
        if let (false, Some(end)) = (one_line, end) {
            found.push((index + 1, name.to_owned(), end + 2));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    loop {
        let (word, after) = rest.split_once(' ')?;
        match word {
            "fn" => return after.split(['(', '<']).next(),
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" => rest = after,
            _ if word.starts_with("pub(") => rest = after,
            _ => return None,
        }
    }
}

#[test]
fn the_length_of_a_function_is_counted_right() {
    let text = "impl X {\n    pub(crate) fn long(\n        a: u8,\n    ) -> u8 {\n        if a {\n        }\n    }\n}\nfn one() {}\n";
    assert_eq!(functions(text), [(2, "long".to_owned(), 6)]);
    let long = format!("pub async fn f() {{\n{}}}\n", "    x();\n".repeat(80));
    assert_eq!(functions(&long), [(1, "f".to_owned(), 82)]);
}

#[test]
fn no_file_is_named_for_having_no_subject() {
    let bad =
        ["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "misc.rs", "types.rs", "stuff.rs"];
    let named = |source: &Source| bad.iter().any(|name| Path::new(&source.path).ends_with(name));
    none(
        "a file needs a subject",
        rust().iter().filter(|source| named(source)).map(|source| source.path.clone()).collect(),
    );
}

#[test]
fn time_chance_and_settings_come_in_a_context() {
    let banned = [
        "SystemTime::now",
        "Instant::now",
        "thread::sleep",
        "time::sleep",
        "env::var",
        "rand::rng",
        "rand::random",
        "thread_rng",
        "fastrand::",
    ];
    let mut broken = Vec::new();
    for source in rust() {
        let below = BELOW_SERVER.iter().any(|folder| source.path.starts_with(folder))
            && source.path.contains("/src/");
        for (number, line) in code(&source).filter(|_| below) {
            for name in banned.iter().filter(|name| line.contains(**name)) {
                broken.push(format!("{}:{number} {name}", source.path));
            }
        }
    }
    none("nothing below the server reaches around its context", broken);
}

#[test]
fn nothing_is_left_to_be_done() {
    let banned = [concat!("to", "do!("), concat!("unimple", "mented!(")];
    let promises = [concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut broken = Vec::new();
    for source in rust() {
        for (number, line) in code(&source) {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{number} {word}", source.path));
            }
        }
        let promised = |line: &&str| promises.iter().any(|word| line.contains(word));
        broken.extend(source.text.lines().filter(promised).map(|line| format!("{}: {line}", source.path)));
    }
    none("a promise in place of code", broken);
}

#[test]
fn every_crate_is_under_the_lints() {
    let root = source_root();
    let workspace = std::fs::read_to_string(root.join("Cargo.toml")).expect("the workspace has a manifest");
    for lint in ["missing_docs", "unreachable_pub", "unwrap_used", "indexing_slicing", "await_holding_lock"] {
        assert!(workspace.contains(&format!("\n{lint} = ")), "the workspace has lost the lint {lint}");
    }
    let metadata = cargo_metadata();
    let mut broken = Vec::new();
    for package in array(&metadata, "packages") {
        let manifest =
            std::fs::read_to_string(text(package, "manifest_path")).expect("a member has a manifest");
        // The one crate that may be unsafe says so in lints of its own; all others take the workspace's.
        if text(package, "name") != "locked" && !manifest.contains("[lints]\nworkspace = true") {
            broken.push(text(package, "name").to_owned());
        }
    }
    none("a crate without the workspace's lints", broken);
}

#[test]
fn unsafe_has_one_home() {
    let mut broken = Vec::new();
    for source in rust().iter().filter(|source| !source.path.starts_with("storage/locked/")) {
        let has = |line: &str| {
            line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl")
        };
        // tidy itself and its like name the word in strings; code opens a block with it.
        for (number, _) in code(source).filter(|(_, line)| has(line) && !line.contains('"')) {
            broken.push(format!("{}:{number}", source.path));
        }
    }
    none("unsafe outside storage/locked", broken);
}

#[test]
fn nothing_committed_knows_where_it_was_made() {
    let banned = [
        concat!("crates", ".io"),
        concat!("py", "pi.org"),
        concat!("pythonhosted", ".org"),
        concat!("registry.npm", "js"),
        concat!("deb.debian", ".org"),
        concat!("proxy.golang", ".org"),
        concat!("\"/wo", "rk/"),
        concat!(" /wo", "rk/"),
        concat!("=/wo", "rk/"),
    ];
    let mut broken = Vec::new();
    // Cargo writes the registry's address into its lock file, and must.
    for source in tree().iter().filter(|source| source.path != "Cargo.lock") {
        for (index, line) in source.text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{} {word}", source.path, index + 1));
            }
        }
    }
    none("a registry or a machine is named", broken);
}

#[test]
fn what_enters_the_build_is_what_deny_toml_admits() {
    let deny = std::fs::read_to_string(source_root().join("deny.toml")).expect("deny.toml is there");
    let allowed: BTreeSet<String> = quoted(section(&deny, "allow = [", "]")).collect();
    let banned: Vec<(String, Vec<String>)> = section(&deny, "deny = [", "\n]")
        .lines()
        .filter(|line| line.trim_start().starts_with('{'))
        .map(|line| {
            let wrappers = if line.contains("wrappers") { section(line, "wrappers = [", "]") } else { "" };
            (quoted(line).next().expect("a ban names a crate"), quoted(wrappers).collect())
        })
        .collect();
    assert!(
        allowed.contains("MIT") && banned.iter().any(|(name, _)| name == "ring"),
        "deny.toml is not understood"
    );
    let mut broken = Vec::new();
    for line in cargo_tree(&["--format={p}|{l}"]) {
        let (package, licence) = line.split_once('|').unwrap_or((&line, ""));
        if !licensed(licence.trim_end_matches(" (*)"), &allowed) {
            broken.push(format!("{package}: licence {licence:?}"));
        }
        if package.contains("://") {
            broken.push(format!("{package}: comes from elsewhere than the registry"));
        }
    }
    for (name, wrappers) in banned {
        let users = cargo_tree(&["--invert", &name, "--depth=1", "--format={p}"]);
        let users = users.iter().filter_map(|line| line.split(' ').next()).filter(|user| *user != name);
        let refused = users.filter(|user| !wrappers.iter().any(|wrapper| wrapper == user));
        broken.extend(refused.map(|user| format!("{user} uses {name}")));
    }
    none("the build takes in what deny.toml refuses", broken);
}

fn section<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).map_or(rest, |(inside, _)| inside)
}

fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned)
}

/// Whether an SPDX expression can be met: AND binds tighter than OR, and a slash is an old OR.
fn licensed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let mut expression = expression.replace('/', " OR ");
    // The innermost parentheses first: what they come to takes their place.
    while let Some(open) = expression.rfind('(') {
        let close = open + expression[open..].find(')').expect("parentheses are closed");
        let met = licensed(&expression[open + 1..close], allowed);
        expression.replace_range(open..=close, if met { "MIT" } else { "refused" });
    }
    let met = |term: &str| allowed.contains(term.trim());
    expression.split(" OR ").any(|part| !part.trim().is_empty() && part.split(" AND ").all(met))
}

#[test]
fn licence_expressions_are_read_right() {
    let allowed: BTreeSet<String> = ["MIT", "ISC"].map(str::to_owned).into();
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("ISC AND (GPL-3.0 OR ISC)", true),
        ("(GPL-3.0 OR MIT) AND (GPL-2.0 OR OpenSSL)", false),
        ("", false),
    ] {
        assert_eq!(licensed(expression, &allowed), met, "{expression}");
    }
}

#[test]
fn scripts_can_be_run() {
    let root = source_root();
    for script in [".ci/run", "tests/run", "tests/bench/run"] {
        let path: PathBuf = root.join(script);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect(script).permissions());
        assert!(mode & 0o111 != 0, "{script} is not executable");
    }
}
