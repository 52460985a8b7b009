//! `schedia completion` and `schedia man`: what the arguments say of themselves, for shells and for `man`.

use super::{CliError, output};
use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

pub(super) const COMPLETION_EXAMPLES: &str = "\
Examples:
  source <(schedia completion bash)                       this shell
  schedia completion bash > /etc/bash_completion.d/schedia
  schedia completion zsh > ~/.zfunc/_schedia              a directory of $fpath
  schedia completion fish > ~/.config/fish/completions/schedia.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  schedia man /usr/local/share/man/man1 && man schedia-kv-txn";

#[derive(Args)]
pub(super) struct Completion {
    /// For which shell
    shell: Shell,
}

#[derive(Args)]
pub(super) struct Man {
    /// The directory to write into; made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Completion {
    pub(super) fn run(self, mut command: clap::Command) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "schedia", &mut script);
        output::raw(&script)
    }
}

impl Man {
    /// One page per command: `schedia-kv-put.1`.
    pub(super) fn run(self, command: clap::Command) -> Result<(), CliError> {
        let failed = |source| CliError::Io { what: self.dir.display().to_string(), source };
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        clap_mangen::generate_to(command, &self.dir).map_err(failed)?;
        output::line(&format!("the manual pages are in {}", self.dir.display()))
    }
}
