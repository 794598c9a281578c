//! Only the log's writer can say that an entry is durable.
use consentry::audit::Recorded;

fn main() {
    let _ = Recorded { index: 7 };
}
