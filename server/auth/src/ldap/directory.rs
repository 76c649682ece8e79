//! What is asked of a directory at a login.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kit::{Error, Result, Secret, World};
use ldap3::{Scope, SearchEntry};
use tokio::task::JoinSet;

use super::config::{Config, Place};
use super::names::{Case, below, canonical, common_name, render};
use super::search::{Bound, Connection, ENTRIES_MAX, Wanted, failed, values};

/// How long a whole login may take, whatever the settings say: less than the kernel waits.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(50);
/// How many security ids of `tokenGroups` are looked up.
const TOKEN_GROUPS_MAX: usize = 1_000;
/// How many entries may share a name before that is a mistake in the filter.
const ALIKE_MAX: usize = 8;
/// What everybody reads who is not let in, whatever the reason.
pub(super) const REFUSED: &str = "ldap operation failed: failed to bind as user";

/// Someone who wants to be let in.
pub(super) struct Knock {
    pub(super) config: Config,
    /// The name, in its one spelling but for case.
    pub(super) typed: String,
    /// The name in its one spelling.
    pub(super) name: String,
    pub(super) password: Secret<String>,
}

/// Who they are.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What identity calls them.
    pub(super) alias: String,
    /// The groups that the directory has them in.
    pub(super) groups: Vec<String>,
}

/// A user's entry, or what is known of it without having looked.
struct Entry {
    bind_name: String,
    /// Its name, if it was found by a search.
    found: Option<String>,
    /// What it is called, if it was found by a search.
    called: Vec<String>,
}

/// Asks. Bounded in time; what the directory sends is read within bounds.
///
/// # Errors
/// [`Error::credentials`] if the directory does not believe the password, or does not know the name.
pub(super) async fn ask(knock: &Arc<Knock>, world: &dyn World) -> Result<Known> {
    let limit = Duration::from_secs(knock.config.directory.request_timeout.max(1)).min(LOGIN_TIME_MAX);
    tokio::select! {
        biased;
        known = connect_and_ask(knock, world) => known,
        () = world.pause(limit) => {
            Err(failed(&format!("the directory did not answer within {} seconds", limit.as_secs())))
        }
    }
}

async fn connect_and_ask(knock: &Arc<Knock>, world: &dyn World) -> Result<Known> {
    let connection = connect(knock, world).await?;
    let nobody = match knock.config.directory.anonymous_group_search {
        true => Some(connect(knock, world).await?),
        false => None,
    };
    let knock = Arc::clone(knock);
    contained(async move { knock.converse(connection, nobody).await }).await?
}

/// Runs what reads the directory's answers in a task of its own: nonsense that makes the library give up ends that task, and
/// nothing else. Dropping this ends it, too.
async fn contained<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => Ok(done),
        _ => Err(failed("the directory answered nonsense")),
    }
}

/// A connection to the first server that can be reached.
async fn connect(knock: &Arc<Knock>, world: &dyn World) -> Result<Connection> {
    let mut troubles = Vec::new();
    let seconds = knock.config.directory.connection_timeout.max(1);
    for place in Place::all(&knock.config.directory.url)? {
        let opened = async {
            let stream = world.dial(&place.host, place.port).await.map_err(|error| error.to_string())?;
            let (knock, place) = (Arc::clone(knock), place.clone());
            let opening = async move { Connection::open(stream, &place, &knock.config).await };
            contained(opening).await.map_err(|error| error.to_string())?
        };
        let opened = tokio::select! {
            biased;
            opened = opened => opened,
            () = world.pause(Duration::from_secs(seconds)) => Err(format!("no answer within {seconds} seconds")),
        };
        match opened {
            Ok(connection) => return Ok(connection),
            Err(why) => troubles.push(format!("error connecting to host {:?}: {why}", place.url)),
        }
    }
    Err(Error::invalid(troubles.join("; ")).wrapped())
}

impl Knock {
    async fn converse(&self, mut connection: Connection, nobody: Option<Connection>) -> Result<Known> {
        let config = &self.config;
        let entry = self.entry(&mut connection).await?;
        if connection.bind(&entry.bind_name, self.password.expose()).await? == Bound::No {
            return Err(Error::credentials(REFUSED));
        }
        if config.has_account() {
            self.bind_with_account(&mut connection).await?;
        }
        let dn = self.dn(&mut connection, &entry).await?;
        let alias = self.alias(&entry)?;
        let mut searching = nobody.unwrap_or(connection);
        let groups = match config.directory.use_token_groups {
            true => self.token_groups(&mut searching, &dn).await?,
            false => self.groups(&mut searching, &dn).await?,
        };
        Ok(Known { alias, groups })
    }

