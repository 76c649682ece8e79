//! `certificate "name" { … }`: one certificate, its folder and its service. It is read and written here.

use std::{fmt::Write, net::IpAddr, path::PathBuf, time::Duration};

use crate::{
    agent::{
        deliver::{self, RELOAD_TIME_DEFAULT, Reload},
        disk::Owner,
        owner,
        pair::{KEY_KINDS, KeyKind, Names},
        post,
        probe::Place,
        schedule,
    },
    hcl::value::{Labelled, Stanza},
    paths,
    span::Span,
};

/// How long a service may take until it shows a new certificate.
pub(crate) const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);

/// One certificate and its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) name: String,
    pub(crate) names: Names,
    pub(crate) mount: String,
    pub(crate) role: String,
    pub(crate) ttl: Option<Duration>,
    /// The outage that it must survive; zero if nothing is asked.
    pub(crate) survive: Duration,
    pub(crate) folder: PathBuf,
    pub(crate) owner: Owner,
    pub(crate) key: KeyKind,
    pub(crate) reuse_key: bool,
    /// Whether the server's inventory is told who holds it and where it is served.
    pub(crate) report: bool,
    pub(crate) reloads: Vec<Reload>,
    pub(crate) places: Vec<Place>,
    /// How long a service may take until it shows a new certificate.
    pub(crate) patience: Duration,
}

/// Reads one stanza.
pub(super) fn read(found: Labelled) -> Result<Certificate, String> {
    let Labelled { labels, mut stanza } = found;
    let here = &mut stanza;
    let place = here.place.clone();
    let name =
        labels.first().cloned().ok_or_else(|| format!("{place}: it needs a name: certificate \"app\" {{"))?;
    let wrong = |why: String| format!("{place}: {why}");
    let names = names(here, &name)?;
    let ids = Owner {
        user: here.text("owner")?.map(|text| owner::user(&text)).transpose().map_err(wrong)?,
        group: here.text("group")?.map(|text| owner::group(&text)).transpose().map_err(wrong)?,
    };
    let kind = here.text("key_type")?.unwrap_or_else(|| "ec".to_owned());
    // What keys of ML-DSA have for a size is a parameter set, and so roles call it.
    let bits = here.number("key_bits")?.or(here.number("parameter_set")?).unwrap_or(0);
    let key = KeyKind::parse(&kind, bits).ok_or_else(|| {
        let size = if bits == 0 { String::new() } else { format!(" of size {bits}") };
        format!("{place}: key_type: there is no key {kind:?}{size}: there are {KEY_KINDS}")
    })?;
    let mut reloads = Vec::new();
    for found in here.stanzas("reload")? {
        reloads.extend(read_reload(found.stanza)?);
    }
    let mut places = Vec::new();
    let mut patience = PATIENCE_DEFAULT;
    for mut found in here.stanzas("verify")? {
        patience = found.stanza.span("timeout")?.unwrap_or(patience);
        places.extend(read_places(found.stanza, &names)?);
    }
    let certificate = Certificate {
        mount: paths::clean(&here.text("mount")?.unwrap_or_else(|| "pki".to_owned())),
        role: here.needed("role")?,
        ttl: here.span("ttl")?,
        survive: here.span("survive")?.unwrap_or(Duration::ZERO),
        folder: folder(here)?,
        owner: ids,
        key,
        reuse_key: here.flag("reuse_key")?.unwrap_or(false),
        report: here.flag("report")?.unwrap_or(true),
        reloads,
        places,
        patience,
        names,
        name,
    };
    stanza.finish()?;
    certificate.check_budget().map_err(wrong)?;
    Ok(certificate)
}

impl Certificate {
    /// Whether the life asked for can give the outage budget.
    pub(crate) fn check_budget(&self) -> Result<(), String> {
        if self.survive.is_zero() {
            return Ok(());
        }
        let written = |span: Duration| Span::from_seconds(span.as_secs() as i64).human();
        let needed = schedule::life_needed(self.survive);
        let (survive, needed_text) = (written(self.survive), written(needed));
        match self.ttl {
            None => Err(format!(
                "ttl is missing: to survive {survive} the certificate must live at least {needed_text}"
            )),
            Some(ttl) if ttl < needed => Err(format!(
                "a certificate that lives {} cannot survive an outage of {survive}: it must live at least {needed_text}; raise ttl (and max_ttl of the role), or lower survive",
                written(ttl)
            )),
            Some(_) => Ok(()),
        }
    }

