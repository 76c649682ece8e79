//! Issuing leaves: with a key that is made here, or for the key of a request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use kit::loose::{Flag, Number, Text, Texts};
use kit::{Caller, Command, Error, Reads, Reply, Result, Route, Writing};
use x509::{
    AltNames, Extensions, Family, KeyShape, KeyUsage, PrivateKey, PublicKey, Request, Scheme, Serial,
    Subject, Template, Validity,
};

use super::Pki;
use super::authorities::{Authorities, DEFAULT, Issuer, authorities, refused};
use super::certify::{Decided, Signer};
use super::fields::{Asked, key_shape, leaf_operation};
use super::lint::NOBODY;
use super::names::{self, Who};
use super::reply::{Issued, chain};
use super::revoke::RevokeLeased;
use super::role::Role;
use super::rules::{OtherNames, Rules, rules};
use super::store::{new_serial, owner};
use super::urls::urls_of_leaf;
use super::{above, lifetime, requests, signers};

leaf_operation! {
    /// Makes a key and issues a certificate for it. The key is not kept: this answer is the only place it is shown.
    Issue {
        /// Name of the role.
        role: String,
        /// The size of the key, where the role leaves it open.
        key_bits: Option<Number>,
        /// The type of the key, where the role leaves it open.
        key_type: Option<Text>,
        /// The size of an ML-DSA key, where the role leaves it open: `44`, `65` or `87`.
        parameter_set: Option<Text>,
    }
}

leaf_operation! {
    /// Issues a certificate for the key of a CSR, under the rules of a role.
    Sign {
        /// Name of the role.
        role: String,
        /// The certificate signing request, in PEM.
        csr: Option<Text>,
    }
}

leaf_operation! {
    /// Issues a certificate that says what a CSR says, bound by no names of a role. Grant it with care.
    SignVerbatim {
        /// Name of a role, of which lifetimes and storage count.
        role: Option<Text>,
        /// The certificate signing request, in PEM.
        csr: Option<Text>,
        /// Whether the certificate says expressly that it is no CA.
        basic_constraints_valid_for_non_ca: Option<Flag>,
        /// Purposes by name, where the CSR asks for none.
        ext_key_usage: Option<Texts>,
        /// Purposes by number, where the CSR asks for none.
        ext_key_usage_oids: Option<Texts>,
        /// What the key may be used for, where the CSR does not say.
        key_usage: Option<Texts>,
        /// The digest an RSA issuer signs with: 256, 384, 512, or 0 for the default.
        signature_bits: Option<Number>,
        /// Whether an RSA issuer signs with PSS.
        use_pss: Option<Flag>,
    }
}

const ISSUE_ROUTES: [Route; 2] =
    [Route::post("issue/{role}"), Route::post("issuer/{issuer_ref}/issue/{role}")];
const SIGN_ROUTES: [Route; 2] = [Route::post("sign/{role}"), Route::post("issuer/{issuer_ref}/sign/{role}")];
const VERBATIM_ROUTES: [Route; 4] = [
    Route::post("sign-verbatim"),
    Route::post("sign-verbatim/{role}"),
    Route::post("issuer/{issuer_ref}/sign-verbatim"),
    Route::post("issuer/{issuer_ref}/sign-verbatim/{role}"),
];

/// The place of the routes whose path names the issuer.
const BY_ISSUER: usize = 1;
/// The place of the route whose path names a role and no issuer.
const VERBATIM_BY_ROLE: usize = 1;

/// The issuer of a role. Where the path names no other, the role decides, whatever the body says: else who may use a
/// role could choose an issuer that the role was not made for.
fn issuer_of_role<'a>(rules: &'a Rules, asked: &Asked, cx: &impl Reads) -> &'a str {
    let own = match rules.role.issuer_ref.as_str() {
        "" => DEFAULT,
        reference => reference,
    };
    if let Some(other) = asked.issuer_ref.as_deref().filter(|other| *other != own && *other != DEFAULT) {
        cx.warn(format!(
            "issuer_ref {other} was ignored, since the role issues by {own}; use issuer/{other}/… to choose another issuer"
        ));
    }
    own
}

