use std::sync::{Mutex, PoisonError};

use ring::rand::SecureRandom;

/// Where randomness comes from: the system, or a seed in tests and the simulator.
pub trait Random: Send + Sync {
    /// Overwrites all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness nothing that this program does is safe, so stopping is the only right answer.
        ring::rand::SystemRandom::new().fill(bytes).expect("the system has randomness once it has booted");
    }
}

/// Randomness that is asked for at once and given out in pieces: a call of the system costs as much as to seal with it.
pub(crate) struct Drawn<'a> {
    source: &'a dyn Random,
    left: Mutex<Vec<u8>>,
}

impl<'a> Drawn<'a> {
    pub(crate) fn of(source: &'a dyn Random, size: usize) -> Self {
        let mut left = vec![0; size];
        if !left.is_empty() {
            source.fill(&mut left);
        }
        Self { source, left: Mutex::new(left) }
    }
}

impl Random for Drawn<'_> {
    fn fill(&self, bytes: &mut [u8]) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.len().checked_sub(bytes.len()) {
            // Taken out, so that nothing is given twice.
            Some(rest) => bytes.iter_mut().zip(left.drain(rest..)).for_each(|(to, from)| *to = from),
            None => self.source.fill(bytes),
        }
    }
}
