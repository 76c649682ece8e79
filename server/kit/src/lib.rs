//! What an engine may see, and all it may see.
