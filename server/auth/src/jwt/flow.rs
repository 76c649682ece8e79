use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kit::{Reads, Secret, Time, Writing};

/// How long one may take in the browser.
const TIME: Duration = Duration::from_secs(600);
/// How many may be in their browsers at once. Anybody can begin, so there must be an end.
const FLOWS_MAX: usize = 10_000;
/// The characters of states and nonces.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A login that someone has begun in their browser.
pub(super) struct Flow {
    pub(super) role: String,
    pub(super) redirect_uri: String,
    /// What the provider must repeat in the token.
    pub(super) nonce: String,
    /// What proves to the provider that whoever redeems a code is who asked for it (PKCE). Nothing: there is no code.
    pub(super) verifier: Option<Secret<String>>,
    /// What proves to us that whoever ends the login is who began it; empty: nothing does.
    pub(super) client_nonce: Secret<String>,
    /// By what the provider knows the device that waits.
    pub(super) device_code: Option<Secret<String>>,
    /// From where it was begun.
    pub(super) requester: String,
    began: Time,
    /// What the browser brought back, if it came without the client.
    brought: Mutex<Brought>,
}

/// What the provider sends along with a browser.
#[derive(Clone, Default)]
pub(super) struct Brought {
    pub(super) code: String,
    pub(super) id_token: String,
    /// Why the provider let nobody in.
    pub(super) error: String,
}

/// The logins that are under way. They are in memory: a restart forgets them, and people begin anew.
#[derive(Default)]
pub(super) struct Flows(Mutex<HashMap<String, Arc<Flow>>>);

impl Flow {
    /// A login that begins now.
    pub(super) fn new(cx: &Writing<'_>, role: String, redirect_uri: String, client_nonce: &str) -> Self {
        Self {
            role,
            redirect_uri,
            nonce: format!("n_{}", word::<20>(cx)),
            verifier: Some(Secret::new(word::<43>(cx))),
            client_nonce: Secret::new(client_nonce.to_owned()),
            device_code: None,
            requester: cx
                .remote()
                .address
                .map(|address| address.to_canonical().to_string())
                .unwrap_or_default(),
            began: cx.now(),
            brought: Mutex::default(),
        }
    }

    /// Whether it was begun by whoever knows this.
    pub(super) fn is_of(&self, client_nonce: &str) -> bool {
        self.client_nonce.same(&Secret::new(client_nonce.to_owned()))
    }

    /// Keeps what the browser brought.
    pub(super) fn bring(&self, brought: Brought) {
        *self.brought.lock().unwrap_or_else(PoisonError::into_inner) = brought;
    }

    /// What the browser has brought so far.
    pub(super) fn brought(&self) -> Brought {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Flows {
    /// Those of this mount.
    pub(super) fn of(cx: &impl Reads) -> Arc<Self> {
        cx.lasting()
    }

    /// Keeps one, and says under which state. If there are too many, the oldest of whoever began the most makes room: who
    /// begins logins without end must not keep others from theirs.
    pub(super) fn begin(&self, cx: &Writing<'_>, flow: Flow) -> String {
        let state = format!("st_{}", word::<20>(cx));
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flows.len() >= FLOWS_MAX {
            flows.retain(|_, flow| cx.now() < flow.began.plus(TIME));
        }
        if flows.len() >= FLOWS_MAX {
            make_room(&mut flows);
        }
        flows.insert(state.clone(), Arc::new(flow));
        state
    }

    /// The one under this state, which stays.
    pub(super) fn find(&self, state: &str, now: Time) -> Option<Arc<Flow>> {
        let flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.get(state).filter(|flow| now < flow.began.plus(TIME)).cloned()
    }

    /// The one under this state, which is good for nothing after.
    pub(super) fn take(&self, state: &str, now: Time) -> Option<Arc<Flow>> {
        let flow = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(state)?;
        (now < flow.began.plus(TIME)).then_some(flow)
    }
}

/// Forgets the older half of the flows of whoever began the most.
fn make_room(flows: &mut HashMap<String, Arc<Flow>>) {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for flow in flows.values() {
        *count.entry(&flow.requester).or_default() += 1;
    }
    let Some(busiest) = count.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    else {
        return;
    };
    let mut theirs: Vec<(Time, String)> = flows
        .iter()
        .filter(|(_, flow)| flow.requester == busiest)
        .map(|(state, flow)| (flow.began, state.clone()))
        .collect();
    theirs.sort_unstable();
    let half = theirs.len().div_ceil(2);
    for (_, state) in theirs.into_iter().take(half) {
        flows.remove(&state);
    }
}

/// A random word. Bytes that would favour some characters are drawn anew.
fn word<const N: usize>(cx: &Writing<'_>) -> String {
    let mut word = String::with_capacity(N);
    while word.len() < N {
        for byte in cx.random::<N>() {
            let fair = byte < 248 && word.len() < N;
            word.extend(
                fair.then(|| BASE62.get(usize::from(byte) % 62)).flatten().map(|byte| char::from(*byte)),
            );
        }
    }
    word
}
