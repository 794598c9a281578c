//! `consentry certs dev`: throw-away certificates and keys for development, the demo and tests.
