use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::{Time, Verb};

/// The requests that are being waited for. One that is answered at once is never among them.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<String, Flight>>>);

/// A request in flight.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) since: Time,
    pub(crate) address: String,
    pub(crate) path: String,
    pub(crate) method: &'static str,
    pub(crate) client: String,
}

/// Ends with the request, also when the client goes away.
pub(crate) struct Aloft {
    flights: Flights,
    id: String,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that has to wait.
    pub(crate) fn begin(&self, id: &str, flight: Flight) -> Aloft {
        self.lock().insert(id.to_owned(), flight);
        Aloft { flights: self.clone(), id: id.to_owned() }
    }

    /// All of them, by the id of the request.
    pub(crate) fn all(&self) -> HashMap<String, Flight> {
        self.lock().clone()
    }
}

impl Drop for Aloft {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.id);
    }
}

/// The method by which a verb comes.
pub(crate) fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Delete => "DELETE",
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Scan => "SCAN",
        Verb::Patch => "PATCH",
        Verb::Post => "PUT",
    }
}
