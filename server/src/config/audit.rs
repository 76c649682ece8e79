use std::collections::BTreeMap;

use kernel::AuditSpec;

use super::section::Section;

/// `audit "TYPE" "NAME" { description = …  options { … } }`
pub(super) fn read(section: &Section<'_>) -> Vec<AuditSpec> {
    let mut specs: BTreeMap<String, AuditSpec> = BTreeMap::new();
    for block in section.blocks("audit", 2) {
        let [kind, name] = block.labels.as_slice() else { continue };
        let device = block.section;
        let path = format!("{}/", name.trim_matches('/'));
        if *kind != "file" {
            device.error("type", &format!("there is no audit device \"{kind}\": take \"file\""));
        }
        let options = device.pairs("options");
        if !options.contains_key("file_path") && !options.contains_key("path") {
            device.error(
                "options",
                "say where to write: options { file_path = \"/var/log/sealkeep/audit.log\" }",
            );
        }
        device.ignore(&["local"], "there is one node for now");
        let description = device.text("description").unwrap_or_default();
        let spec = AuditSpec { kind: (*kind).to_owned(), path: path.clone(), description, options };
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
