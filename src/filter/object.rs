//! Cutting one object.