impl<const AT: usize> Command<Pki> for Issue<AT> {
    const ROUTE: Route = ISSUE_ROUTES[AT];
    type Reply = Issued;

    fn run(mut self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Issued>> {
        let asked = self.take_asked()?;
        let found = known_role(cx, &self.role)?;
        let rules = (*found).as_ref().ok_or_else(|| unknown_role(&self.role))?;
        let shape = self.key_shape(rules, cx)?;
        let authorities = authorities(cx)?;
        let reference = if AT == BY_ISSUER { asked.issuer() } else { issuer_of_role(rules, &asked, cx) };
        let leaf = Leaf::begin(reference, &asked, rules, &authorities, cx)?.under(&self.role);
        let (subject, names) = decide_names(rules, cx.caller(), &asked, None, cx)?;
        if shape.family == Family::Rsa {
            cx.costly()?;
        }
        let key = cx.once(|| PrivateKey::generate(shape).map(Arc::new).map_err(refused))?;
        let extensions = leaf.extensions(rules, key.public(), &names, &subject, cx)?;
        leaf.issue(cx, &asked, rules, subject.to_der().map_err(refused)?, extensions, Holder::Made(&key))
    }
}

impl<const AT: usize> Issue<AT> {
    fn key_shape(&self, rules: &Rules, cx: &impl Reads) -> Result<KeyShape> {
        let asked = self.key_type.is_some() || self.key_bits.is_some();
        if let Some(shape) = rules.key_shape {
            if asked {
                cx.warn("parameters key_type and key_bits ignored as role had specific values");
            }
            return Ok(shape);
        }
        if !asked {
            return Err(Error::invalid(
                "role key type \"any\" not allowed for issuing certificates without providing key_type and/or key_bits request parameters",
            ));
        }
        let key_type = self.key_type.as_ref().map_or("rsa", |text| text.0.as_str());
        let bits = u64::try_from(self.key_bits.unwrap_or_default().0).unwrap_or(0);
        let set = self.parameter_set.as_ref().map_or("", |text| text.0.as_str());
        key_shape(key_type, bits, set)
    }
}

impl<const AT: usize> Command<Pki> for Sign<AT> {
    const ROUTE: Route = SIGN_ROUTES[AT];
    type Reply = Issued;

    fn run(mut self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Issued>> {
        let asked = self.take_asked()?;
        let found = known_role(cx, &self.role)?;
        let rules = (*found).as_ref().ok_or_else(|| unknown_role(&self.role))?;
        let request = requests::leaf(self.csr)?;
        check_key(rules, request.public_key().shape())?;
        let authorities = authorities(cx)?;
        let reference = if AT == BY_ISSUER { asked.issuer() } else { issuer_of_role(rules, &asked, cx) };
        let leaf = Leaf::begin(reference, &asked, rules, &authorities, cx)?.under(&self.role);
        let (subject, names) = decide_names(rules, cx.caller(), &asked, Some(&request), cx)?;
        let extensions = leaf.extensions(rules, request.public_key(), &names, &subject, cx)?;
        let holder = Holder::Asks(request.public_key());
        leaf.issue(cx, &asked, rules, subject.to_der().map_err(refused)?, extensions, holder)
    }
}

impl<const AT: usize> Command<Pki> for SignVerbatim<AT> {
    const ROUTE: Route = VERBATIM_ROUTES[AT];
    type Reply = Issued;

