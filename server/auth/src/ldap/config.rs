use kit::loose::{Flag, Number, Span, Text};
use kit::{Command, Error, Nothing, Query, Reading, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{Case, render};
use super::{CONFIG, Ldap, tls};
use crate::token_params::{TokenFields, TokenParams, seconds};

/// The only record of [`CONFIG`].
pub(super) const KEY: &str = "config";
/// The longest setting, in bytes.
const SETTING_SIZE_MAX: usize = 64 * 1024;
/// The largest page that is asked for.
const PAGE_SIZE_MAX: i64 = 100_000;
/// How many servers are tried.
const URLS_MAX: usize = 16;

/// The settings of the mount.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) directory: Directory,
    pub(super) bindpass: Secret<String>,
    pub(super) client_tls_cert: String,
    pub(super) client_tls_key: Secret<String>,
    pub(super) token: TokenParams,
}

/// Where the directory is, and how its users and groups are found.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(super) struct Directory {
    pub(super) anonymous_group_search: bool,
    pub(super) binddn: String,
    pub(super) case_sensitive_names: bool,
    pub(super) certificate: String,
    pub(super) connection_timeout: u64,
    pub(super) deny_null_bind: bool,
    pub(super) dereference_aliases: String,
    pub(super) discoverdn: bool,
    pub(super) groupattr: String,
    pub(super) groupdn: String,
    pub(super) groupfilter: String,
    pub(super) insecure_tls: bool,
    pub(super) max_page_size: u64,
    pub(super) request_timeout: u64,
    pub(super) starttls: bool,
    pub(super) tls_max_version: String,
    pub(super) tls_min_version: String,
    pub(super) upndomain: String,
    pub(super) url: String,
    pub(super) use_pre111_group_cn_behavior: bool,
    pub(super) use_token_groups: bool,
    pub(super) userattr: String,
    pub(super) userdn: String,
    pub(super) userfilter: String,
    pub(super) username_as_alias: bool,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            anonymous_group_search: false,
            binddn: String::new(),
            case_sensitive_names: false,
            certificate: String::new(),
            connection_timeout: 30,
            deny_null_bind: true,
            dereference_aliases: "never".to_owned(),
            discoverdn: false,
            groupattr: "cn".to_owned(),
            groupdn: String::new(),
            groupfilter: "(|(memberUid={{.Username}})(member={{.UserDN}})(uniqueMember={{.UserDN}}))"
                .to_owned(),
            insecure_tls: false,
            max_page_size: 0,
            request_timeout: 90,
            starttls: false,
            tls_max_version: "tls12".to_owned(),
            tls_min_version: "tls12".to_owned(),
            upndomain: String::new(),
            url: "ldap://127.0.0.1".to_owned(),
            use_pre111_group_cn_behavior: false,
            use_token_groups: false,
            userattr: "cn".to_owned(),
            userdn: String::new(),
            userfilter: "({{.UserAttr}}={{.Username}})".to_owned(),
            username_as_alias: false,
        }
    }
}

impl Config {
    /// Whether the case of names counts.
    pub(super) fn case(&self) -> Case {
        if self.directory.case_sensitive_names { Case::Exact } else { Case::Ignored }
    }

    /// Whether there is an account to search with.
    pub(super) fn has_account(&self) -> bool {
        !self.directory.binddn.is_empty() && !self.bindpass.expose().is_empty()
    }
}

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The URL as it was written.
    pub(super) url: String,
    /// TLS from the first byte.
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// Reads `ldap://host[:port]` or `ldaps://host[:port]`.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (tls, rest, usual) = match (url.strip_prefix("ldap://"), url.strip_prefix("ldaps://")) {
            (Some(rest), _) => (false, rest, 389),
            (_, Some(rest)) => (true, rest, 636),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
            _ => (rest, usual),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_host(host),
        }
        .then(|| Self { url: url.to_owned(), tls, host: bare.unwrap_or(host).to_owned(), port })
    }

    /// The servers of a list, in order.
    ///
    /// # Errors
    /// With the first that is none.
    pub(super) fn all(urls: &str) -> Result<Vec<Self>> {
        let places = urls.split(',').map(|url| {
            Self::parse(url.trim()).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid LDAP scheme in url {:?}: it must be ldap://host[:port] or ldaps://host[:port]",
                    url.trim()
                ))
            })
        });
        let places = places.collect::<Result<Vec<_>>>()?;
        match places.len() {
            0..=URLS_MAX => Ok(places),
            _ => Err(Error::invalid(format!("url names more than {URLS_MAX} servers"))),
        }
    }
}

/// Reads the settings, without passwords and keys.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadConfig {}

/// The settings, without passwords and keys.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    directory: Directory,
    #[serde(flatten)]
    token: TokenParams,
}

