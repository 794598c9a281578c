//! The cutter and its tests' cases and oracle, as the gateway builds them, but without the rest of it: built in a minute.

#[path = "../../../src/filter/tests/agree.rs"]
mod agree;
#[path = "../../../src/filter/tests/bodies.rs"]
mod bodies;
#[path = "../../../src/filter/tests/case.rs"]
mod case;
#[path = "../../../src/filter/mod.rs"]
pub mod filter;
#[path = "../../../src/model/mod.rs"]
pub mod model;
#[path = "../../../src/filter/tests/tree.rs"]
mod tree;

/// # Panics
/// When the cutter and the tree filter differ on the case of these bytes.
pub fn cut(data: &[u8]) {
    if let Err(difference) = agree::check(data) {
        panic!("{difference}");
    }
}

/// # Panics
/// When the reader and serde_json differ on what these bytes are.
pub fn read(data: &[u8]) {
    if let Err(difference) = agree::check_reader(data) {
        panic!("{difference}");
    }
}
