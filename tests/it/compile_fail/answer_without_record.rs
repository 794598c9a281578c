// error[E0061]
// No byte leaves without the entry that is durable for it.
use std::sync::Arc;

use consentry::filter::Filtered;
use consentry::gateway::respond::{Holds, Part};

fn skip(filtered: Filtered, holds: Arc<dyn Holds>) -> Part {
    Part::new(filtered, holds)
}

fn main() {}
