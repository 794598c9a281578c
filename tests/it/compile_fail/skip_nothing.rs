// The control: in order, everything compiles.
use std::sync::Arc;

use consentry::audit::Recorded;
use consentry::filter::Filtered;
use consentry::gateway::forward::{ForwardError, Outgoing, Unfiltered, Upstream, forward};
use consentry::gateway::Shared;
use consentry::gateway::permit::Permitted;
use consentry::gateway::respond::{Holds, Part};

async fn send(permitted: &Permitted, shared: &Shared, upstream: &Upstream, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
    forward(permitted, shared, upstream, outgoing).await
}

fn release(filtered: Filtered, recorded: Recorded, holds: Arc<dyn Holds>) -> Part {
    Part::new(filtered, recorded, holds)
}

fn main() {
    let _ = (send, release);
}
