//! The binary `schedia`: everything is in the library.

/// Long-lived maps of small values: the system's allocator fragments under them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    schedia_node::cli::run()
}
