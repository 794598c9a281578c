// error[E0061]
// No byte leaves without the entry that is durable for it.
use consentry::filter::Filtered;
use consentry::gateway::respond::Part;

fn skip(filtered: Filtered) -> Part {
    Part::new(filtered)
}

fn main() {}
