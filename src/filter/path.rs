//! Matching paths.
