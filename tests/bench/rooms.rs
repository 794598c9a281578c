//! Benchmarks of single rooms. Their names are fixed, so that figures can be followed over time; what a whole request costs
//! is measured by `consentry bench`. `cargo test --bench rooms` and `cargo bench --bench rooms -- --test` run each once.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]
#![expect(unreachable_pub, reason = "modules of a program")]

mod audit;
mod consent;
mod decision;
mod filter;
mod identity;
mod large;
mod replay;
mod search;

use std::path::Path;

use criterion::{criterion_group, criterion_main};

criterion_group!(rooms, decision::bench, filter::bench, consent::bench, audit::bench, identity::bench, replay::bench, search::bench);
criterion_main!(rooms);

/// Each benchmark runs once, to show that it works: set-ups may be small. As criterion sees it: `--test`, or not `cargo bench`.
fn is_smoke() -> bool {
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    given("--test") || !given("--bench")
}

/// The policy folder that is shipped.
fn policies() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))
}
