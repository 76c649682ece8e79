use std::collections::BTreeMap;

use kernel::AuditSpec;

use super::section::Section;

/// The types of audit device there are.
const KINDS: [&str; 4] = ["file", "socket", "syslog", "http"];

/// `audit "TYPE" "NAME" { description = …  options { … } }`; in JSON OpenBao knows `"audit": [{"type": …, "path": …}]` alone.
pub(super) fn read(section: &Section<'_>, allow_prefix: bool) -> Vec<AuditSpec> {
    let mut specs: BTreeMap<String, AuditSpec> = BTreeMap::new();
    for block in section.named_blocks("audit", &["type", "path"]) {
        let [kind, name] = block.labels.as_slice() else { continue };
        let device = block.section;
        let path = format!("{}/", name.trim_matches('/'));
        let options = device.pairs("options");
        device.ignore(&["local"], "there is one node for now");
        let description = device.text("description").unwrap_or_default();
        let spec = AuditSpec { kind: (*kind).to_owned(), path: path.clone(), description, options };
        match spec.check(allow_prefix) {
            Ok(()) => {}
            Err(_) if !KINDS.contains(kind) => {
                let text = format!("there is no audit device \"{kind}\": take \"{}\"", KINDS.join("\", \""));
                device.error("type", &text);
            }
            Err(_)
                if *kind == "file"
                    && !spec.options.contains_key("file_path")
                    && !spec.options.contains_key("path") =>
            {
                device.error(
                    "options",
                    "say where to write: options { file_path = \"/var/log/sealkeep/audit.log\" }",
                );
            }
            Err(why) => device.error("options", &why),
        }
        if specs.insert(path, spec).is_some() {
            device.error(
                "options",
                &format!("a second audit device is named \"{name}\": give it a name of its own"),
            );
        }
        device.close();
    }
    specs.into_values().collect()
}
