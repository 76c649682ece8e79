//! Certificates, requests, revocation lists and their keys.
