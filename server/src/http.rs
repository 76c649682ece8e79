//! HTTP: from bytes to a [`kernel::Request`], and back.

mod archive;
mod body;
pub(crate) mod conn;
mod cors;
mod forwarded;
pub(crate) mod json;
pub(crate) mod listener;
mod outside;
mod proxy;
mod query;
mod refusal;
pub(crate) mod reply;
mod request;
mod room;
mod sending;
mod shown;
pub(crate) mod tls;
mod watch;
