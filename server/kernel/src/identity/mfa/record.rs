use kit::{Error, Name, Result, Secret, Time};
use otp::{Algorithm, Digits};
use serde::{Deserialize, Serialize};
use storage::Txn;

use crate::identity::book::{Book, EVERYTHING, key};
use crate::identity::names::segment;
use crate::ids;
use crate::shelf::{Shelf, Source};

/// A way to show a second factor.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Method {
    pub(crate) id: String,
    pub(crate) name: String,
    /// What an entity is called where it is asked about; empty: by its name.
    #[serde(default)]
    pub(crate) username_format: String,
    pub(crate) way: Way,
}

/// What kind of second factor it is, and what this server must know for it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Way {
    /// One-time passwords, which this server checks itself.
    Totp(Totp),
    /// Duo says.
    Duo(Duo),
    /// Okta says.
    Okta(Okta),
    /// PingID says.
    PingId(PingId),
}

/// How one-time passwords are made.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Totp {
    pub(crate) issuer: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) digits: Digits,
    pub(crate) key_size: u64,
    pub(crate) period_seconds: u64,
    pub(crate) skew: u64,
    pub(crate) qr_size: u32,
    /// How many codes may be tried in a period.
    pub(crate) attempts_max: u64,
}

/// An application of Duo's Auth API.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Duo {
    pub(crate) api_hostname: String,
    pub(crate) integration_key: String,
    pub(crate) secret_key: Secret<String>,
    /// What a push shows besides, as a query string.
    pub(crate) push_info: String,
    /// Whether clients ask for a passcode.
    pub(crate) use_passcode: bool,
}

/// An organization at Okta.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Okta {
    pub(crate) org_name: String,
    pub(crate) api_token: Secret<String>,
    /// Empty: `okta.com`, and [`production`](Self::production) is shown in its place.
    pub(crate) base_url: String,
    pub(crate) production: bool,
    /// People are looked up by their first address instead of their login.
    pub(crate) primary_email: bool,
}

/// What a settings file of PingID says.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct PingId {
    pub(crate) use_base64_key: Secret<String>,
    pub(crate) use_signature: bool,
    pub(crate) token: Secret<String>,
    pub(crate) idp_url: String,
    pub(crate) org_alias: String,
    pub(crate) admin_url: String,
    pub(crate) authenticator_url: String,
}

/// Who must show a second factor at login, and by which of these methods: any one of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Enforcement {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) methods: Vec<String>,
    pub(crate) accessors: Vec<String>,
    pub(crate) kinds: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) entities: Vec<String>,
}

/// What an entity's device and this server share.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Enrolment {
    pub(crate) secret: Secret<String>,
    /// The periods whose codes were accepted already, as far as they still count.
    pub(crate) accepted: Vec<u64>,
    pub(crate) made: Time,
}

impl Book {
    fn mfa_methods(self) -> Shelf<Method> {
        Shelf::within(self.id(), 40)
    }

    fn enforcements(self) -> Shelf<Enforcement> {
        Shelf::within(self.id(), 41)
    }

    /// What devices share with this server: entity ‖ method.
    fn enrolments(self) -> Shelf<Enrolment> {
        Shelf::within(self.id(), 42)
    }

    pub(crate) fn mfa_method(self, from: &impl Source, id: &str) -> Result<Option<Method>> {
        let Some(key) = key(id) else { return Ok(None) };
        self.mfa_methods().get(from, Name::Id(&key))
    }

    pub(crate) fn all_mfa_methods(self, from: &impl Source) -> Result<Vec<Method>> {
        let rows = self.mfa_methods().below(from, &[], EVERYTHING)?;
        Ok(rows.into_iter().map(|(_, method)| method).collect())
    }

    pub(crate) fn put_mfa_method(self, txn: &mut Txn, method: &Method) -> Result<()> {
        let key = key(&method.id).ok_or_else(|| Error::internal("an MFA method has a damaged id"))?;
        self.mfa_methods().put(txn, Name::Id(&key), method)
    }

