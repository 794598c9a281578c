// error[E0308]
// An upstream's answer cannot be released as it came.
use std::sync::Arc;

use consentry::audit::Recorded;
use consentry::gateway::forward::Unfiltered;
use consentry::gateway::respond::{Holds, Part};

fn skip(answer: Unfiltered, recorded: Recorded, holds: Arc<dyn Holds>) -> Part {
    Part::new(answer, recorded, holds)
}

fn main() {}
