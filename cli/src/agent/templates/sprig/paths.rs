//! Paths, as Go has them: with `/`, and without looking at a disk.

use gotmpl::Value;

use crate::agent::templates::{
    functions::{Function, string},
    values::text,
};

pub(super) const ALL: [(&str, Function); 10] = [
    ("base", |args| Ok(text(base(string(args, 0)?)))),
    ("osBase", |args| Ok(text(base(string(args, 0)?)))),
    ("dir", |args| Ok(text(dir(string(args, 0)?)))),
    ("osDir", |args| Ok(text(dir(string(args, 0)?)))),
    ("clean", |args| Ok(text(clean(string(args, 0)?)))),
    ("osClean", |args| Ok(text(clean(string(args, 0)?)))),
    ("ext", |args| Ok(text(ext(string(args, 0)?)))),
    ("osExt", |args| Ok(text(ext(string(args, 0)?)))),
    ("isAbs", |args| Ok(Value::Bool(string(args, 0)?.starts_with('/')))),
    ("osIsAbs", |args| Ok(Value::Bool(string(args, 0)?.starts_with('/')))),
];

fn base(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default())
}

fn ext(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').and_then(|at| name.get(at..)).unwrap_or_default()
}

/// Without doubled slashes, dots, and detours.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".to_owned(),
        (false, rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        for (path, expect) in [
            ("/a/b.c", ("b.c", "/a", "/a/b.c", ".c")),
            ("a//b/../c/", ("c", "a/c", "a/c", "")),
            ("", (".", ".", ".", "")),
            ("/", ("/", "/", "/", "")),
            ("../../x", ("x", "../..", "../../x", "")),
            ("/../x.tar.gz", ("x.tar.gz", "/", "/x.tar.gz", ".gz")),
            ("name", ("name", ".", "name", "")),
        ] {
            let (dir, clean) = (dir(path), clean(path));
            assert_eq!((base(path), dir.as_str(), clean.as_str(), ext(path)), expect, "{path}");
        }
    }
}
