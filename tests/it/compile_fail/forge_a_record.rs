// error[E0451]
// Only the log's writer can say that an entry is durable.
use consentry::audit::{DecisionId, Recorded};

fn forge(id: DecisionId) -> Recorded {
    Recorded { id }
}

fn main() {}
