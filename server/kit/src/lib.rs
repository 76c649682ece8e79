//! What an engine may see, and all it may see.
//!
//! An engine is a type, and what it can do is a list of operations. An operation is a struct: its fields
//! are the parameters, its doc comment is the help text, its `ROUTE` is where it answers, its `run` is the
//! code. HTTP, CLI, OpenAPI, path-help, audit redaction and the authorization tests all read that one list.
//!
//! What is absent on purpose: an engine never sees a token, never commits, has no clock but `cx.now()`, and
//! no way to a key outside its own mount.
//!
//! What must not happen does not compile. A query cannot write:
//!
//! ```compile_fail,E0599
//! fn sneaky(cx: &mut kit::Reading<'_>) {
//!     let _ = cx.put(1, kit::Name::Path("a"), Vec::new());
//! }
//! ```
//!
//! An engine cannot commit, nor reach the transaction without the kernel's own key:
//!
//! ```compile_fail,E0616
//! fn sneaky(cx: &mut kit::Writing<'_>) {
//!     let _ = &cx.txn;
//! }
//! ```
//!
//! A secret is neither printed nor cloned in passing:
//!
//! ```compile_fail,E0277
//! println!("{}", kit::Secret::new(String::from("hunter2")));
//! ```
//!
//! ```compile_fail,E0599
//! let copy = kit::Secret::new(String::from("hunter2")).clone();
//! ```
//!
//! A claim is not a token, and a secrets engine has no way to make one:
//!
//! ```compile_fail,E0277
//! fn let_in<M: kit::AuthMethod>() {}
//! struct Engine;
//! let_in::<Engine>();
//! ```

mod any;
mod ask;
mod caller;
mod context;
mod effect;
mod error;
mod fields;
pub mod glob;
mod login;
pub mod loose;
mod memo;
mod notes;
mod once;
mod operation;
mod reply;
mod route;
mod secret;
mod shape;
mod table;
mod time;
mod uuid;
mod world;

pub use any::{AnyEngine, Found, Kind, Listed};
pub use ask::{Ask, AskLogin, Asking, Awaited, Heard, ask, ask_login};
pub use caller::{Caller, Entity, Mount, People, Remote, Shown, TokenKind};
pub use context::{Beyond, Doing, Due, Each, Grant, Reading, Reads, Recording, Right, Writing};
pub use effect::{Effect, effect};
pub use error::{Error, Fault, Result};
pub use fields::{Fields, Ignored};
pub use login::{AnyMethod, AuthMethod, Claim, Login, LoginPoint, Renewal, Terms, login};
pub use memo::{Kept, Memo, Memos};
pub use notes::Notes;
pub use once::Once;
pub use operation::{Command, Endpoint, Engine, Exists, Gauge, Query, command, query};
pub use policy::{Alias, Capability, Group};
pub use reply::{Body, Nothing, Page, Reply};
pub use route::{Called, Captures, Judged, Match, NameAt, Route, Verb};
pub use secret::Secret;
pub use shape::Shape;
pub use storage::{MountId, Name};
pub use table::{IdTable, Table, VersionTable, in_scan_order, page};
pub use time::Time;
pub use uuid::Uuid;
pub use world::{Caa, Call, PodFile, Redirects, Soon, TOLD_MAX, Told, Trust, Unproven, World};
