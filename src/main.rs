/// A decision makes some hundred small values and frees them on whatever thread it ends.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    consentry::cli::main()
}
