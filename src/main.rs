//! The `reiter8` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    reiter8::cli::main()
}
