use std::time::Duration;

use kit::{Caller, Error, Fault, Fields, Reading, Result, Right, Verb};

use super::rules::Rate;
use crate::audit::{Audited, Audits};
use crate::kernel::Kernel;
use crate::mounts::Mounted;
use crate::request::{Answer, Request};
use crate::walk::{Ground, Trip};

/// Whether a request has been counted against the limit that holds for it.
#[derive(Clone, Copy, Debug, Default)]
pub enum Meter {
    /// Not yet.
    #[default]
    Unread,
    /// It has, and this is what is left.
    Read(Option<Allowance>),
}

/// What of a limit is left, for the headers of the answer.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// How many requests a window has.
    pub limit: u64,
    /// How many of them are left.
    pub remaining: u64,
    /// When the window ends.
    pub reset_seconds: u64,
}

/// What of a request is there to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    /// The body is still to come.
    Head,
    /// All of it.
    Whole,
}

/// A request over its limit.
struct Over {
    allowance: Option<Allowance>,
    wait: Duration,
    audited: bool,
}

impl Kernel {
    /// Counts a request whose body has not been read yet. Where it takes the body to say which limit holds, it is
    /// counted later.
    ///
    /// # Errors
    /// With the answer, if it is over its limit.
    pub fn meter(&self, request: &Request) -> Result<Meter, Box<Audited<Answer>>> {
        self.metered(request, Seen::Head)
    }

    /// The same once it is all there, if it has not been counted.
    pub(crate) fn meter_whole(&self, request: &Request) -> Result<Option<Allowance>, Box<Audited<Answer>>> {
        match request.meter {
            Meter::Read(allowance) => Ok(allowance),
            Meter::Unread => match self.metered(request, Seen::Whole)? {
                Meter::Read(allowance) => Ok(allowance),
                Meter::Unread => Ok(None),
            },
        }
    }

    fn metered(&self, request: &Request, seen: Seen) -> Result<Meter, Box<Audited<Answer>>> {
        match self.count(request, seen) {
            Ok(Ok(meter)) => Ok(meter),
            Ok(Err(over)) => Err(Box::new(self.over(request, &over))),
            Err(error) => {
                tracing::error!(%error, cause = error.cause(), "a request could not be counted");
                Err(Box::new(Audits::unlogged(Answer::from_error(&error))))
            }
        }
    }

    /// Takes the request out of its bucket.
    fn count(&self, request: &Request, seen: Seen) -> Result<Result<Meter, Over>> {
        let free = Ok(Ok(Meter::Read(None)));
        let today = self.store.snapshot();
        let kept = self.quota_rules(&today)?;
        let rules = kept.value();
        let within;
        let path = match request.namespace.as_str() {
            "" => request.path.as_str(),
            namespace => {
                within = format!("{namespace}/{}", request.path.as_str());
                &within
            }
        };
        if rules.rates.is_empty() || rules.exempts(path.trim_end_matches('/')) {
            return free;
        }
        let router = self.router(&today)?;
        let (space, local) = router.value().locate(path);
        let mut role = None;
        if let Some((mounted, rest)) = space.nearest(local)
            && rules.rates.has_roles(mounted.info.id)
            && logs_in(mounted, request.verb, rest)
        {
            if seen == Seen::Head {
                return Ok(Ok(Meter::Unread));
            }
            role = self.role(request, mounted, &today)?;
        }
        let Some(rate) = rules.rates.at(router.value(), space, local, role.as_deref()) else { return free };
        let told = self.quotas.buckets.take(rate, request.remote.address, self.now());
        let allowance = rules.config.response_headers.then(|| allowance(rate, &told));
        Ok(match told.allowed {
            true => Ok(Meter::Read(allowance)),
            false => {
                let audited = rules.config.audit_refusals;
                Err(Over { allowance, wait: told.wait, audited })
            }
        })
    }

    /// The role that a login is by. A body that does not read names none; the login itself says what is wrong with it.
    fn role(
        &self,
        request: &Request,
        mounted: &Mounted,
        today: &storage::Snapshot,
    ) -> Result<Option<String>> {
        let Some(method) = &mounted.method else { return Ok(None) };
        let fields = Fields { query: &request.query, body: &request.body, ..Fields::default() };
        let nobody = Caller::nobody();
        let cx = Reading::new(&Right::Open, today, &mounted.info, &nobody, &request.remote, self.now());
        match method.role(&fields, &cx) {
            Err(error) if error.fault() == Fault::Invalid => Ok(None),
            role => role,
        }
    }

    /// The role that a login is by, if leases are limited by role at its mount.
    pub(crate) fn role_for_quota(&self, ground: &Ground<'_>, mounted: &Mounted) -> Result<Option<String>> {
        let kept = self.quota_rules(ground.today)?;
        match kept.value().leases.has_roles(mounted.info.id) {
            true => self.role(ground.request, mounted, ground.today),
            false => Ok(None),
        }
    }

    fn over(&self, request: &Request, over: &Over) -> Audited<Answer> {
        self.metrics.begin();
        self.metrics.over_quota();
        let text = format!("request path {:?}: rate limit quota exceeded", request.path.as_str());
        let error = Error::new(Fault::Busy, text);
        let dress = |answer: &mut Answer| {
            answer.allowance = over.allowance;
            answer.retry_after = Some(u32::try_from(rounded_up(over.wait)).unwrap_or(u32::MAX));
        };
        if over.audited {
            let mut trip = Trip::new(self, request);
            return self.conclude(request, &mut trip, Err(error)).0.with(dress);
        }
        // What is refused by the thousand must not fill the disk with its records.
        self.metrics.end(request.verb, error.status());
        Audits::unlogged(Answer::from_error(&error)).with(dress)
    }
}

fn allowance(rate: &Rate, told: &super::buckets::Told) -> Allowance {
    Allowance { limit: rate.limit, remaining: told.remaining, reset_seconds: told.wait.as_secs() }
}

fn rounded_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn logs_in(mounted: &Mounted, verb: Verb, rest: &str) -> bool {
    mounted.method.as_ref().is_some_and(|method| method.find_login(verb, rest).is_some())
}
