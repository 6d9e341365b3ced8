//! `hack/stack`: the real parts as plain processes on this machine, without containers.

mod app;
#[allow(dead_code, unreachable_pub)] // The tests use more of it.
#[path = "mod.rs"]
mod stack;

fn main() -> anyhow::Result<()> {
    app::main()
}
