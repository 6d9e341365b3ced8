//! What an attack needs: a server that misbehaves and remembers, packs that it sends, and a look for the token.

pub(crate) mod pack;
pub(crate) mod secret;
pub(crate) mod server;

/// The most memory that this process ever had, in bytes.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
