//! Where a login's token is kept between commands: a file only its user can read, or a helper program.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use zeroize::Zeroizing;

use crate::{settings::Settings, stop::Stop};

/// A token is short; a longer file is something else.
const TOKEN_SIZE_MAX: u64 = 64 * 1024;

/// Keeps the token.
pub(crate) enum TokenStore {
    /// The file that Vault's tools use, so that a login by one serves all.
    File(PathBuf),
    /// A program called with `get` or `store`.
    Helper(String),
    /// No home folder: nothing can be kept.
    Nowhere,
}

impl TokenStore {
    /// Chooses the store: `token_helper` in the configuration file, else the token file.
    pub(crate) fn new(settings: &Settings) -> Result<TokenStore, Stop> {
        let config = settings.config_path.clone().or_else(|| Some(settings.home.as_ref()?.join(".vault")));
        if let Some(file) = config {
            match fs::read_to_string(&file) {
                Ok(text) => {
                    if let Some(helper) = helper_in(&text) {
                        return Ok(TokenStore::Helper(helper));
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound && settings.config_path.is_none() => {}
                // A folder of that name belongs to something else.
                Err(e) if e.kind() == ErrorKind::IsADirectory => {}
                Err(e) => {
                    return Err(Stop::local(format!("Error reading {}: {e}", file.display()))
                        .hint("Set HOME to a folder of your own, or KEEP_CONFIG_PATH to another file."));
                }
            }
        }
        let file = settings.token_path.clone().or_else(|| Some(settings.home.as_ref()?.join(".vault-token")));
        Ok(file.map_or(TokenStore::Nowhere, TokenStore::File))
    }

    /// The file in which it is kept, if it is kept in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            TokenStore::File(path) => Some(path),
            TokenStore::Helper(_) | TokenStore::Nowhere => None,
        }
    }

    /// The kept token, if there is one.
    pub(crate) fn load(&self) -> Result<Option<Zeroizing<String>>, Stop> {
        let text = match self {
            TokenStore::Nowhere => return Ok(None),
            TokenStore::Helper(program) => call(program, "get", None)?,
            TokenStore::File(path) => match fs::metadata(path) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(unreadable(path, &e)),
                Ok(meta) if meta.len() > TOKEN_SIZE_MAX => {
                    return Err(Stop::local(format!("{} is too long to hold a token", path.display())));
                }
                Ok(_) => Zeroizing::new(fs::read_to_string(path).map_err(|e| unreadable(path, &e))?),
            },
        };
        let token = text.trim();
        Ok((!token.is_empty()).then(|| Zeroizing::new(token.to_owned())))
    }

    /// Keeps `token` in place of any other; all of it or none, and never readable by others.
    pub(crate) fn store(&self, token: &str) -> Result<(), Stop> {
        match self {
            TokenStore::Nowhere => Err(Stop::local("There is no home folder to keep the token in")
                .hint("Set HOME, or KEEP_TOKEN_PATH, or use -no-store.")),
            TokenStore::Helper(program) => call(program, "store", Some(token)).map(|_| ()),
            TokenStore::File(path) => write_private(path, token.as_bytes())
                .map_err(|e| Stop::local(format!("Error storing token in {}: {e}", path.display()))),
        }
    }
}

/// Writes a file that only its owner can read, so that a crash leaves the old one or the new one.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
    let done = written.and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        // The error to report is the first one; the leftover is only litter.
        let _ = fs::remove_file(&temporary);
    }
    done
}

fn unreadable(path: &Path, error: &std::io::Error) -> Stop {
    Stop::local(format!("Error reading the token from {}: {error}", path.display()))
}

/// The one setting of the configuration file: `token_helper = "/path/to/program"`.
fn helper_in(config: &str) -> Option<String> {
    config.lines().find_map(|line| {
        let value = line.trim().strip_prefix("token_helper")?.trim_start().strip_prefix('=')?.trim();
        let path = value.strip_prefix('"')?.split('"').next()?;
        (!path.is_empty()).then(|| path.to_owned())
    })
}

fn call(program: &str, verb: &str, token: Option<&str>) -> Result<Zeroizing<String>, Stop> {
    let failed = |why: String| Stop::local(format!("The token helper {program} failed to {verb}: {why}"));
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("{program} {verb}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(token.unwrap_or_default().as_bytes()) {
            // A helper that reads nothing and leaves is judged by its exit code.
            Err(e) if e.kind() != ErrorKind::BrokenPipe => return Err(failed(e.to_string())),
            _ => {}
        }
    }
    let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    let text = Zeroizing::new(String::from_utf8_lossy(&output.stdout).into_owned());
    if output.status.success() { Ok(text) } else { Err(failed(output.status.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keep-store-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_token_file_is_private_and_replaced_whole() {
        let folder = scratch("file");
        let path = folder.join("token");
        let store = TokenStore::File(path.clone());
        assert!(store.load().unwrap().is_none());
        fs::write(&path, "old and longer than the new one").unwrap();
        store.store("s.new").unwrap();
        assert_eq!(store.load().unwrap().unwrap().as_str(), "s.new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_helper_program_keeps_the_token_too() {
        let folder = scratch("helper");
        let program = folder.join("helper.sh");
        let script = format!(
            "case $1 in get) cat {0} 2>/dev/null || true;; store) cat > {0};; esac\n",
            folder.join("kept").display()
        );
        fs::write(&program, script).unwrap();
        let store = TokenStore::Helper(format!("/bin/sh {}", program.display()));
        store.store("s.helped").unwrap();
        assert_eq!(store.load().unwrap().unwrap().as_str(), "s.helped");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_helper_is_found_in_the_configuration() {
        assert_eq!(helper_in("# x\ntoken_helper = \"/usr/bin/h\"\n"), Some("/usr/bin/h".to_owned()));
        assert_eq!(helper_in("other = \"a\""), None);
    }
}
