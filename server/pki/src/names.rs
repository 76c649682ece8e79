//! Which names a role lets a certificate bear. A refusal says which rule of the role refused.

use kit::{Caller, Reads};
use policy::{Subject, Unrendered, render};
use x509::{is_hostname, is_hostname_or_wildcard, to_ascii};

use super::role::Role;
use super::rules::{CommonNames, Rules};
use kit::glob;

/// Why a name may not stand in a certificate: the end of a sentence that began with the name.
pub(super) type Refusal = String;

/// For whom names are judged, and what templates of a role are filled in with.
pub(super) struct Who<'a> {
    display_name: &'a str,
    /// Nothing, where identity does not know the caller.
    subject: Option<Subject>,
    namespace: &'a str,
    /// In nanoseconds since 1970.
    now: u64,
}

impl<'a> Who<'a> {
    /// A caller of this mount.
    pub(super) fn of(caller: &'a Caller, cx: &'a impl Reads) -> Self {
        Self {
            display_name: &caller.display_name,
            subject: caller.entity.as_ref().map(kit::Entity::subject),
            namespace: &cx.mount().namespace,
            now: cx.now().0,
        }
    }
}

/// The first directive in a pattern that nobody can have a value for; all of it, where its braces do not pair up.
pub(super) fn unknown_directive(pattern: &str) -> Option<&str> {
    let mut rest = pattern;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((path, tail)) = after.split_once("}}") else { return Some(pattern) };
        let known = ["identity.entity.", "identity.groups.", "time."];
        if !known.iter().any(|known| path.trim().starts_with(known)) {
            return Some(path.trim());
        }
        rest = tail;
    }
    rest.contains("}}").then_some(pattern)
}

/// Whether the role allows it as a common name.
pub(super) fn judge_common_name(rules: &Rules, who: &Who<'_>, name: &str) -> Result<(), Refusal> {
    let CommonNames::Checked { email, hostname } = rules.common_names else { return Ok(()) };
    judge(rules, who, name)?;
    match name.contains('@') {
        true if !email => Err("cn_validations does not allow email".to_owned()),
        false if !hostname => Err("cn_validations does not allow hostname".to_owned()),
        _ => Ok(()),
    }
}

/// Whether the role allows it as a host name or a mail address.
pub(super) fn judge(rules: &Rules, who: &Who<'_>, name: &str) -> Result<(), Refusal> {
    let role = &rules.role;
    let asked = Asked::read(name)?;
    if asked.is_wildcard() && !role.allow_wildcard_certificates {
        return Err("allow_wildcard_certificates is false".to_owned());
    }
    if role.enforce_hostnames {
        asked.is_well_formed()?;
    }
    if role.allow_any_name
        || (role.allow_localhost && asked.is_local(role.allow_subdomains))
        || (role.allow_token_displayname && asked.is_called(who.display_name, role.allow_subdomains))
    {
        return Ok(());
    }
    let domains = role.allowed_domains.iter().filter(|domain| !domain.is_empty());
    let filled = domains.filter_map(|domain| fill(role.allowed_domains_template, domain, who));
    for domain in filled {
        if asked.falls_under(role, &domain) {
            return Ok(());
        }
    }
    Err(asked.why_outside(role))
}

/// Whether the role allows a URI.
pub(super) fn judge_uri(role: &Role, who: &Who<'_>, uri: &str) -> Result<(), Refusal> {
    let mut patterns =
        role.allowed_uri_sans.iter().filter_map(|pattern| fill(role.allowed_uri_sans_template, pattern, who));
    // Of a SPIFFE id, the path has one case alone.
    match patterns.any(|pattern| pattern.is_own(role) && glob::fits(&pattern.text, uri)) {
        true => Ok(()),
        false => Err(format!("{uri} fits none of allowed_uri_sans [{}]", role.allowed_uri_sans.join(" "))),
    }
}

