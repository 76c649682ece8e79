//! The paths that every server has, read as data from the document that the server is made to match.

use serde_json::Value;

const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// What `typed` can become: whole paths, or the next folder. What stands in braces is yours to fill in.
pub(crate) fn completions(typed: &str) -> Vec<String> {
    let typed = typed.trim_start_matches('/');
    let document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flat_map(|paths| paths.keys());
    next(typed, paths.map(|path| path.trim_start_matches('/')))
}

fn next<'a>(typed: &str, paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = paths
        .filter_map(|path| {
            let rest = path.strip_prefix(typed)?;
            let end = rest.find('/').map_or(rest.len(), |slash| slash + 1);
            let whole = format!("{typed}{}", rest.get(..end)?);
            // A hole is shown by the folder before it: nobody's role is called {name}.
            Some(whole.split_once('{').map_or(whole.clone(), |(before, _)| before.to_owned()))
        })
        .filter(|whole| whole != typed)
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_completed_folder_by_folder() {
        let paths =
            || ["sys/mounts", "sys/mounts/{path}", "sys/mounts/{path}/tune", "sys/leases/lookup"].into_iter();
        assert_eq!(next("s", paths()), ["sys/"]);
        assert_eq!(next("sys/", paths()), ["sys/leases/", "sys/mounts", "sys/mounts/"]);
        assert_eq!(next("sys/m", paths()), ["sys/mounts", "sys/mounts/"]);
        assert!(next("sys/mounts/", paths()).is_empty());
        assert!(next("nothing", paths()).is_empty());
    }

    #[test]
    fn the_document_has_the_paths_of_the_server() {
        assert!(completions("sys/mo").contains(&"sys/mounts".to_owned()));
        assert!(completions("/auth/token/").contains(&"auth/token/create".to_owned()));
    }
}
