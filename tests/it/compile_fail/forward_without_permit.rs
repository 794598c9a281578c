// error[E0061]
// Nothing is sent to an upstream without a permit.
use consentry::gateway::forward::{Outgoing, Upstream, forward};

async fn skip(upstream: &Upstream, outgoing: &Outgoing) {
    let _ = forward(upstream, outgoing).await;
}

fn main() {}