/// A name taken apart.
struct Asked<'a> {
    whole: &'a str,
    /// The domain without mailbox and wildcard label.
    domain: &'a str,
    email: bool,
    /// The label that holds the wildcard.
    wildcard: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn read(name: &'a str) -> Result<Self, Refusal> {
        let (email, host) = match name.split_once('@') {
            None => (false, name),
            Some((mailbox, host)) if !host.contains('@') && !mailbox.is_empty() => (true, host),
            Some(_) => {
                return Err("it is no mail address: one @ has to stand between mailbox and domain".to_owned());
            }
        };
        if !host.contains('*') {
            return Ok(Self { whole: name, domain: host, email, wildcard: None });
        }
        if email {
            return Err("a mail address has no wildcard".to_owned());
        }
        let (label, rest) = host.split_once('.').unwrap_or((host, ""));
        match label.contains('*') && label.matches('*').count() == 1 && !rest.contains('*') {
            true => Ok(Self { whole: name, domain: rest, email, wildcard: Some(label) }),
            false => Err("one wildcard is allowed, in the first label (RFC 6125)".to_owned()),
        }
    }

    fn is_wildcard(&self) -> bool {
        self.wildcard.is_some()
    }

    fn is_well_formed(&self) -> Result<(), Refusal> {
        let wrong = || {
            let kind = if self.email {
                "the domain of the mail address is no host name"
            } else {
                "it is no host name"
            };
            format!("{kind}, which enforce_hostnames demands")
        };
        if let Some(label) = self.wildcard
            && !is_hostname_or_wildcard(&format!("{label}.x"))
        {
            return Err(wrong());
        }
        let ascii = to_ascii(self.domain).map_err(|e| e.to_string())?;
        if is_hostname(&ascii) { Ok(()) } else { Err(wrong()) }
    }

    fn is_local(&self, subdomains: bool) -> bool {
        ["localhost", "localdomain"].iter().any(|local| {
            self.domain == *local && (subdomains || !self.is_wildcard())
                || subdomains && below(self.domain, local)
        })
    }

    fn is_called(&self, display_name: &str, subdomains: bool) -> bool {
        !display_name.is_empty()
            && (self.whole == display_name || subdomains && below(self.domain, display_name))
    }

    fn falls_under(&self, role: &Role, filled: &Filled) -> bool {
        let domain = filled.text.as_str();
        let bare =
            self.whole.eq_ignore_ascii_case(domain) || self.email && self.domain.eq_ignore_ascii_case(domain);
        // Bare domains fit in any case and subdomains in their own, as in Vault, whose roles people bring along.
        let subdomain = below(self.domain, domain) || self.is_wildcard() && self.domain == domain;
        role.allow_bare_domains && bare
            || role.allow_subdomains && subdomain
            || role.allow_glob_domains && domain.contains('*') && filled.fits_glob(role, self.whole)
    }

    fn why_outside(&self, role: &Role) -> Refusal {
        if role.allowed_domains.is_empty() {
            return "the role has no allowed_domains, and allow_any_name is false".to_owned();
        }
        let domains = role.allowed_domains.join(" ");
        let named = |domain: &&String| self.whole.eq_ignore_ascii_case(domain);
        let lower = self.domain.to_lowercase();
        let under =
            |domain: &&String| below(&lower, &domain.to_lowercase()) || lower == domain.to_lowercase();
        if role.allowed_domains.iter().any(|domain| named(&domain)) && !role.allow_bare_domains {
            return "it is one of allowed_domains itself, and allow_bare_domains is false".to_owned();
        }
        if role.allowed_domains.iter().any(|domain| under(&domain)) && !role.allow_subdomains {
            return "it lies below one of allowed_domains, and allow_subdomains is false".to_owned();
        }
        if role.allow_subdomains
            && lower != self.domain
            && role.allowed_domains.iter().any(|domain| under(&domain))
        {
            return format!(
                "it lies below one of allowed_domains [{domains}], but is written in another case"
            );
        }
        if role.allowed_domains.iter().any(|domain| domain.contains('*')) && !role.allow_glob_domains {
            return format!("allowed_domains [{domains}] holds patterns, and allow_glob_domains is false");
        }
        format!("it falls under none of allowed_domains [{domains}]")
    }
}