    /// The stanza as HCL. The owner is kept apart: files hold the names that the user gave.
    pub(crate) fn hcl(&self, owner: &[(&str, String)]) -> String {
        let mut out = format!("certificate {} {{\n", quoted(&self.name));
        let mut line = |key: &str, value: String| {
            // Writing into a string cannot fail.
            let _ = writeln!(out, "  {key} = {value}");
        };
        let list = |texts: &[String]| {
            let parts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            format!("[{}]", parts.join(", "))
        };
        let seconds = |span: Duration| quoted(&Span::from_seconds(span.as_secs() as i64).human());
        line("mount", quoted(&self.mount));
        line("role", quoted(&self.role));
        if self.names.common != self.name {
            line("common_name", quoted(&self.names.common));
        }
        if !self.names.hosts.is_empty() {
            line("alt_names", list(&self.names.hosts));
        }
        if !self.names.addresses.is_empty() {
            let texts: Vec<String> = self.names.addresses.iter().map(ToString::to_string).collect();
            line("ip_sans", list(&texts));
        }
        if !self.names.uris.is_empty() {
            line("uri_sans", list(&self.names.uris));
        }
        let (kind, bits) = self.key.words();
        line("key_type", quoted(kind));
        if bits > 0 {
            line("key_bits", bits.to_string());
        }
        if self.reuse_key {
            line("reuse_key", "true".to_owned());
        }
        if !self.report {
            line("report", "false".to_owned());
        }
        if let Some(ttl) = self.ttl {
            line("ttl", seconds(ttl));
        }
        if !self.survive.is_zero() {
            line("survive", seconds(self.survive));
        }
        line("folder", quoted(&self.folder.display().to_string()));
        for (key, name) in owner {
            line(key, quoted(name));
        }
        for reload in &self.reloads {
            let _ = writeln!(out, "\n  reload {{ {} }}", reload_words(reload));
        }
        for place in &self.places {
            let _ = writeln!(out, "\n  verify {{\n    address = {}", quoted(&place.address));
            if place.server_name != self.names.common {
                let _ = writeln!(out, "    server_name = {}", quoted(&place.server_name));
            }
            if self.patience != PATIENCE_DEFAULT {
                let _ = writeln!(out, "    timeout = \"{}s\"", self.patience.as_secs());
            }
            out.push_str("  }\n");
        }
        out.push_str("}\n");
        out
    }
}

/// Text as HCL has it.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn names(here: &mut Stanza, name: &str) -> Result<Names, String> {
    let mut addresses = Vec::new();
    for text in here.list("ip_sans")? {
        let ip: IpAddr =
            text.parse().map_err(|_| format!("{}: ip_sans: {text:?} is no address", here.place))?;
        addresses.push(ip);
    }
    let names = Names {
        common: here.text("common_name")?.unwrap_or_else(|| name.to_owned()),
        hosts: here.list("alt_names")?,
        addresses,
        uris: here.list("uri_sans")?,
    };
    let common = &names.common;
    if common.is_empty() || common.chars().any(char::is_control) {
        return Err(format!("{}: common_name: {common:?} is no name", here.place));
    }
    let odd = |text: &&String| text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic());
    for (key, texts) in [("alt_names", &names.hosts), ("uri_sans", &names.uris)] {
        if let Some(text) = texts.iter().find(odd) {
            return Err(format!(
                "{}: {key}: {text:?} is no name for a certificate: it may hold no spaces, and letters beyond ASCII are written as xn--",
                here.place
            ));
        }
    }
    Ok(names)
}

fn folder(here: &mut Stanza) -> Result<PathBuf, String> {
    let folder = PathBuf::from(here.needed("folder")?);
    if folder.is_absolute() { Ok(folder) } else { Err(format!("{}: folder must begin with /", here.place)) }
}

