//! From a request to an audited answer.
