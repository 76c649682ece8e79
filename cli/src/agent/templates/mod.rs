//! `template` and `env_template`: secrets in files and in a program's environment, in the language of consul-template.
//!
//! `language` is what a template is, and runs it with what is known; `source` asks the server; `brain` remembers the
//! answers and when each must be seen to; `target` is the file; `work` puts it together.

mod brain;
mod fields;
mod functions;
mod language;
mod layout;
mod maps;
mod parse;
mod query;
mod regex;
mod sandbox;
mod source;
mod sprig;
mod target;
mod toml;
#[cfg(test)]
mod trial;
mod values;
mod work;
mod yaml;

pub(crate) use language::{Program, Writing};
pub(crate) use sandbox::Sandbox;
pub(crate) use source::{Habit, Source};
pub(crate) use target::{Backup, FilePlan, Folders};
pub(crate) use work::{Pace, Target, Template, Work};
