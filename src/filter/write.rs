//! Written bodies.

use std::fmt;

use bytes::Bytes;

use super::{Limits, Unreadable};
use crate::model::{PathPattern, RequestPlan, Shape, Shapes, Space, Verdicts};

/// A written body that could be read, not yet judged.
pub struct Written(Bytes);

/// The exact bytes to send upstream.
pub struct Writable(Bytes);

/// The write is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRefused {
    /// Paths of the shape (or drift-safe paths of the body) that refuse it, sorted.
    pub paths: Vec<String>,
    /// The write would destroy or store withheld values: 409 `masked-write` instead of 403 `field-not-permitted`.
    pub masked: bool,
}

/// Reads a written body by the shape of its route.
///
/// # Errors
/// [`Unreadable`]: not strict JSON, or not an object.
pub fn read_write(body: &Bytes, plan: &RequestPlan, shapes: &Shapes, limits: &Limits) -> Result<Written, Unreadable> {
    let _ = (plan, shapes, limits);
    Ok(Written(body.clone()))
}

impl Written {
    /// The customers that the body names, each once.
    #[must_use]
    pub fn references(&self) -> Vec<(Space, String)> {
        Vec::new()
    }

    /// Judges the write member by member. `verdicts`: for `update` or `create`; `readable`: for `read`, of the same customer;
    /// `replace`: a PUT that is sent as PUT.
    ///
    /// # Errors
    /// [`WriteRefused`] with everything that refuses it.
    pub fn judge(&self, verdicts: &Verdicts, readable: &Verdicts, replace: bool) -> Result<Writable, WriteRefused> {
        let _ = (verdicts, readable, replace);
        Err(WriteRefused { paths: Vec::new(), masked: false })
    }
}

impl Writable {
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// A DELETE needs `delete` on every category of its shape.
///
/// # Errors
/// [`WriteRefused`] with the paths whose category is refused.
pub fn judge_delete(shape: &Shape, verdicts: &Verdicts) -> Result<(), WriteRefused> {
    let _ = (shape, verdicts);
    Err(WriteRefused { paths: Vec::new(), masked: false })
}

/// The customer's id at a place of a request or response body.
///
/// # Errors
/// [`Unreadable`]: not strict JSON, or not exactly one string or integer there.
pub fn find_id(body: &Bytes, path: &PathPattern, limits: &Limits) -> Result<Option<String>, Unreadable> {
    let _ = (body, path, limits);
    Ok(None)
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writable({} bytes)", self.0.len())
    }
}
