//! Every auth method there is.
