//! API paths as users type them.

/// Without slashes and spaces at either end.
pub(crate) fn clean(path: &str) -> String {
    path.trim().trim_matches('/').to_owned()
}

/// As the name of a mount: clean, with a final slash.
pub(crate) fn mount(path: &str) -> String {
    let path = path.trim();
    if path.is_empty() || path.ends_with('/') { path.to_owned() } else { format!("{path}/") }
}

/// Parts joined by single slashes; empty ones vanish.
pub(crate) fn join(parts: &[&str]) -> String {
    let whole = parts.join("/");
    let segments = whole.split('/').filter(|segment| !segment.is_empty() && *segment != ".");
    segments.collect::<Vec<_>>().join("/")
}
