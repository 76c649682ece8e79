//! Durable, ordered, transactional, encrypted bytes.
