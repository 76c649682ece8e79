use kit::{Body, Error, Fault, Result};

use crate::audit::{Audited, Record, Response, Trail};
use crate::envelope::Outcome;
use crate::kernel::Kernel;
use crate::metrics::Timings;
use crate::request::{Answer, Request};
use crate::walk::{Asked, Ground, Trip};

/// A refusal in the form of an answer that holds nothing.
fn warned(error: &Error) -> Outcome {
    let mut outcome = Outcome::new(Body::Gone(b"null".to_vec()));
    outcome.warnings = vec![error.to_string()];
    outcome
}

impl Kernel {
    /// Writes the question down, once.
    pub(crate) fn question(&self, ground: &Ground<'_>, trip: &mut Trip) -> Result<()> {
        if trip.asked == Asked::Yes {
            return Ok(());
        }
        let kept = self.audits.trail(ground.today, &self.store)?;
        let written = self.timed(kept.value(), &[&self.metrics.questions], || {
            self.audits.write(kept.value(), &[self.record(ground.request, trip, None, None)])
        });
        if written.is_err() {
            self.metrics.unasked();
        }
        written?;
        trip.asked = Asked::Yes;
        Ok(())
    }

    /// Writes the answer down and hands it over. True: no device took it, so it must not count.
    pub(crate) fn conclude(
        &self,
        request: &Request,
        trip: &mut Trip,
        result: Result<Outcome>,
    ) -> (Audited<Answer>, bool) {
        if let Err(error) = &result
            && let Some(cause) = error.cause()
            && (self.trouble().is_none() || self.metrics.tells(trip.now))
        {
            tracing::error!(request = trip.id, path = request.path.as_str(), cause, "a request failed");
        }
        // What was asked for and not who asked: that is in the audit log, under the same request.
        if trip.logged && result.is_ok() {
            let path = trip.path.as_ref().unwrap_or(&request.path).as_str();
            tracing::info!(operation = trip.operation, path, request = trip.id, "done for an operator");
        }
        let today = self.store.snapshot();
        let written = self.audits.trail(&today, &self.store).and_then(|kept| {
            let trail = kept.value();
            let error = result.as_ref().err().map(|error| error.texts().concat());
            let question = |error| self.record(request, trip, error, None);
            let response = result.as_ref().map_or_else(|_| Response::default(), Outcome::response);
            let answer = self.record(request, trip, error.as_deref(), Some(response));
            let (questions, answers) = (&self.metrics.questions, &self.metrics.answered);
            let (records, timings): (&[Record<'_>], &[&Timings]) = match trip.asked {
                Asked::Yes => (&[answer], &[answers]),
                Asked::Owed => (&[question(None), answer], &[questions, answers]),
                Asked::No => (&[question(error.as_deref()), answer], &[answers]),
            };
            self.timed(trail, timings, || self.audits.write(trail, records))
        });
        if written.is_err() && trip.asked == Asked::Owed {
            self.metrics.unasked();
        }
        // A login is an auth method's answer to a stranger.
        let method = trip.mounted.as_ref().is_some_and(|mounted| mounted.method.is_some());
        let timings = match method && trip.known.is_none() {
            true => &self.metrics.logins,
            false => &self.metrics.requests,
        };
        timings.note(trip.begun.until(self.now()));
        match written {
            Ok(written) => {
                let answer = match result.and_then(|outcome| self.installed(trip, outcome)) {
                    Ok(outcome) => outcome.into_answer(&trip.id),
                    Err(error) if error.fault() == Fault::Warned => warned(&error).into_answer(&trip.id),
                    Err(error) => Answer::from_error(&error),
                };
                self.metrics.end(request.verb, answer.status);
                let mut answer = Answer { allowance: trip.allowance, ..answer };
                if let Some(failed) = &trip.failed {
                    failed.show(&mut answer);
                }
                (crate::audit::Audits::audited(written, answer), false)
            }
            Err(error) => {
                tracing::error!(request = trip.id, cause = error.cause(), "a request could not be audited");
                self.metrics.end(request.verb, 500);
                self.metrics.unaudited();
                (crate::audit::Audits::refused(Answer::from_error(&Error::internal("audit"))), true)
            }
        }
    }

    /// Makes the seal hold whose shares are about to leave. Not earlier: shares that an answer loses are lost for ever,
    /// and with them what only they open.
    fn installed(&self, trip: &Trip, mut outcome: Outcome) -> Result<Outcome> {
        for installing in std::mem::take(&mut outcome.installing) {
            installing.run(self).inspect_err(|error| {
                let cause = error.cause().map_or_else(|| error.to_string(), ToString::to_string);
                tracing::error!(
                    request = trip.id,
                    cause,
                    "a new seal could not be stored; the old one holds"
                );
            })?;
        }
        Ok(outcome)
    }

    /// Writes to devices, and notes how long it took if there are any.
    fn timed<T>(&self, trail: &Trail, timings: &[&Timings], write: impl FnOnce() -> T) -> T {
        if trail.devices.is_empty() {
            return write();
        }
        let begun = self.now();
        let written = write();
        let took = begun.until(self.now());
        timings.iter().for_each(|timings| timings.note(took));
        written
    }

    fn record<'a>(
        &'a self,
        request: &'a Request,
        trip: &'a Trip,
        error: Option<&'a str>,
        response: Option<Response<'a>>,
    ) -> Record<'a> {
        let path = trip.spelt.as_ref().or(trip.path.as_ref()).unwrap_or(&request.path).as_str();
        let above = trip.namespace.as_ref().map_or("", |namespace| &namespace.path);
        Record {
            now: trip.now,
            id: &trip.id,
            request,
            token: trip.inline.as_ref().or(request.token.as_ref()),
            namespace: trip.namespace.as_deref(),
            path: path.strip_prefix(above).unwrap_or(path),
            operation: if request.help { "help" } else { trip.operation },
            mounted: trip.mounted.as_deref(),
            running: &self.audits.running,
            known: trip.known.as_ref().map(|known| known.value()),
            spent: trip.spent,
            granting: &trip.granting,
            error,
            response,
        }
    }
}