impl Query<Ldap> for ReadConfig {
    const ROUTE: Route = Route::get("config");
    type Reply = Shown;

    fn run(self, _: &Ldap, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let Config { directory, token, .. } = CONFIG.get(cx, KEY)?.unwrap_or_default();
        Ok(Shown { directory, token }.into())
    }
}

/// Says where the directory is, and how its users and groups are found. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(super) struct WriteConfig {
    /// Servers, tried in order: `ldap://one,ldaps://two:636`.
    url: Option<Text>,
    /// The account to search with; empty: nobody's, or the user's own.
    binddn: Option<Text>,
    /// Its password.
    bindpass: Option<Secret<String>>,
    /// Where users are: `ou=people,dc=example,dc=org`.
    userdn: Option<Text>,
    /// The attribute that holds a user's name.
    userattr: Option<Text>,
    /// How a user is searched for, with `{{.UserAttr}}` and `{{.Username}}` in it.
    userfilter: Option<Text>,
    /// Binds as `name@upndomain`, as Active Directory likes it.
    upndomain: Option<Text>,
    /// Searches for the user before binding, even without an account to search with.
    discoverdn: Option<Flag>,
    /// Where groups are. Empty: no group is searched for.
    groupdn: Option<Text>,
    /// How a user's groups are searched for, with `{{.UserDN}}` and `{{.Username}}` in it.
    groupfilter: Option<Text>,
    /// The attribute of what was found that names the group: `cn`, or `memberOf` of the user's own entry.
    groupattr: Option<Text>,
    /// Searches for groups without any account.
    anonymous_group_search: Option<Flag>,
    /// Reads groups from the attribute `tokenGroups` of Active Directory, nested ones included.
    use_token_groups: Option<Flag>,
    /// Takes `Bob` and `bob` for two, here and in the names of groups.
    case_sensitive_names: Option<Flag>,
    /// Calls the user by the name of the login, not by what the directory has in `userattr`.
    username_as_alias: Option<Flag>,
    /// Speaks TLS after a start in clear.
    starttls: Option<Flag>,
    /// Takes any certificate for the server's. Whoever is on the way then reads every password.
    insecure_tls: Option<Flag>,
    /// The CAs that sign the server's certificate, in PEM; those of the system, if left out.
    certificate: Option<Text>,
    /// The certificate to show to the server, in PEM.
    client_tls_cert: Option<Text>,
    /// Its key, in PEM.
    client_tls_key: Option<Secret<String>>,
    /// `tls12` or `tls13`. `tls10` and `tls11` are taken for `tls12`.
    tls_min_version: Option<Text>,
    /// `tls12` or `tls13`.
    tls_max_version: Option<Text>,
    /// Always true: an empty password proves nothing.
    deny_null_bind: Option<Flag>,
    /// How long a whole login may take, 50 s at most.
    request_timeout: Option<Span>,
    /// How long a server may take to be reached, 10 s at most, before the next is tried.
    connection_timeout: Option<Span>,
    /// `never`, `finding`, `searching` or `always`.
    dereference_aliases: Option<Text>,
    /// Asks for groups in pages of this many; 0: all at once.
    max_page_size: Option<Number>,
    /// Finds the name of a group as Vault did before 1.1.1: only an attribute written `CN` counts.
    use_pre111_group_cn_behavior: Option<Flag>,
    #[serde(rename = "token_*")]
    token: TokenFields,
}

impl Command<Ldap> for WriteConfig {
    const ROUTE: Route = Route::post("config");
    type Reply = Nothing;

    fn run(mut self, _: &Ldap, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut config = CONFIG.get(cx, KEY)?.unwrap_or_default();
        self.settle_texts(&mut config)?;
        self.settle_flags(&mut config.directory);
        for (field, given, place) in [
            ("request_timeout", self.request_timeout, &mut config.directory.request_timeout),
            ("connection_timeout", self.connection_timeout, &mut config.directory.connection_timeout),
        ] {
            if let Some(span) = given {
                *place = seconds(field, span)?;
            }
        }
        if let Some(Number(size)) = self.max_page_size {
            let within = u64::try_from(size).ok().filter(|_| size <= PAGE_SIZE_MAX);
            let wrong = || Error::invalid(format!("max_page_size must be between 0 and {PAGE_SIZE_MAX}"));
            config.directory.max_page_size = within.ok_or_else(wrong)?;
        }
        config.token.apply(&self.token)?;
        check(&config)?;
        CONFIG.put(cx, KEY, &config)?;
        Ok(Reply::Nothing)
    }
}

