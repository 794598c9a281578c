// error[E0308]
// An upstream's answer cannot be released as it came.
use consentry::audit::Recorded;
use consentry::gateway::forward::Unfiltered;
use consentry::gateway::respond::Part;

fn skip(answer: Unfiltered, recorded: Recorded) -> Part {
    Part::new(answer, recorded)
}

fn main() {}
