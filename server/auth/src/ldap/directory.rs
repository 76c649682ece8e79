//! What is asked of a directory at a login.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kit::{Error, Result, Secret, World};
use ldap3::{Scope, SearchEntry};
use tokio::task::JoinSet;

use super::config::{Config, Place};
use super::names::{Case, below, canonical, common_name, compared, render};
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
    /// Their name here, however they spelt it.
    pub(super) name: String,
    /// Whom wrong passwords count for, if not for who was typed.
    pub(super) counted: Option<String>,
    /// The groups that the directory has them in.
    pub(super) groups: Vec<String>,
}

/// A user's entry, or what is known of it without having looked.
struct Entry {
    bind_name: String,
    /// The entry, if it was found by a search.
    found: Option<SearchEntry>,
}

/// Someone whose password was right.
struct Identified {
    /// The name of their entry.
    dn: String,
    alias: String,
    name: String,
    /// Their name as the directory spells it, for groups that compare letter by letter.
    spelt: BTreeSet<String>,
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
        let counted = self.counted(&entry);
        if connection.bind(&entry.bind_name, self.password.expose()).await? == Bound::No {
            let refused = Error::credentials(REFUSED);
            return Err(counted.map_or(refused.clone(), |whom| refused.of(&whom)));
        }
        if config.has_account() {
            self.bind_with_account(&mut connection).await?;
        }
        let found = self.identify(&mut connection, &entry).await?;
        let mut searching = nobody.unwrap_or(connection);
        let groups = match config.directory.use_token_groups {
            true => self.token_groups(&mut searching, &found.dn).await?,
            false => self.groups(&mut searching, &found).await?,
        };
        Ok(Known { alias: found.alias, name: found.name, counted, groups })
    }

    /// Whom a wrong password counts for: one entry is one user, by whichever of its names it was found.
    fn counted(&self, entry: &Entry) -> Option<String> {
        match values(entry.found.as_ref()?, &self.config.directory.userattr) {
            [called] => canonical(called, Case::Ignored),
            _ => None,
        }
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
        let unseen = |bind_name| Entry { bind_name, found: None };
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
            attributes: &self.naming(),
            most: ALIKE_MAX,
        };
        let found = connection.search(&wanted, config).await?;
        // Nobody, or several: neither says who this is.
        let [entry] = found.as_slice() else { return Err(Error::credentials(REFUSED)) };
        self.check_case(values(entry, &directory.userattr))?;
        Ok(Entry { bind_name: entry.dn.clone(), found: Some(entry.clone()) })
    }

    /// The attributes that say what somebody is called: `userattr`, and those that a typed name is compared with.
    fn naming(&self) -> Vec<&str> {
        let directory = &self.config.directory;
        let mut all = vec![directory.userattr.as_str()];
        match directory.upndomain.as_str() {
            "" => all.extend(compared(&directory.userfilter, "Username")),
            _ => all.push("userPrincipalName"),
        }
        all
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

    /// Who has bound. The names are what the directory has, not what was typed: it takes several spellings for one user, and
    /// what is compared letter by letter elsewhere must not depend on which.
    async fn identify(&self, connection: &mut Connection, entry: &Entry) -> Result<Identified> {
        let directory = &self.config.directory;
        let Some(found) = &entry.found else { return self.identify_unseen(connection, entry).await };
        let [called] = values(found, &directory.userattr) else {
            let attribute = &directory.userattr;
            return Err(failed(&format!(
                "the entry of the user has not exactly one {attribute}: it would name them"
            )));
        };
        let name = canonical(called, self.config.case())
            .ok_or_else(|| failed(&format!("the {} of the user's entry is no name", directory.userattr)))?;
        let alias = if directory.username_as_alias { name.clone() } else { called.clone() };
        let mut spelt = self.spelt(found);
        spelt.insert(called.clone());
        if canonical(called, Case::Ignored) != canonical(&self.typed, Case::Ignored) && spelt.len() == 1 {
            spelt.insert(self.name.clone());
        }
        Ok(Identified { dn: found.dn.clone(), alias, name, spelt })
    }

    /// Who has bound without having been searched for.
    async fn identify_unseen(&self, connection: &mut Connection, entry: &Entry) -> Result<Identified> {
        let directory = &self.config.directory;
        let (seen, alias) = match directory.upndomain.as_str() {
            "" => {
                let dn = &entry.bind_name;
                let wanted = Wanted {
                    base: dn,
                    scope: Scope::Base,
                    filter: "(objectClass=*)",
                    attributes: &self.naming(),
                    most: 1,
                };
                // Not everybody may read their own entry.
                let seen = connection.search(&wanted, &self.config).await.unwrap_or_default().pop();
                (seen, below(&directory.userattr, &self.name, &directory.userdn))
            }
            _ => (Some(self.by_principal(connection).await?), self.principal(&self.name)),
        };
        let mut spelt = BTreeSet::new();
        if let Some(seen) = &seen {
            self.check_case(values(seen, &directory.userattr))?;
            spelt = self.spelt(seen);
        }
        if spelt.is_empty() {
            spelt.insert(self.name.clone());
        }
        let dn = seen.map_or_else(|| entry.bind_name.clone(), |seen| seen.dn);
        let name = self.name.clone();
        let alias = if directory.username_as_alias { name.clone() } else { alias };
        Ok(Identified { dn, alias, name, spelt })
    }

    /// The typed name as the entry spells it.
    fn spelt(&self, entry: &SearchEntry) -> BTreeSet<String> {
        let domain = &self.config.directory.upndomain;
        let typed = canonical(&self.typed, Case::Ignored);
        let principal = canonical(&self.principal(&self.typed), Case::Ignored);
        let mut spelt = BTreeSet::new();
        for value in self.naming().into_iter().flat_map(|attribute| values(entry, attribute)) {
            let folded = canonical(value, Case::Ignored);
            if folded == typed {
                spelt.insert(value.clone());
            } else if !domain.is_empty()
                && folded == principal
                && let Some((name, _)) = value.rsplit_once('@')
            {
                spelt.insert(name.to_owned());
            }
        }
        spelt
    }

    /// The entry that the principal's name is of.
    async fn by_principal(&self, connection: &mut Connection) -> Result<SearchEntry> {
        let principal = self.principal(&self.typed);
        let filter =
            render("(userPrincipalName={{.Name}})", &[("Name", &principal)]).map_err(|why| failed(&why))?;
        let wanted = Wanted {
            base: &self.config.directory.userdn,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: &self.naming(),
            most: ALIKE_MAX,
        };
        let found = connection.search(&wanted, &self.config).await?;
        let [entry] = found.as_slice() else {
            return Err(failed("the userPrincipalName is of no entry below userdn, or of several"));
        };
        Ok(entry.clone())
    }

    async fn groups(&self, connection: &mut Connection, found: &Identified) -> Result<Vec<String>> {
        let directory = &self.config.directory;
        if directory.groupfilter.is_empty() || directory.groupdn.is_empty() {
            return Ok(Vec::new());
        }
        let filter = self.group_filter(found)?;
        let wanted = Wanted {
            base: &directory.groupdn,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: &[&directory.groupattr],
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

    /// What finds the groups, whichever of the directory's spellings they have.
    fn group_filter(&self, found: &Identified) -> Result<String> {
        let template = &self.config.directory.groupfilter;
        let filled = |name: &String| {
            let filter = render(template, &[("UserDN", &found.dn), ("Username", name)]);
            filter.map_err(|why| failed(&why))
        };
        let all = found.spelt.iter().map(filled).collect::<Result<BTreeSet<_>>>()?;
        if all.len() == 1 {
            return Ok(all.into_iter().collect());
        }
        let bracketed = |one: &String| match one.trim_start().starts_with('(') {
            true => one.clone(),
            false => format!("({one})"),
        };
        Ok(format!("(|{})", all.iter().map(bracketed).collect::<String>()))
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
        fn of<'a>(base: &'a str, attributes: &'a [&'a str]) -> Wanted<'a> {
            Wanted { base, scope: Scope::Base, filter: "(objectClass=*)", attributes, most: 1 }
        }
        let own = connection.search(&of(dn, &["tokenGroups"]), &self.config).await?;
        let mut names = BTreeSet::new();
        for sid in own.first().map(sids).unwrap_or_default().iter().take(TOKEN_GROUPS_MAX) {
            let base = format!("<SID={sid}>");
            let found = connection.search(&of(&base, &["1.1"]), &self.config).await?;
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
