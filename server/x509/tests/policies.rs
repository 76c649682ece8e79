//! Which policies a path leads to, as openssl sees it.

#![allow(clippy::unwrap_used)] // a test may panic

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use x509::{Certificate, PolicyPath};

/// A folder in which openssl makes certificates.
struct Desk(PathBuf);

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

impl Desk {
    fn openssl(&self, arguments: &str) -> (bool, String) {
        let out = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    }

    #[track_caller]
    fn run(&self, arguments: &str) {
        let (good, text) = self.openssl(arguments);
        assert!(good, "openssl {arguments}: {text}");
    }

    /// A certificate of these extensions by this signer; all have one key.
    fn make(&self, name: &str, subject: &str, signer: &str, extensions: &[&str]) -> Certificate {
        fs::write(self.0.join("ext"), extensions.join("\n")).unwrap();
        self.run(&format!("req -new -key k.pem -subj /CN={subject} -out r.pem"));
        let by = match signer {
            "" => "-signkey k.pem".to_owned(),
            signer => format!("-CA {signer}.pem -CAkey k.pem -CAcreateserial"),
        };
        self.run(&format!("x509 -req -in r.pem {by} -days 9 -extfile ext -out {name}.pem"));
        Certificate::from_pem(&fs::read_to_string(self.0.join(format!("{name}.pem"))).unwrap()).unwrap()
    }
}

const CA: &str = "basicConstraints=critical,CA:TRUE";
const NOW: &str = "policyConstraints=critical,requireExplicitPolicy:0";

/// What the CA above, the one below, and the leaf say; the name of the one below; and whether it is good.
type Case = (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static str, bool);

const P: &str = "certificatePolicies=1.2.3";
const BOTH: &str = "certificatePolicies=1.2.3,1.2.4";
const OTHER: &str = "certificatePolicies=1.2.4";
const ANY: &str = "certificatePolicies=2.5.29.32.0";
const INTO_OTHER: &str = "policyMappings=1.2.3:1.2.4";
const NO_ANY: &str = "inhibitAnyPolicy=critical,0";
const NO_ANY_BELOW: &str = "inhibitAnyPolicy=critical,1";

const CASES: [Case; 26] = [
    (&[], &[], &[], "Two", true),
    (&[P], &[OTHER], &[P], "Two", true),
    (&[NOW, P], &[P], &[P], "Two", true),
    (&[NOW, P], &[P], &[], "Two", false),
    (&[NOW, P], &[P], &[OTHER], "Two", false),
    (&[NOW, P], &[], &[P], "Two", false),
    (&[NOW], &[P], &[P], "Two", false),
    (&[P], &[NOW, P], &[P], "Two", true),
    (&[P], &[NOW, P], &[], "Two", false),
    (&[NOW, ANY], &[ANY], &[P], "Two", true),
    (&[NOW, ANY], &[BOTH], &[OTHER], "Two", true),
    (&[NOW, BOTH], &[ANY], &[P], "Two", true),
    (&[NOW, BOTH], &[P], &[OTHER], "Two", false),
    (&[NOW, P], &[P], &[ANY], "Two", true),
    (&[NOW, ANY, NO_ANY], &[ANY], &[P], "Two", false),
    (&[NOW, ANY, NO_ANY], &[ANY], &[P], "One", true),
    (&[NOW, ANY, NO_ANY_BELOW], &[ANY], &[P], "Two", true),
    (&[NOW, ANY, NO_ANY_BELOW], &[ANY], &[ANY], "Two", false),
    (&[NOW, P], &[P, INTO_OTHER], &[OTHER], "Two", true),
    (&[NOW, P], &[P, INTO_OTHER], &[P], "Two", false),
    (&[NOW, ANY], &[ANY, INTO_OTHER], &[OTHER], "Two", true),
    (
        &["policyConstraints=critical,requireExplicitPolicy:0,inhibitPolicyMapping:0", P],
        &[P, INTO_OTHER],
        &[OTHER],
        "Two",
        false,
    ),
    (&["policyConstraints=critical,requireExplicitPolicy:2"], &[], &[], "Two", false),
    (&["policyConstraints=critical,requireExplicitPolicy:2"], &[], &[], "One", true),
    (&["policyConstraints=critical,requireExplicitPolicy:3"], &[], &[], "Two", true),
    (&["policyConstraints=critical,inhibitPolicyMapping:0"], &[], &[], "Two", true),
];

#[test]
fn paths_are_judged_as_openssl_judges_them() {
    let desk = Desk(std::env::temp_dir().join(format!("x509-{}-policies", std::process::id())));
    fs::create_dir_all(&desk.0).unwrap();
    desk.run("ecparam -name prime256v1 -genkey -noout -out k.pem");
    let root = desk.make("root", "Root", "", &[CA]);
    for (one, two, leaf, name, expect) in CASES {
        let above = desk.make("one", "One", "root", &[&[CA], one].concat());
        let below = desk.make("two", name, "one", &[&[CA], two].concat());
        let end = desk.make("leaf", "leaf", "two", leaf);
        let (theirs, text) = desk.openssl(
            "verify -policy_check -policy 2.5.29.32.0 -CAfile root.pem -untrusted one.pem -untrusted two.pem leaf.pem",
        );
        let path = PolicyPath::new().from_root(&root).and_then(|path| path.through(&above));
        let ours =
            path.and_then(|path| path.through(&below)).and_then(|path| path.check(end.extensions(), false));
        assert_eq!(ours.is_ok(), expect, "{one:?} {two:?} {leaf:?} {name}: {ours:?}");
        assert_eq!(theirs, expect, "{one:?} {two:?} {leaf:?} {name}: {text}");
    }
}
