//! `sealkeep diagnose`: what would keep a server of this configuration from starting here, or from staying well. It
//! starts nothing; what it writes to see whether it could, it takes away again.

mod listeners;
mod machine;
mod outputs;
mod seal;
mod storage;
mod tree;

use std::path::PathBuf;

use crate::args::Diagnose;
use crate::config::{self, Config, Environment, Weight};
use crate::run::Failure;
use tree::Check;

/// The exit code for a call without a configuration, as `bao operator diagnose` has it.
const NO_CONFIGURATION: u8 = 3;

/// Looks, prints, and tells the exit code: 0 if all is well, 2 if something is worth a look, 4 if a server would not
/// start or not stay well.
pub(crate) fn run(wanted: &Diagnose, environment: &Environment) -> Result<u8, Failure> {
    let mut files = wanted.config.clone();
    if files.is_empty()
        && let Some(path) = environment.setting("CONFIG_PATH")
    {
        files.push(path.into());
    }
    if files.is_empty() {
        let text = "Must specify a configuration file using -config.".to_owned();
        return Err(Failure { text, code: NO_CONFIGURATION });
    }
    let root = look(&files, &wanted.skip, environment);
    match wanted.format.as_str() {
        "json" => println!("{:#}", root.json()),
        _ => {
            println!("Sealkeep v{}\n\nResults:\n{}", crate::VERSION, root.text());
        }
    }
    Ok(root.worst().code())
}

fn look(files: &[PathBuf], skip: &[String], environment: &Environment) -> Check {
    let mut root = Check::new("Sealkeep Diagnose");
    let loaded = config::load(files, environment);
    let config = loaded.as_ref().ok().map(|(config, _)| config);
    root.add(machine::check(config));
    let parsed = root.add(Check::new("Parse Configuration"));
    let (findings, loaded) = match &loaded {
        Ok((config, warnings)) => (warnings, Some(config)),
        Err(findings) => (findings, None),
    };
    for finding in findings {
        match finding.weight {
            Weight::Error => parsed.fails(finding.to_string()),
            Weight::Warning => parsed.warns(finding.to_string()),
        }
    }
    // What a configuration that does not read would have said is not known.
    if let Some(config) = loaded {
        whole(&mut root, config, skip, environment);
    }
    root
}

fn whole(root: &mut Check, config: &Config, skip: &[String], environment: &Environment) {
    let skipped = |name: &str| skip.iter().any(|skipped| skipped == name);
    let mut add = |name: &str, skip: bool, check: &dyn Fn() -> Check| {
        root.add(if skip { Check::skipped(name, "Left out, as -skip says.") } else { check() });
    };
    add("Check Storage", skipped("storage"), &|| storage::check(&config.storage));
    add("Check Seal", skipped("autounseal"), &|| seal::check(config, environment));
    add("Start Listeners", skipped("listener"), &|| listeners::check(config));
    add("Check Addresses", false, &|| listeners::addresses(config));
    add("Check Audit Devices", false, &|| outputs::audits(config));
    add("Check Log And Pid File", false, &|| outputs::files(config));
}

#[cfg(test)]
mod tests {
    use super::tree::Status;
    use super::*;

    #[test]
    fn what_does_not_read_ends_the_looking() {
        let root = look(&[PathBuf::from("/nowhere/x.hcl")], &[], &Environment::default());
        assert_eq!(root.worst(), Status::Failure);
        let text = root.text();
        assert!(
            text.contains("Parse Configuration: /nowhere/x.hcl: cannot be read") && !text.contains("Storage"),
            "{text}"
        );
    }
}
