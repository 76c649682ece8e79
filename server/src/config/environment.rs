use std::collections::BTreeMap;

/// The variables that were set when the process started, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

/// The same setting goes by these names; the first that is set wins.
const PREFIXES: [&str; 3] = ["SEALKEEP_", "BAO_", "VAULT_"];

impl Environment {
    /// Of this process. Variables that are not UTF-8 are as good as not set.
    pub(crate) fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// A variable by its full name; an empty one is not set.
    pub(crate) fn plain(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A setting by its name without prefix.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        PREFIXES.iter().find_map(|prefix| self.plain(&format!("{prefix}{name}")))
    }

    /// The full name of the variable that says this setting.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        PREFIXES.iter().map(|prefix| format!("{prefix}{name}")).find(|name| self.plain(name).is_some())
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