    async fn bind_with_account(&self, connection: &mut Connection) -> Result<()> {
        match connection.bind(&self.config.directory.binddn, self.config.bindpass.expose()).await? {
            Bound::Yes => Ok(()),
            Bound::No => Err(failed("the directory does not believe binddn and bindpass")),
        }
    }

    /// As what the user binds.
    async fn entry(&self, connection: &mut Connection) -> Result<Entry> {
        let (config, directory) = (&self.config, &self.config.directory);
        let unseen = |bind_name| Entry { bind_name, found: None, called: Vec::new() };
        if !directory.discoverdn && !config.has_account() {
            return Ok(unseen(match directory.upndomain.as_str() {
                "" => below(&directory.userattr, &self.typed, &directory.userdn),
                _ => self.principal(&self.typed),
            }));
        }
        match config.has_account() {
            true => self.bind_with_account(connection).await?,
            false => connection.bind_as_nobody(&directory.binddn).await?,
        }
        let principal = self.principal(&self.typed);
        let filter = match directory.upndomain.as_str() {
            "" => {
                render(&directory.userfilter, &[("UserAttr", &directory.userattr), ("Username", &self.typed)])
            }
            _ => {
                render(&directory.userfilter, &[("UserAttr", "userPrincipalName"), ("Username", &principal)])
            }
        };
        let filter = filter.map_err(|why| failed(&why))?;
        let wanted = Wanted {
            base: &directory.userdn,
            scope: Scope::Subtree,
            filter: &filter,
            attribute: &directory.userattr,
            most: ALIKE_MAX,
        };
        let found = connection.search(&wanted, config).await?;
        // Nobody, or several: neither says who this is.
        let [entry] = found.as_slice() else { return Err(Error::credentials(REFUSED)) };
        let called = values(entry, &directory.userattr).to_vec();
        self.check_case(&called)?;
        Ok(Entry { bind_name: entry.dn.clone(), found: Some(entry.dn.clone()), called })
    }

    /// Where case counts, a directory that does not mind it must not make one user two.
    fn check_case(&self, called: &[String]) -> Result<()> {
        let exact = |one: &String| canonical(one, Case::Exact).as_deref() == Some(&self.typed);
        let alike = |one: &String| canonical(one, Case::Ignored) == canonical(&self.typed, Case::Ignored);
        let differs = called.iter().any(alike) && !called.iter().any(exact);
        match self.config.case() {
            Case::Exact if differs => Err(Error::credentials(REFUSED)),
            _ => Ok(()),
        }
    }

    fn principal(&self, name: &str) -> String {
        format!("{name}@{}", self.config.directory.upndomain)
    }

    /// The name of the user's entry.
    async fn dn(&self, connection: &mut Connection, entry: &Entry) -> Result<String> {
        let directory = &self.config.directory;
        if let Some(found) = &entry.found {
            return Ok(found.clone());
        }
        if directory.upndomain.is_empty() {
            return Ok(entry.bind_name.clone());
        }
        let principal = self.principal(&self.typed);
        let filter =
            render("(userPrincipalName={{.Name}})", &[("Name", &principal)]).map_err(|why| failed(&why))?;
        let wanted = Wanted {
            base: &directory.userdn,
            scope: Scope::Subtree,
            filter: &filter,
            attribute: "1.1",
            most: ALIKE_MAX,
        };
        let found = connection.search(&wanted, &self.config).await?;
        let [entry] = found.as_slice() else {
            return Err(failed("the userPrincipalName is of no entry below userdn, or of several"));
        };
        Ok(entry.dn.clone())
    }

    /// What identity calls the user: always the same, however they spell their name.
    fn alias(&self, entry: &Entry) -> Result<String> {
        let directory = &self.config.directory;
        if directory.username_as_alias {
            return Ok(self.name.clone());
        }
        match (&entry.found, entry.called.as_slice()) {
            (Some(_), [called]) if !called.is_empty() => Ok(called.clone()),
            (Some(_), _) => {
                let attribute = &directory.userattr;
                Err(failed(&format!(
                    "the entry of the user has not exactly one {attribute}: it would name them"
                )))
            }
            (None, _) if directory.upndomain.is_empty() => {
                Ok(below(&directory.userattr, &self.name, &directory.userdn))
            }
            (None, _) => Ok(self.principal(&self.name)),
        }
    }

