// error[E0451]
// A permit can only be made by the room that judged.
use consentry::gateway::permit::Permitted;
use consentry::model::Action;

fn main() {
    let _ = Permitted { action: Action::Read };
}
