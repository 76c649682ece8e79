//! The whole of Sealkeep, from outside.
