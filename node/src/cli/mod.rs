//! The command line: `serve` runs a node, everything else talks to running ones.
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no leader or nobody reachable.
//!
//! Not here: what a node does (`crate::node`), how requests find an endpoint (`schedia_api::Transport`).

mod balsa;
mod client;
mod confirm;
mod documents;
mod kv;
mod member;
mod output;
mod queue;
mod raftd;
mod serve;
mod status;

use crate::config::Settings;
use clap::{CommandFactory, Parser, Subcommand};
use schedia_api::ClientError;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

/// Keeps small, precious state: a replicated key/value store, and queues of tasks.
#[derive(Parser)]
#[command(name = "schedia", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node
    Serve(Box<Settings>),
    /// Run a node in raftd's manner: its flags, its routes
    #[command(disable_help_flag = true)]
    Raftd {
        /// raftd's: [-h HOST] [-p PORT] [-join HOST:PORT] [-v] [-debug] [-trace] PATH
        #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Run a node in balsa's manner: its variables, its routes
    Balsa,
    /// Show the cluster: its leader, its members, what it can lose
    Status(status::Status),
    /// Read and write keys
    #[command(subcommand)]
    Kv(kv::Kv),
    /// Create tasks, work at them, look at queues
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Show and change who belongs to the cluster
    #[command(subcommand)]
    Member(member::Member),
    /// Make nodes checkpoint their state and purge their logs now
    Snapshot(member::Snapshot),
    /// Make nodes copy their state files into fresh ones, which gives back the room of deleted rows
    Defragment(member::Defragment),
    /// Print a script that lets a shell complete commands and options
    #[command(after_help = documents::COMPLETION_EXAMPLES)]
    Completion(documents::Completion),
    /// Write the manual pages of all commands
    #[command(after_help = documents::MAN_EXAMPLES)]
    Man(documents::Man),
}

/// Why a command ended without being done.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// Said already, in the words of the program whose manner is followed; this is the exit status.
    #[error("exit status {0}")]
    Said(u8),
    /// Refused, or failed.
    #[error("{0}")]
    Failed(String),
    /// A node's answer, or none.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The same, of the queue.
    #[error(transparent)]
    Queue(ClientError),
    /// Standard input, standard output or a file.
    #[error("{what}: {source}")]
    Io {
        /// What was read or written.
        what: String,
        /// What it said.
        source: io::Error,
    },
}

impl CliError {
    fn exit(&self) -> u8 {
        match self {
            CliError::Usage(_) => 2,
            CliError::Client(error) | CliError::Queue(error) => match error {
                ClientError::InvalidEndpoint(_) | ClientError::InvalidToken => 2,
                ClientError::Unreachable(_) | ClientError::Refused { status: 421 | 503, .. } => 3,
                _ => 1,
            },
            CliError::Said(status) => *status,
            CliError::Failed(_) | CliError::Io { .. } => 1,
        }
    }

    /// What to do about it, where the error itself does not say.
    fn hint(&self) -> Option<&'static str> {
        match self {
            CliError::Client(ClientError::Unreachable(_)) => {
                Some("is a node running there? name others with --endpoints (or --admin-endpoints)")
            }
            CliError::Queue(ClientError::Unreachable(_)) => {
                Some("is a node running there? name others with --endpoints")
            }
            CliError::Client(ClientError::Refused { status: 421, .. }) => {
                Some("name the leader's admin port with --admin-endpoints, or those of all nodes")
            }
            CliError::Queue(ClientError::Refused { status: 401, .. }) => Some(
                "the token is that of a producer, a worker or an administrator, as the command needs: give another one with --token-file, SCHEDIA_TOKEN or --token",
            ),
            CliError::Client(ClientError::Refused { status: 503, .. })
            | CliError::Queue(ClientError::Refused { status: 503, .. }) => {
                Some("nothing was changed; the same command may be given again, `schedia status` tells more")
            }
            CliError::Client(
                ClientError::OutcomeUnknown { .. } | ClientError::Refused { status: 504, .. },
            ) => Some("it may have been applied: read before giving it again, or use --if-mod-revision"),
            CliError::Queue(
                ClientError::OutcomeUnknown { .. } | ClientError::Refused { status: 504, .. },
            ) => Some(
                "it may have been applied: look before giving it again, with `schedia queue get` or `list`",
            ),
            _ => None,
        }
    }
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(settings) => serve::run(*settings, &environment()),
        Command::Raftd { words } => raftd::run(words, &environment()),
        Command::Balsa => balsa::run(&environment()),
        Command::Completion(completion) => completion.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
        command => talk(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(CliError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Said(status)) => ExitCode::from(status),
        Err(error) => {
            eprintln!("schedia: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("schedia: {hint}");
            }
            ExitCode::from(error.exit())
        }
    }
}

fn talk(command: Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CliError::Io { what: "starting".to_owned(), source })?;
    runtime.block_on(async {
        match command {
            Command::Serve(_)
            | Command::Raftd { .. }
            | Command::Balsa
            | Command::Completion(_)
            | Command::Man(_) => {
                unreachable!("these talk to no node, or have a runtime of their own")
            }
            Command::Status(status) => status.run().await,
            Command::Kv(kv) => kv.run().await,
            Command::Queue(queue) => queue.run().await,
            Command::Member(member) => member.run().await,
            Command::Snapshot(snapshot) => snapshot.run().await,
            Command::Defragment(defragment) => defragment.run().await,
        }
    })
}

/// The names of every variable that some command takes.
fn environment() -> Vec<String> {
    fn collect(command: &clap::Command, names: &mut Vec<String>) {
        let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
        names.extend(own.map(str::to_owned));
        command.get_subcommands().for_each(|sub| collect(sub, names));
    }
    let mut names = Vec::new();
    collect(&Cli::command(), &mut names);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_known_as_a_variable() {
        let names = environment();
        for name in ["SCHEDIA_CACHE_MIB", "SCHEDIA_CONFIG", "SCHEDIA_ENDPOINTS", "SCHEDIA_TIMEOUT"] {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
    }
}
