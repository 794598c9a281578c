//! The catalogue of attacks in ARCHITECTURE.md, a file for each of its parts: what is tried, and what must become of it.

mod answers;
