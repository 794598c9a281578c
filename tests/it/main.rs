//! The one test binary: everything that needs more than one room. Pure rooms are tested beside their code.

mod harness;
mod reads;
mod requests;
mod tidy;
mod vendor;
mod withdrawal;
mod witness;
mod writes;
