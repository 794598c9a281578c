//! cvc5 at the other end of a pipe, bounded in time and memory, and gone when the command is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cedar_policy_symcc::CedarSymCompiler;
use cedar_policy_symcc::err::SolverError;
use cedar_policy_symcc::solver::{Decision, DecisionWithModel, LocalSolver, Solver};

use super::Failure;
use crate::policy::prove::Trouble;

/// Which solver, and how long it may think about one question.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    program: PathBuf,
    limit: Duration,
    /// As the program names itself.
    pub(super) version: String,
}

/// Address space of one solver; the shipped policies take a tenth.
const MEMORY_KIB_MAX: &str = "4194304";
/// What a solver may take beyond its own limit before it counts as hanging.
const GRACE: Duration = Duration::from_secs(5);

impl Engine {
    /// # Errors
    /// There is no such program, or it does not run.
    pub(super) fn find(program: &Path, limit: Duration) -> Result<Self, Failure> {
        let asked = Command::new(program).arg("--version").output();
        let said = asked.as_ref().ok().filter(|output| output.status.success());
        let version = said.and_then(|output| first_version(&String::from_utf8_lossy(&output.stdout)));
        let version = version.ok_or_else(|| {
            let why = asked.err().map_or_else(|| "it does not say its version".to_owned(), |error| error.to_string());
            Failure::unavailable(format!(
                "the solver `{}` does not run ({why}): nothing was proved; install cvc5 (`apt-get install cvc5`) or name it in `CVC5`",
                program.display()
            ))
        })?;
        Ok(Self { program: program.to_owned(), limit, version })
    }

    /// # Errors
    /// The solver does not start.
    pub(super) fn start(&self) -> Result<CedarSymCompiler<Bounded>, Trouble> {
        // The shell sets the bound and becomes the solver.
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", MEMORY_KIB_MAX]).arg(&self.program).args(["--lang", "smt"]);
        command.arg(format!("--tlimit-per={}", self.limit.as_millis())).kill_on_drop(true);
        let solver = LocalSolver::from_command(&mut command).map_err(|e| Trouble::Broken(format!("the solver does not start: {e}")))?;
        let bounded = Bounded { solver, limit: self.limit + GRACE };
        CedarSymCompiler::new(bounded).map_err(Trouble::from)
    }
}

fn first_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    let version = line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(version.to_owned())
}

/// A solver that is not waited for longer than its limit.
#[derive(Debug)]
pub(super) struct Bounded {
    solver: LocalSolver,
    limit: Duration,
}

impl Bounded {
    fn late() -> SolverError {
        SolverError::Solver("no answer within the time limit".to_owned())
    }
}

impl Solver for Bounded {
    fn smtlib_input(&mut self) -> &mut (dyn tokio::io::AsyncWrite + Unpin + Send) {
        self.solver.smtlib_input()
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        self.solver.enable_models().await
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        tokio::time::timeout(self.limit, self.solver.check_sat()).await.unwrap_or_else(|_late| Err(Self::late()))
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        tokio::time::timeout(self.limit, self.solver.check_sat_with_model()).await.unwrap_or_else(|_late| Err(Self::late()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solver_that_is_not_there_is_unavailable_and_says_how_to_get_it() {
        let failure = Engine::find(Path::new("/nonexistent/cvc5"), Duration::from_secs(1)).unwrap_err();
        assert_eq!(failure.exit, super::super::Exit::Unavailable);
        assert!(failure.message.contains("apt-get install cvc5"), "{}", failure.message);
    }

    #[test]
    fn a_version_is_the_first_number_of_the_first_line() {
        assert_eq!(first_version("This is cvc5 version 1.0.3\ncompiled with GCC 12").as_deref(), Some("1.0.3"));
        assert_eq!(first_version("cvc5"), None);
    }
}
