//! `hack/stack`: the real parts as plain processes on this machine, without containers.

mod app;
#[path = "mod.rs"]
mod stack;

fn main() -> anyhow::Result<()> {
    app::main()
}
