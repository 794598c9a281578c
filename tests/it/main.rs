//! The one test binary: everything that needs more than one room. Pure rooms are tested beside their code.

// `cfg(test)` tells clippy that helpers beside the tests are test code, too.
#[cfg(test)]
mod bench;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod witness;