impl WriteConfig {
    fn settle_texts(&mut self, config: &mut Config) -> Result<()> {
        let to = &mut config.directory;
        let lower = |text: &mut Option<Text>| text.take().map(|text| Text(text.0.to_lowercase()));
        let (mut url, mut userattr) = (lower(&mut self.url), lower(&mut self.userattr));
        for (field, given, place) in [
            ("url", &mut url, &mut to.url),
            ("userattr", &mut userattr, &mut to.userattr),
            ("binddn", &mut self.binddn, &mut to.binddn),
            ("userdn", &mut self.userdn, &mut to.userdn),
            ("userfilter", &mut self.userfilter, &mut to.userfilter),
            ("upndomain", &mut self.upndomain, &mut to.upndomain),
            ("groupdn", &mut self.groupdn, &mut to.groupdn),
            ("groupfilter", &mut self.groupfilter, &mut to.groupfilter),
            ("groupattr", &mut self.groupattr, &mut to.groupattr),
            ("certificate", &mut self.certificate, &mut to.certificate),
            ("client_tls_cert", &mut self.client_tls_cert, &mut config.client_tls_cert),
            ("tls_min_version", &mut self.tls_min_version, &mut to.tls_min_version),
            ("tls_max_version", &mut self.tls_max_version, &mut to.tls_max_version),
            ("dereference_aliases", &mut self.dereference_aliases, &mut to.dereference_aliases),
        ] {
            if let Some(Text(text)) = given.take() {
                if text.len() > SETTING_SIZE_MAX {
                    return Err(Error::invalid(format!("{field} is longer than {SETTING_SIZE_MAX} bytes")));
                }
                *place = text;
            }
        }
        if let Some(bindpass) = self.bindpass.take() {
            config.bindpass = bindpass;
        }
        if let Some(key) = self.client_tls_key.take() {
            config.client_tls_key = key;
        }
        Ok(())
    }

    fn settle_flags(&self, to: &mut Directory) {
        for (given, place) in [
            (self.discoverdn, &mut to.discoverdn),
            (self.anonymous_group_search, &mut to.anonymous_group_search),
            (self.use_token_groups, &mut to.use_token_groups),
            (self.case_sensitive_names, &mut to.case_sensitive_names),
            (self.username_as_alias, &mut to.username_as_alias),
            (self.starttls, &mut to.starttls),
            (self.insecure_tls, &mut to.insecure_tls),
            (self.deny_null_bind, &mut to.deny_null_bind),
            (self.use_pre111_group_cn_behavior, &mut to.use_pre111_group_cn_behavior),
        ] {
            if let Some(Flag(flag)) = given {
                *place = flag;
            }
        }
    }
}

fn check(config: &Config) -> Result<()> {
    let directory = &config.directory;
    Place::all(&directory.url)?;
    let attribute = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.;".contains(&b))
    };
    for (field, text) in [("userattr", &directory.userattr), ("groupattr", &directory.groupattr)] {
        if !attribute(text) {
            return Err(Error::invalid(format!("{field} is no name of an attribute")));
        }
    }
    let filled = |field: &str, template: &str, values: &[(&str, &str)]| {
        render(template, values).map(drop).map_err(|why| Error::invalid(format!("invalid {field}: {why}")))
    };
    filled("userfilter", &directory.userfilter, &[("UserAttr", "x"), ("Username", "x")])?;
    filled("groupfilter", &directory.groupfilter, &[("UserDN", "x"), ("Username", "x")])?;
    if !directory.deny_null_bind {
        let text = "deny_null_bind cannot be false: directories take a bind without a password for one of nobody's, which \
                    proves nothing";
        return Err(Error::invalid(text));
    }
    if super::search::aliases(&directory.dereference_aliases).is_none() {
        return Err(Error::invalid("invalid 'dereference_aliases': use never, finding, searching or always"));
    }
    tls::config(config).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_place(url: &str, expect: Option<(bool, &str, u16)>) {
        let found = Place::parse(url);
        assert_eq!(found.as_ref().map(|place| (place.tls, place.host.as_str(), place.port)), expect, "{url}");
    }

    #[test]
    fn urls_are_read() {
        check_place("ldap://127.0.0.1", Some((false, "127.0.0.1", 389)));
        check_place("ldaps://dir.example.org", Some((true, "dir.example.org", 636)));
        check_place("ldap://dir:3890/", Some((false, "dir", 3890)));
        check_place("ldap://[::1]:3890", Some((false, "::1", 3890)));
        check_place("ldap://[::1]", Some((false, "::1", 389)));
        for wrong in
            ["", "http://a", "ldap://", "ldap://a:0", "ldap://a:x", "ldap://a b", "ldapi:///x", "ldap://u@h"]
        {
            check_place(wrong, None);
        }
        assert_eq!(Place::all("ldap://a, ldaps://b").unwrap().len(), 2);
        assert!(Place::all("ldap://a,b").is_err());
    }
}
