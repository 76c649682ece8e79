//! Requests that are written down and made later: what a new server asks of itself, what a workflow asks in the name of
//! its caller; and the expressions in them, which roles of auth methods have too.
//!
//! Nothing here makes a request. It says what the next one is, from what was asked and answered so far.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "test code: a panic is how a test says no"
    )
)]

pub mod cel;
mod expression;
mod history;
mod input;
mod read;
mod sources;
mod step;
mod template;
mod workflow;

pub use expression::{Expression, Kind, Outside, Selector, Side, Source, Within};
pub use history::{HISTORY_WEIGHT_MAX, History};
pub use input::{Field, FieldKind, Input};
pub use read::{Dialect, Failure, groups};
pub use step::{Asked, Group, STEPS_MAX, Step, Told, verb};
pub use template::{Chance, Fill, Template};
pub use workflow::{Output, Workflow};
