//! One connection to a directory: binding, and searching within bounds.

use kit::{Error, Result};
use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{
    DerefAliases, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions, StdStream,
};
use tokio::task::JoinSet;

use super::config::{Config, Place};
use super::tls;

/// How many entries of an answer are read.
pub(super) const ENTRIES_MAX: usize = 4_000;
/// What a server answers to a wrong name or password, in all the words it has for it: constraint, no such object, invalid
/// name, inappropriate authentication, invalid credentials, insufficient rights, unwilling.
const REFUSALS: [u32; 7] = [19, 32, 34, 48, 49, 50, 53];
const SUCCESS: u32 = 0;
const SIZE_LIMIT: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;

/// A connection. It ends when this is dropped.
pub(super) struct Connection {
    ldap: ldap3::Ldap,
    _driver: JoinSet<()>,
}

/// What came of a bind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bound {
    /// The server believes it.
    Yes,
    /// It does not.
    No,
}

/// Something that is searched for.
pub(super) struct Wanted<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a str,
    pub(super) attributes: &'a [&'a str],
    /// More than so many are an error of the directory, and no more are read.
    pub(super) most: usize,
}

impl Connection {
    /// Speaks LDAP, and TLS if the settings say so, over a connection that stands.
    ///
    /// # Errors
    /// With why not.
    pub(super) async fn open(
        stream: std::net::TcpStream,
        place: &Place,
        config: &Config,
    ) -> Result<Self, String> {
        let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
        let scheme = if place.tls { "ldaps" } else { "ldap" };
        let settings = LdapConnSettings::new()
            .set_std_stream(StdStream::Tcp(stream))
            .set_starttls(config.directory.starttls && !place.tls)
            .set_no_tls_verify(config.directory.insecure_tls)
            .set_config(tls::config(config).map_err(|error| error.to_string())?);
        let url = format!("{scheme}://{host}:{}", place.port);
        let (connection, ldap) =
            LdapConnAsync::with_settings(settings, &url).await.map_err(|error| why(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.drive().await) });
        Ok(Self { ldap, _driver: driver })
    }

    /// Binds. A name without a password is refused before it is asked: servers take it for nobody, and say yes.
    ///
    /// # Errors
    /// If the server does not say yes or no.
    pub(super) async fn bind(&mut self, dn: &str, password: &str) -> Result<Bound> {
        if dn.is_empty() || password.is_empty() {
            return Ok(Bound::No);
        }
        let answer = self.ldap.simple_bind(dn, password).await.map_err(broken)?;
        match answer.rc {
            SUCCESS => Ok(Bound::Yes),
            code if REFUSALS.contains(&code) => Ok(Bound::No),
            code => Err(failed(&format!("the directory answered a bind with result code {code}"))),
        }
    }

    /// Binds as nobody.
    ///
    /// # Errors
    /// If the server lets nobody in without a name.
    pub(super) async fn bind_as_nobody(&mut self, dn: &str) -> Result<()> {
        let answer = self.ldap.simple_bind(dn, "").await.map_err(broken)?;
        match answer.rc {
            SUCCESS => Ok(()),
            _ => Err(failed("the directory lets nobody search without a password: set binddn and bindpass")),
        }
    }

    /// The entries that are found. None, if the base is not there.
    ///
    /// # Errors
    /// If the search fails, or finds too many.
    pub(super) async fn search(&mut self, wanted: &Wanted<'_>, config: &Config) -> Result<Vec<SearchEntry>> {
        let directory = &config.directory;
        let page = i32::try_from(directory.max_page_size).unwrap_or(0);
        let limit = if page > 0 { 0 } else { i32::try_from(wanted.most + 1).unwrap_or(i32::MAX) };
        let aliases = aliases(&directory.dereference_aliases).unwrap_or(DerefAliases::Never);
        let mut adapters: Vec<Box<dyn Adapter<_, _>>> = vec![Box::new(EntriesOnly::new())];
        if page > 0 {
            adapters.push(Box::new(PagedResults::new(page)));
        }
        let options = SearchOptions::new().deref(aliases).sizelimit(limit);
        let attributes: Vec<String> = wanted.attributes.iter().map(|&name| name.to_owned()).collect();
        let mut stream = self
            .ldap
            .with_search_options(options)
            .streaming_search_with(adapters, wanted.base, wanted.scope, wanted.filter, attributes)
            .await
            .map_err(broken)?;
        let mut entries = Vec::new();
        while let Some(entry) = stream.next().await.map_err(broken)? {
            if entries.len() == wanted.most {
                return Err(too_many(wanted.most));
            }
            entries.push(SearchEntry::construct(entry));
        }
        match stream.finish().await.rc {
            SUCCESS => Ok(entries),
            NO_SUCH_OBJECT => Ok(Vec::new()),
            SIZE_LIMIT => Err(too_many(wanted.most)),
            code => Err(failed(&format!("a search ended with result code {code}"))),
        }
    }
}

/// The values of an attribute, whatever the case of its name.
pub(super) fn values<'a>(entry: &'a SearchEntry, attribute: &str) -> &'a [String] {
    let found = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    found.map_or(&[], |(_, values)| values)
}

/// When aliases are followed.
pub(super) fn aliases(name: &str) -> Option<DerefAliases> {
    Some(match name {
        "never" => DerefAliases::Never,
        "finding" => DerefAliases::Finding,
        "searching" => DerefAliases::Searching,
        "always" => DerefAliases::Always,
        _ => return None,
    })
}

fn too_many(most: usize) -> Error {
    failed(&format!("a search found more than {most} entries"))
}

/// What the caller reads if the directory does not do its work.
pub(super) fn failed(why: &str) -> Error {
    Error::invalid(format!("ldap operation failed: {why}"))
}

fn broken(error: LdapError) -> Error {
    failed(&why(&error))
}

/// What went wrong, without what was sent.
fn why(error: &LdapError) -> String {
    match error {
        LdapError::Io { source } => source.to_string(),
        LdapError::FilterParsing => "the filter does not read: look at userfilter and groupfilter".to_owned(),
        LdapError::LdapResult { result } => format!("the directory answered with result code {}", result.rc),
        _ => "the connection to the directory broke".to_owned(),
    }
}
