//! `reiter8 completions SHELL`: the script that lets a shell complete commands and options.

use clap_complete::Shell;

use super::style::print;

/// Print the completion script of a shell
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    reiter8 completions bash > ~/.local/share/bash-completion/completions/reiter8\n  \
    reiter8 completions zsh > \"${fpath[1]}/_reiter8\"\n  \
    reiter8 completions fish > ~/.config/fish/completions/reiter8.fish\n  \
    source <(reiter8 completions bash)   # this shell only")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints the script for `command`.
    pub(super) fn run(self, mut command: clap::Command) -> anyhow::Result<()> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut command, "reiter8", &mut script);
        Ok(print(&String::from_utf8_lossy(&script))?)
    }
}
