// error[E0061]
// Nothing is sent to an upstream without a permit.
use consentry::gateway::Shared;
use consentry::gateway::forward::{Outgoing, Upstream, forward};

async fn skip(shared: &Shared, upstream: &Upstream, outgoing: &Outgoing) {
    let _ = forward(shared, upstream, outgoing).await;
}

fn main() {}
