//! The rules that matter, as tests.
