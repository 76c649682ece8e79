//! Memory for keys: locked, left out of core dumps, wiped.