    fn run(mut self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Issued>> {
        let asked = self.take_asked()?;
        let rules = self.rules(cx)?;
        let request = requests::leaf(self.csr.take())?;
        let authorities = authorities(cx)?;
        let reference =
            if AT == VERBATIM_BY_ROLE { issuer_of_role(&rules, &asked, cx) } else { asked.issuer() };
        let role = self.role.as_ref().map_or("", |role| role.0.as_str());
        let leaf = Leaf::begin(reference, &asked, &rules, &authorities, cx)?.under(role);
        let extensions = leaf.verbatim_extensions(&rules, &request, cx)?;
        if !asked.names.common_name.is_empty() {
            cx.warn(NAME_OF_REQUEST);
        }
        let holder = Holder::Asks(request.public_key());
        leaf.issue(cx, &asked, &rules, request.subject_der().to_vec(), extensions, holder)
    }
}

impl<const AT: usize> SignVerbatim<AT> {
    /// The rules that count: lifetimes, storage and issuer of the role, if one is named, and nothing of its names.
    fn rules(&self, cx: &impl Reads) -> Result<Rules> {
        let named = self.role.as_ref().map(|text| text.0.as_str()).filter(|name| !name.is_empty());
        let role = match named {
            None => Role::default(),
            Some(name) => match &*known_role(cx, name)? {
                Some(rules) => rules.role.clone(),
                None => return Err(unknown_role(name)),
            },
        };
        let texts = |given: &Option<Texts>| given.clone().map(|texts| texts.0);
        Rules::of(&Role {
            key_type: "any".to_owned(),
            key_bits: 0,
            key_usage: texts(&self.key_usage).unwrap_or(Role::default().key_usage),
            ext_key_usage: texts(&self.ext_key_usage).unwrap_or_default(),
            ext_key_usage_oids: texts(&self.ext_key_usage_oids).unwrap_or_default(),
            basic_constraints_valid_for_non_ca: self.basic_constraints_valid_for_non_ca.unwrap_or_default().0,
            signature_bits: super::fields::unsigned(self.signature_bits),
            use_pss: self.use_pss.unwrap_or_default().0,
            server_flag: false,
            client_flag: false,
            ..role
        })
    }
}

fn known_role(cx: &impl Reads, name: &str) -> Result<Arc<Option<Rules>>> {
    rules(cx, name)?.ok_or_else(|| unknown_role(name))
}

fn unknown_role(name: &str) -> Error {
    Error::invalid(format!("unknown role: {name}"))
}

/// Refuses keys of another kind than the role wants, and smaller ones.
pub(super) fn check_key(rules: &Rules, shape: KeyShape) -> Result<()> {
    let Some(wanted) = rules.key_shape else { return Ok(()) };
    if wanted.family != shape.family {
        return Err(Error::invalid(format!("role requires keys of type {}", wanted.family.name())));
    }
    if shape.family == Family::MlDsa && shape.bits < wanted.bits {
        return Err(Error::invalid(format!(
            "role requires keys of type {wanted} at least, and this is {shape}"
        )));
    }
    if shape.bits < wanted.bits {
        return Err(Error::invalid(format!(
            "role requires a minimum of a {}-bit key, but CSR's key is {} bits",
            wanted.bits, shape.bits
        )));
    }
    Ok(())
}

/// Whose key is certified.
pub(super) enum Holder<'a> {
    /// A new key, which the answer shows.
    Made(&'a PrivateKey),
    /// The key of a request.
    Asks(&'a PublicKey),
}

impl Holder<'_> {
    /// The key.
    pub(super) fn public(&self) -> &PublicKey {
        match self {
            Self::Made(key) => key.public(),
            Self::Asks(key) => key,
        }
    }
}

/// A leaf on its way: who signs it, how, and until when.
pub(super) struct Leaf<'a> {
    authorities: &'a Authorities,
    issuer: &'a Issuer,
    key: &'a PrivateKey,
    scheme: Scheme,
    pub(super) validity: Validity,
    pub(super) serial: Serial,
    /// The role's name, for the record.
    role: String,
}

impl<'a> Leaf<'a> {
    /// Decides who signs, and until when it holds.
    pub(super) fn begin(
        reference: &str,
        asked: &Asked,
        rules: &Rules,
        authorities: &'a Authorities,
        cx: &Writing<'_>,
    ) -> Result<Self> {
        let (issuer, key) = authorities.signer(reference)?;
        let scheme = issuer.scheme(rules.role.signature_bits, rules.padding)?;
        let validity = lifetime::of_leaf(&asked.lifetime, rules, issuer, cx)?;
        let serial = new_serial(cx);
        Ok(Self { authorities, issuer, key, scheme, validity, serial, role: String::new() })
    }