/// Whether `name` ends in a dot and `domain`.
fn below(name: &str, domain: &str) -> bool {
    let cut = name.len().checked_sub(domain.len()).filter(|cut| *cut > 1);
    let split = cut.and_then(|cut| Some((name.get(..cut)?, name.get(cut..)?)));
    split.is_some_and(|(head, tail)| head.ends_with('.') && tail == domain)
}

/// A pattern of a role, its template filled in.
struct Filled {
    text: String,
    /// A `*` came out of the caller's identity.
    foreign_star: bool,
}

impl Filled {
    /// Whether each star in it may stand for any text.
    fn is_own(&self, role: &Role) -> bool {
        !self.foreign_star || role.allow_globs_in_identity_templates
    }

    fn fits_glob(&self, role: &Role, text: &str) -> bool {
        self.is_own(role) && glob::fits(&self.text.to_lowercase(), &text.to_lowercase())
    }
}

/// Fills what is known of the caller in. `None` when the caller has no such thing: a template that leads nowhere allows
/// nothing.
fn fill(templates: bool, pattern: &str, who: &Who<'_>) -> Option<Filled> {
    if !templates || !pattern.contains("{{") {
        return Some(Filled { text: pattern.to_owned(), foreign_star: false });
    }
    let subject = who.subject.as_ref()?;
    let render = |forbidden: &[char]| render(pattern, subject, who.namespace, who.now, forbidden);
    match render(&['*']) {
        Ok(text) => Some(Filled { text, foreign_star: false }),
        Err(Unrendered::Forbidden(_)) => Some(Filled { text: render(&[]).ok()?, foreign_star: true }),
        Err(Unrendered::Unbalanced | Unrendered::Missing) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Role);

    #[track_caller]
    fn check(change: Change, name: &str, expect: Result<(), &str>) {
        let mut role = Role { allowed_domains: vec!["example.com".into()], ..Role::default() };
        change(&mut role);
        let entity = kit::Entity {
            id: "e1".into(),
            name: "ann".into(),
            metadata: [("team".to_owned(), "*".to_owned())].into(),
            ..kit::Entity::default()
        };
        let who = Who { display_name: "token-ann", subject: Some(entity.subject()), namespace: "", now: 0 };
        let judged = judge_common_name(&Rules::of(&role).unwrap(), &who, name);
        match (&judged, expect) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) if why.contains(part) => {}
            _ => panic!("{name}: {judged:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn domains_and_their_flags() {
        check(|_| {}, "example.com", Err("allow_bare_domains is false"));
        check(|role| role.allow_bare_domains = true, "example.com", Ok(()));
        check(|role| role.allow_bare_domains = true, "EXAMPLE.com", Ok(()));
        check(|role| role.allow_bare_domains = true, "a@example.com", Ok(()));
        check(|_| {}, "a.example.com", Err("allow_subdomains is false"));
        let subdomains: Change = |role| role.allow_subdomains = true;
        check(subdomains, "a.b.example.com", Ok(()));
        check(subdomains, "a@x.example.com", Ok(()));
        check(subdomains, "*.example.com", Ok(()));
        check(subdomains, "a*.b.example.com", Ok(()));
        check(subdomains, "example.com", Err("allow_bare_domains"));
        check(subdomains, "A.Example.COM", Err("written in another case"));
        check(subdomains, "badexample.com", Err("falls under none of allowed_domains [example.com]"));
        check(subdomains, "example.com.evil.org", Err("falls under none"));
        check(subdomains, ".example.com", Err("host name"));
        check(subdomains, "a@b@x.example.com", Err("no mail address"));
        check(subdomains, "*.*.example.com", Err("one wildcard"));
        check(subdomains, "a.*.example.com", Err("one wildcard"));
        check(subdomains, "*", Err("no host name"));
        check(subdomains, "a@*.example.com", Err("no wildcard"));
        check(subdomains, "a_b.example.com", Err("enforce_hostnames"));
        check(subdomains, "a\0.example.com", Err("enforce_hostnames"));
        check(subdomains, "a .example.com", Err("enforce_hostnames"));
    }

    #[test]
    fn flags_take_precedence_over_any_name() {
        let any: Change = |role| role.allow_any_name = true;
        check(any, "whatever.org", Ok(()));
        for name in ["no host", "*", "*.", "a@"] {
            check(any, name, Err("enforce_hostnames"));
        }
        let unforced: Change = |role| (role.allow_any_name, role.enforce_hostnames) = (true, false);
        check(unforced, "no host", Ok(()));
        let tame: Change = |role| (role.allow_any_name, role.allow_wildcard_certificates) = (true, false);
        check(tame, "*.whatever.org", Err("allow_wildcard_certificates is false"));
    }

    #[test]
    fn localhost_and_globs() {
        check(|_| {}, "localhost", Ok(()));
        check(|_| {}, "a.localhost", Err("falls under none"));
        check(|role| role.allow_subdomains = true, "a.localdomain", Ok(()));
        check(|role| role.allow_localhost = false, "localhost", Err("falls under none"));
        let glob: Change = |role| {
            role.allow_glob_domains = true;
            role.allowed_domains = vec!["ftp*.example.com".into()];
        };
        check(glob, "ftp7.example.com", Ok(()));
        check(glob, "http.example.com", Err("falls under none"));
        check(
            |role| role.allowed_domains = vec!["ftp*.x".into()],
            "ftp1.x",
            Err("allow_glob_domains is false"),
        );
        check(|role| role.allowed_domains = vec![], "a.b", Err("no allowed_domains"));
    }

    #[test]
    fn templates_are_filled_from_the_caller() {
        let template: Change = |role| {
            role.allowed_domains_template = true;
            role.allow_bare_domains = true;
            role.allowed_domains = vec!["{{identity.entity.name}}.example.com".into()];
        };
        check(template, "ann.example.com", Ok(()));
        check(template, "bob.example.com", Err("falls under none"));
        let unknown: Change = |role| {
            role.allowed_domains_template = true;
            role.allow_glob_domains = true;
            role.allowed_domains = vec!["{{identity.entity.metadata.none}}*".into()];
        };
        check(unknown, "x.org", Err("falls under none"));
        let star: Change = |role| {
            role.allowed_domains_template = true;
            role.allow_glob_domains = true;
            role.allowed_domains = vec!["{{identity.entity.metadata.team}}.example.com".into()];
        };
        check(star, "any.example.com", Err("falls under none"));
    }

    #[test]
    fn directives_that_nobody_has_are_known() {
        for good in
            ["example.com", "{{identity.entity.aliases.a.name}}.x", "{{ identity.groups.names.g.id }}"]
        {
            assert_eq!(unknown_directive(good), None, "{good}");
        }
        assert_eq!(unknown_directive("{{token.name}}.x"), Some("token.name"));
        for odd in ["{{identity.entity.name", "identity.entity.name}}"] {
            assert_eq!(unknown_directive(odd), Some(odd));
        }
    }

    #[test]
    fn kinds_of_common_names() {
        let hosts: Change = |role| {
            role.allow_any_name = true;
            role.cn_validations = vec!["hostname".into()];
        };
        check(hosts, "a@b.c", Err("cn_validations does not allow email"));
        check(|role| role.cn_validations = vec!["disabled".into()], "O'Neill & Sons", Ok(()));
    }
}
