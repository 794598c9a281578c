//! The one test binary: everything that needs more than one room. Pure rooms are tested beside their code.

// `cfg(test)` tells clippy that helpers beside the tests are test code, too.
#[cfg(test)]
mod agents;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod break_glass;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod coded;
#[cfg(test)]
mod confirmation;
#[cfg(test)]
mod conflicts;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod exporting;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod governance;
#[cfg(test)]
mod graphql;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod joint;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod leads;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod links;
#[cfg(test)]
mod listeners;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod officers;
#[cfg(test)]
mod onboarding;
#[cfg(test)]
mod organisations;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod patches;
#[cfg(test)]
mod payments;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod process;
#[cfg(test)]
mod prove;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod recipients;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rejects;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod screens;
#[cfg(test)]
mod service;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod stops;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tickets;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tracing;
#[cfg(test)]
mod traps;
#[cfg(test)]
mod upstreams;
#[cfg(test)]
mod uses;
#[cfg(test)]
mod vendor;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod withdrawal;
#[cfg(test)]
mod witness;
#[cfg(test)]
mod writes;