    /// Under the role of this name.
    pub(super) fn under(self, role: &str) -> Self {
        Self { role: role.to_owned(), ..self }
    }

    /// What it says beside its subject.
    pub(super) fn extensions(
        &self,
        rules: &Rules,
        key: &PublicKey,
        names: &AltNames,
        subject: &Subject,
        cx: &impl Reads,
    ) -> Result<Extensions> {
        let purposes = above::purposes(&rules.purposes, self.authorities, self.issuer, cx.now());
        if let Cow::Owned(given) = &purposes {
            above::tell(&rules.purposes, given, cx);
        }
        let mut extensions =
            Extensions::new().key_usage(usable(rules.key_usage, key)?).ext_key_usage(&purposes);
        if rules.role.basic_constraints_valid_for_non_ca {
            extensions = extensions.not_an_authority();
        }
        let subject_is_empty = *subject == Subject::default();
        let extensions = self.keyed(extensions, key);
        let extensions = self.with_urls(extensions, rules, cx)?;
        extensions
            .alt_names(names, subject_is_empty)
            .and_then(|extensions| extensions.policies(&rules.policies))
            .map_err(refused)
    }

    /// What the request asks for, and where it is silent, what the parameters say.
    fn verbatim_extensions(&self, rules: &Rules, request: &Request, cx: &impl Reads) -> Result<Extensions> {
        let usage = usable(rules.key_usage, request.public_key())?;
        let mut extensions = Extensions::new().key_usage(usage).ext_key_usage(&rules.purposes);
        if rules.role.basic_constraints_valid_for_non_ca {
            extensions = extensions.not_an_authority();
        }
        for extension in request.extensions().iter() {
            extension.check_shape().map_err(refused)?;
            extensions = extensions.with(extension.oid, extension.critical, extension.value.clone());
        }
        if request.subject_der() == NOBODY {
            extensions = extensions.critical_names();
        }
        let extensions = self.keyed(extensions, request.public_key());
        self.with_urls(extensions, rules, cx)
    }

    fn keyed(&self, extensions: Extensions, key: &PublicKey) -> Extensions {
        let own = self.issuer.certificate.subject_key_id();
        let authority = own.unwrap_or_else(|| self.issuer.certificate.public_key().key_id());
        extensions.subject_key_id(&key.key_id()).authority_key_id(&authority)
    }

    fn with_urls(&self, extensions: Extensions, rules: &Rules, cx: &impl Reads) -> Result<Extensions> {
        let mut urls = urls_of_leaf(self.issuer, &self.serial, cx)?;
        if rules.role.no_store {
            // Of what has no record the responder knows nothing, and whoever asked it would refuse the certificate.
            urls.ocsp_servers.clear();
        }
        urls.into_extensions(extensions)
    }

    /// What will be signed.
    pub(super) fn decided<'t>(
        &'t self,
        subject: &'t [u8],
        key: &'t PublicKey,
        extensions: &'t Extensions,
    ) -> Decided<'t> {
        let validity = self.validity;
        let template = Template { serial: &self.serial, validity, subject, public_key: key, extensions };
        let signer = Signer::Issuer(self.authorities, self.issuer, self.key);
        Decided { template, signer, scheme: self.scheme }
    }

