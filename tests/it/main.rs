//! The one test binary: everything that needs more than one room. Pure rooms are tested beside their code.

mod check;
mod cli;
mod faults;
mod kill;
mod lifecycle;
mod listeners;
mod process;
mod tidy;
mod witness;
