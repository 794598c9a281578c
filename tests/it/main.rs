//! The one test binary: everything that needs more than one room. Pure rooms are tested beside their code.

mod kill;
mod process;
mod tidy;
mod witness;