    async fn groups(&self, connection: &mut Connection, dn: &str) -> Result<Vec<String>> {
        let directory = &self.config.directory;
        if directory.groupfilter.is_empty() || directory.groupdn.is_empty() {
            return Ok(Vec::new());
        }
        let filter = render(&directory.groupfilter, &[("UserDN", dn), ("Username", &self.typed)])
            .map_err(|why| failed(&why))?;
        let wanted = Wanted {
            base: &directory.groupdn,
            scope: Scope::Subtree,
            filter: &filter,
            attribute: &directory.groupattr,
            most: ENTRIES_MAX,
        };
        let found = connection.search(&wanted, &self.config).await?;
        let names: BTreeSet<String> = found.iter().flat_map(|entry| self.group_names(entry)).collect();
        if names.len() > ENTRIES_MAX {
            Err(failed("the user is in too many groups"))
        } else {
            Ok(names.into_iter().collect())
        }
    }

    /// The groups that an entry names; the entry itself, if it names none.
    fn group_names(&self, entry: &SearchEntry) -> Vec<String> {
        let attribute = &self.config.directory.groupattr;
        match values(entry, attribute) {
            [] => vec![self.group_name(&entry.dn)],
            // A common name is one, even if someone has called their group `cn=admins`.
            named if attribute.eq_ignore_ascii_case("cn") => named.to_vec(),
            named => named.iter().map(|name| self.group_name(name)).collect(),
        }
    }

    fn group_name(&self, dn: &str) -> String {
        match self.config.directory.use_pre111_group_cn_behavior {
            true => common_name(dn, |kind| kind == "CN"),
            false => common_name(dn, |kind| kind.eq_ignore_ascii_case("cn")),
        }
    }

    /// The groups of Active Directory's `tokenGroups`, nested ones included.
    async fn token_groups(&self, connection: &mut Connection, dn: &str) -> Result<Vec<String>> {
        fn of<'a>(base: &'a str, attribute: &'a str) -> Wanted<'a> {
            Wanted { base, scope: Scope::Base, filter: "(objectClass=*)", attribute, most: 1 }
        }
        let own = connection.search(&of(dn, "tokenGroups"), &self.config).await?;
        let mut names = BTreeSet::new();
        for sid in own.first().map(sids).unwrap_or_default().iter().take(TOKEN_GROUPS_MAX) {
            let base = format!("<SID={sid}>");
            let found = connection.search(&of(&base, "1.1"), &self.config).await?;
            names.extend(found.iter().map(|entry| self.group_name(&entry.dn)));
        }
        Ok(names.into_iter().collect())
    }
}

/// The security ids in `tokenGroups`. They are bytes, which may look like text.
fn sids(entry: &SearchEntry) -> Vec<String> {
    let is_it = |name: &String| name.eq_ignore_ascii_case("tokenGroups");
    let binary = entry.bin_attrs.iter().filter(|(name, _)| is_it(name)).flat_map(|(_, values)| values.iter());
    let text = entry.attrs.iter().filter(|(name, _)| is_it(name)).flat_map(|(_, values)| values.iter());
    let all = binary.map(Vec::as_slice).chain(text.map(String::as_bytes));
    all.filter_map(sid).collect()
}

/// `S-1-5-21-…` of its bytes: revision, count, authority (6 bytes, big endian), and so many parts (4 bytes, little endian).
fn sid(bytes: &[u8]) -> Option<String> {
    let ([revision, count], rest) = bytes.split_first_chunk::<2>()?;
    let (authority, mut rest) = rest.split_first_chunk::<6>()?;
    let authority = authority.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut text = format!("S-{revision}-{authority}");
    for _ in 0..*count {
        let (part, after) = rest.split_first_chunk::<4>()?;
        text.push_str(&format!("-{}", u32::from_le_bytes(*part)));
        rest = after;
    }
    rest.is_empty().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_ids_are_read() {
        let bytes = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        assert_eq!(sid(&bytes).as_deref(), Some("S-1-5-32-544"));
        assert_eq!(sid(&bytes[..15]), None);
        assert_eq!(sid(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(sid(&[]), None);
    }
}