    /// Records, signs and answers, all in one transaction.
    pub(super) fn issue(
        self,
        cx: &mut Writing<'_>,
        asked: &Asked,
        rules: &Rules,
        subject: Vec<u8>,
        extensions: Extensions,
        holder: Holder<'_>,
    ) -> Result<Reply<Issued>> {
        let made = match holder {
            Holder::Made(key) => Some(key),
            Holder::Asks(_) => None,
        };
        let Validity { not_before, not_after } = self.validity;
        let decided = self.decided(&subject, holder.public(), &extensions);
        let der = match rules.role.no_store {
            true => {
                signers::note_unrecorded(cx, self.issuer)?;
                decided.issue_unrecorded(cx)?
            }
            false => decided.issue(cx, &self.role, owner(cx.caller()))?,
        };
        let above = self.authorities.chain(self.issuer, cx.now());
        let chain = chain(&above, asked.format, asked.remove_roots);
        let certificate = asked.format.show(x509::pem::CERTIFICATE, &der);
        let reply = Issued {
            certificate: asked.format.bundle(certificate, made, &chain)?,
            ca_chain: chain,
            expiration: not_after,
            issuing_ca: asked.format.show_issuer(self.issuer),
            not_before,
            private_key: made.map(|key| asked.format.show_key(key)).transpose()?,
            private_key_type: made.map(|key| key.public().shape().family.name()),
            serial_number: self.serial.colons(),
        };
        if rules.role.generate_lease && !rules.role.no_store {
            let ttl = Duration::from_secs(not_after.saturating_sub(cx.now().seconds()));
            cx.lease::<Pki, _>(ttl, Some(ttl), &RevokeLeased { serial_number: self.serial.colons() })?;
        }
        Ok(Reply::Data(reply))
    }
}

/// The usages of the role that a key of this kind can have. A role that leaves it none is refused, since no usage named
/// would mean every usage.
fn usable(usage: KeyUsage, key: &PublicKey) -> Result<KeyUsage> {
    let family = key.shape().family;
    match usage.fitting(family) {
        KeyUsage::NONE if usage != KeyUsage::NONE => Err(Error::invalid(format!(
            "keys of type {} can have none of the role's key_usage [{}]; add DigitalSignature, or use another key_type",
            family.name(),
            usage.names().join(" ")
        ))),
        fitting => Ok(fitting),
    }
}

/// The subject and the alternative names, each judged by the role.
pub(super) fn decide_names(
    rules: &Rules,
    caller: &Caller,
    asked: &Asked,
    request: Option<&Request>,
    cx: &impl Reads,
) -> Result<(Subject, AltNames)> {
    let role = &rules.role;
    let common_name = common_name(role, asked, request, cx)?;
    let mut names = match request.filter(|_| role.use_csr_sans) {
        Some(request) => requests::names(request, asked, cx)?,
        None => asked.names.alternative()?,
    };
    let provenance = if request.is_some() && role.use_csr_sans { "via CSR" } else { "via the API" };
    asked.names.add_common_name(&common_name, &mut names)?;
    names.dedup();
    let who = Who::of(caller, cx);
    if !common_name.is_empty() {
        names::judge_common_name(rules, &who, &common_name).map_err(|why| {
            Error::invalid(format!("common name {common_name} not allowed by this role: {why}"))
        })?;
    }
    judge_alternatives(rules, &who, &names, provenance)?;
    let subject = Subject {
        common_name,
        serial_number: serial_number(role, asked, request)?,
        user_ids: user_ids(role, asked, request)?,
        ..role.subject()
    };
    Ok((subject, names))
}

/// A name was given that counts for nothing.
const NAME_OF_REQUEST: &str =
    "the common_name field was provided but the role is set with \"use_csr_common_name\" set to true";

fn common_name(role: &Role, asked: &Asked, request: Option<&Request>, cx: &impl Reads) -> Result<String> {
    let given = asked.names.common_name.as_str();
    let of_request = request.filter(|_| role.use_csr_common_name);
    if of_request.is_some() && !given.is_empty() {
        cx.warn(NAME_OF_REQUEST);
    }
    let name = of_request.map_or("", |request| request.subject().common_name.as_str());
    let name = if name.is_empty() { given } else { name };
    if name.is_empty() && role.require_cn {
        return Err(Error::invalid(
            "the common_name field is required, or must be provided in a CSR with \"use_csr_common_name\" set to true, unless \"require_cn\" is set to false",
        ));
    }
    if name.chars().count() > x509::COMMON_NAME_MAX {
        return Err(Error::invalid(format!(
            "common name {name} is longer than the {} characters of RFC 5280; ask for it in alt_names, under a role with require_cn=false",
            x509::COMMON_NAME_MAX
        )));
    }
    Ok(name.to_owned())
}