fn read_reload(mut stanza: Stanza) -> Result<Vec<Reload>, String> {
    let place = stanza.place.clone();
    let time_max = stanza.span("timeout")?.unwrap_or(RELOAD_TIME_DEFAULT);
    let mut ways = Vec::new();
    if let Some(unit) = stanza.text("systemd")? {
        ways.push(Reload::Unit(unit));
    }
    if let Some(url) = stanza.text("http")? {
        post::check(&url).map_err(|why| format!("{place}: http: {why}"))?;
        ways.push(Reload::Http(url));
    }
    let signal = stanza.text("signal")?.unwrap_or_else(|| "HUP".to_owned());
    deliver::number(&signal).map_err(|why| format!("{place}: {why}"))?;
    if let Some(file) = stanza.text("pid_file")? {
        ways.push(Reload::Signal { signal, pid_file: PathBuf::from(file) });
    }
    let mut words = stanza.list("command")?;
    if let [line] = words.as_slice()
        && line.contains(' ')
    {
        words = ["/bin/sh", "-c", line.as_str()].map(str::to_owned).to_vec();
    }
    if let Some(program) = words.first() {
        if program.trim().is_empty() {
            return Err(format!("{place}: command is empty"));
        }
        ways.push(Reload::Command { words, time_max });
    }
    stanza.finish()?;
    match ways.len() {
        1 => Ok(ways),
        0 => Err(format!("{place}: it names no way: systemd, pid_file, command or http")),
        _ => Err(format!("{place}: it names several ways; write one stanza for each")),
    }
}

fn reload_words(reload: &Reload) -> String {
    match reload {
        Reload::Unit(unit) => format!("systemd = {}", quoted(unit)),
        Reload::Http(url) => format!("http = {}", quoted(url)),
        Reload::Signal { signal, pid_file } if signal == "HUP" => {
            format!("pid_file = {}", quoted(&pid_file.display().to_string()))
        }
        Reload::Signal { signal, pid_file } => {
            let file = quoted(&pid_file.display().to_string());
            format!("\n    signal = {}\n    pid_file = {file}\n ", quoted(signal))
        }
        Reload::Command { words, .. } => {
            let parts: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("command = [{}]", parts.join(", "))
        }
    }
}

fn read_places(mut stanza: Stanza, names: &Names) -> Result<Vec<Place>, String> {
    let addresses = stanza.list("address")?;
    let server_name = stanza.text("server_name")?.unwrap_or_else(|| names.common.clone());
    let places: Result<Vec<Place>, String> =
        addresses.iter().map(|address| Place::parse(address, &server_name)).collect();
    let places = places.map_err(|why| format!("{}: {why}", stanza.place))?;
    if places.is_empty() {
        return Err(format!("{}: address is missing", stanza.place));
    }
    stanza.finish()?;
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hcl::value;

    #[track_caller]
    fn check(text: &str) -> Certificate {
        let found = |text: &str| {
            value::read(text, "f").expect("HCL").stanza("certificate").expect("one").expect("a stanza")
        };
        let first = read(found(text)).expect("a certificate");
        let written = crate::hcl::format(&first.hcl(&[])).expect("HCL");
        assert_eq!(
            read(found(&written)).expect(&written),
            first,
            "what is written reads as what it was:\n{written}"
        );
        first
    }

    #[test]
    fn a_stanza_is_written_as_it_is_read() {
        let kind = |words: &str| {
            check(&format!("certificate \"a.b\" {{\n role = \"web\"\n folder = \"/d\"\n {words}\n}}")).key
        };
        let set = KeyKind::parse("ml-dsa-65", 0).expect("a kind");
        assert_eq!(
            [kind("key_type = \"ml-dsa-65\""), kind("key_type = \"ml-dsa\"\n parameter_set = 65")],
            [set; 2]
        );
        let plain = check("certificate \"a.b\" {\n role = \"web\"\n folder = \"/d\"\n}");
        assert_eq!((plain.mount.as_str(), plain.key, plain.reuse_key), ("pki", KeyKind::EcP256, false));
        let full = check(
            "certificate \"site\" {\n mount = \"team/pki/\"\n role = \"web\"\n common_name = \"a.b\"\n alt_names = [\"c.b\", \"d.b\"]\n \
             ip_sans = \"10.0.0.1\"\n uri_sans = [\"spiffe://a/b\"]\n key_type = \"rsa\"\n key_bits = 3072\n reuse_key = true\n report = false\n \
             ttl = \"100h\"\n survive = \"80h\"\n folder = \"/d\"\n reload { systemd = \"nginx\" }\n reload {\n signal = \"USR1\"\n \
             pid_file = \"/p\"\n }\n reload { command = \"nginx -c \\\"x y\\\" -s reload\" }\n reload { http = \"http://h/r\" }\n \
             reload { command = [\"/bin/true\"] }\n verify { address = [\"127.0.0.1:1\", \"[::1]:2\"] }\n verify {\n timeout = \"3s\"\n address = \"h:3\"\n \
             server_name = \"c.b\"\n }\n}",
        );
        assert_eq!((full.reloads.len(), full.places.len(), full.mount.as_str()), (5, 3, "team/pki"));
    }
}
