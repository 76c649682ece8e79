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