fn judge_alternatives(rules: &Rules, who: &Who<'_>, names: &AltNames, provenance: &str) -> Result<()> {
    let role = &rules.role;
    for name in &names.dns {
        names::judge(rules, who, name).map_err(|why| {
            Error::invalid(format!("subject alternate name {name} not allowed by this role: {why}"))
        })?;
    }
    for name in &names.email {
        names::judge(rules, who, name)
            .map_err(|why| Error::invalid(format!("email address {name} not allowed by this role: {why}")))?;
    }
    if !names.ip.is_empty() && !role.allow_ip_sans {
        return Err(Error::invalid(format!(
            "IP Subject Alternative Names are not allowed in this role, but was provided {provenance}: allow_ip_sans is false"
        )));
    }
    if let Some(ip) = names
        .ip
        .iter()
        .find(|ip| !rules.networks.is_empty() && !rules.networks.iter().any(|n| n.contains(**ip)))
    {
        return Err(Error::invalid(format!(
            "the IP address \"{ip}\" is not allowed in this role: it lies in none of allowed_ip_sans_cidr [{}]",
            role.allowed_ip_sans_cidr.join(" ")
        )));
    }
    if !names.uri.is_empty() && role.allowed_uri_sans.is_empty() {
        return Err(Error::invalid(format!(
            "URI Subject Alternative Names are not allowed in this role, but were provided {provenance}: allowed_uri_sans is empty"
        )));
    }
    for uri in &names.uri {
        names::judge_uri(role, who, uri).map_err(|why| {
            Error::invalid(format!(
                "URI Subject Alternative Names were provided {provenance} which are not valid for this role: {why}"
            ))
        })?;
    }
    judge_other_names(rules, names)
}

fn judge_other_names(rules: &Rules, names: &AltNames) -> Result<()> {
    let OtherNames::Among(allowed) = &rules.other_names else { return Ok(()) };
    for other in &names.other {
        let mut same_type = allowed.iter().filter(|allowed| allowed.oid == other.oid).peekable();
        if same_type.peek().is_none() {
            return Err(Error::invalid(format!(
                "other SAN OID {} not allowed by this role: allowed_other_sans does not name it",
                other.oid
            )));
        }
        if !same_type.any(|allowed| kit::glob::fits(&allowed.value, &other.value)) {
            return Err(Error::invalid(format!(
                "other SAN {} not allowed for OID {} by this role: it fits no pattern of allowed_other_sans",
                other.value, other.oid
            )));
        }
    }
    Ok(())
}

fn serial_number(role: &Role, asked: &Asked, request: Option<&Request>) -> Result<String> {
    let of_request = request.map_or("", |request| request.subject().serial_number.as_str());
    let given = asked.names.serial_number.as_str();
    let serial = if given.is_empty() { of_request } else { given };
    let fits = |pattern: &String| kit::glob::fits(pattern, serial);
    if !serial.is_empty() && !role.allowed_serial_numbers.iter().any(fits) {
        return Err(Error::invalid(format!(
            "serial_number {serial} not allowed by this role: it fits no pattern of allowed_serial_numbers [{}]",
            role.allowed_serial_numbers.join(" ")
        )));
    }
    Ok(serial.to_owned())
}

fn user_ids(role: &Role, asked: &Asked, request: Option<&Request>) -> Result<Vec<String>> {
    let given = asked.names.user_ids.iter().filter(|id| !id.is_empty()).cloned().collect::<Vec<_>>();
    let of_request = request.map(|request| request.subject().user_ids.clone());
    let ids = if given.is_empty() { of_request.unwrap_or_default() } else { given };
    for id in &ids {
        if !role.allowed_user_ids.iter().any(|pattern| kit::glob::fits(pattern, id)) {
            return Err(Error::invalid(format!(
                "user_id {id} is not allowed by this role: it fits no pattern of allowed_user_ids [{}]",
                role.allowed_user_ids.join(" ")
            )));
        }
    }
    Ok(ids)
}
