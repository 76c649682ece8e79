use std::any::Any;

/// The results of costly work, kept while a command is run again.
#[derive(Default)]
pub struct Once {
    pub(crate) kept: Vec<Box<dyn Any + Send>>,
    pub(crate) at: usize,
    /// The command runs where many milliseconds of a core hold nobody up.
    pub pooled: bool,
}

impl Once {
    /// For a command that runs where costly work holds nobody up.
    pub fn in_pool() -> Self {
        Self { pooled: true, ..Self::default() }
    }
}