    pub(crate) fn delete_mfa_method(self, txn: &mut Txn, id: &str) -> Result<()> {
        let Some(key) = key(id) else { return Ok(()) };
        self.mfa_methods().delete(txn, Name::Id(&key))
    }

    pub(crate) fn enforcement(self, from: &impl Source, name: &str) -> Result<Option<Enforcement>> {
        for place in [name, &segment(name)] {
            let found = self.enforcements().get(from, Name::Path(place))?;
            if let Some(found) = found.filter(|found| found.name == name) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(crate) fn all_enforcements(self, from: &impl Source) -> Result<Vec<Enforcement>> {
        let mut all = Vec::new();
        for name in self.enforcements().list(from, "")?.iter() {
            all.extend(self.enforcements().get(from, Name::Path(name))?);
        }
        Ok(all)
    }

    pub(crate) fn put_enforcement(self, txn: &mut Txn, enforcement: &Enforcement) -> Result<()> {
        self.place_enforcement(txn, &enforcement.name)?;
        self.enforcements().put(txn, Name::Path(&enforcement.name), enforcement)
    }

    pub(crate) fn delete_enforcement(self, txn: &mut Txn, name: &str) -> Result<()> {
        self.place_enforcement(txn, name)?;
        self.enforcements().delete(txn, Name::Path(name))
    }

    /// Enforcements were once kept by their name in lower case: has the one that may lie there moved to its own place.
    fn place_enforcement(self, txn: &mut Txn, name: &str) -> Result<()> {
        let place = segment(name);
        match self.enforcements().get(txn, Name::Path(&place))? {
            Some(older) if older.name != place => {
                self.enforcements().delete(txn, Name::Path(&place))?;
                self.enforcements().put(txn, Name::Path(&older.name), &older)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn enrolment(
        self,
        from: &impl Source,
        entity: &str,
        method: &str,
    ) -> Result<Option<Enrolment>> {
        let Some(key) = both(entity, method) else { return Ok(None) };
        self.enrolments().get(from, Name::Id(&key))
    }

    /// What the devices of an entity share with this server, with the methods they are for.
    pub(crate) fn enrolments_of(self, from: &impl Source, entity: &str) -> Result<Vec<(String, Enrolment)>> {
        let Some(key) = key(entity) else { return Ok(Vec::new()) };
        let damaged = || Error::internal("an enrolment has a damaged key");
        let rows = self.enrolments().below(from, &key, EVERYTHING)?.into_iter();
        let named = rows.map(|(id, enrolment)| {
            let method = id.last_chunk::<16>().filter(|_| id.len() == 32).ok_or_else(damaged)?;
            Ok((ids::uuid(*method), enrolment))
        });
        named.collect()
    }

    pub(crate) fn put_enrolment(
        self,
        txn: &mut Txn,
        entity: &str,
        method: &str,
        it: &Enrolment,
    ) -> Result<()> {
        let key = both(entity, method).ok_or_else(|| Error::internal("an entity has a damaged id"))?;
        self.enrolments().put(txn, Name::Id(&key), it)
    }

    pub(crate) fn delete_enrolment(self, txn: &mut Txn, entity: &str, method: &str) -> Result<()> {
        let Some(key) = both(entity, method) else { return Ok(()) };
        self.enrolments().delete(txn, Name::Id(&key))
    }

    /// Forgets all that the devices of an entity share with this server.
    pub(crate) fn forget_enrolments(self, txn: &mut Txn, entity: &str) -> Result<()> {
        for (method, _) in self.enrolments_of(txn, entity)? {
            self.delete_enrolment(txn, entity, &method)?;
        }
        Ok(())
    }
}

fn both(entity: &str, method: &str) -> Option<[u8; 32]> {
    let mut both = [0; 32];
    let parts = key(entity)?.into_iter().chain(key(method)?);
    both.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    Some(both)
}
