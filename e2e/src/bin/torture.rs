//! `cargo torture`: real processes under faults, as long as asked, with a proof at the end of each round.

use clap::{Parser, ValueEnum};
use schedia_e2e::process::{Clock, binary};
use schedia_e2e::torture::fault::Kind;
use schedia_e2e::torture::round::Settings;
use schedia_e2e::torture::{Run, replay, run};
use schedia_e2e::wait::unless_told_to_end;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Runs a cluster of real processes under clients, watches, producers, workers and faults, and checks each round:
/// linearizability, revisions, watches, tasks. Exit status 0: no violation; 1: a violation, kept and named; 130: stopped.
#[derive(Parser)]
#[command(bin_name = "cargo torture")]
struct Arguments {
    /// So many hours
    #[arg(long, conflicts_with = "minutes")]
    hours: Option<f64>,
    /// So many minutes (without both: two)
    #[arg(long)]
    minutes: Option<f64>,
    /// At most so many rounds
    #[arg(long, default_value_t = u64::MAX)]
    rounds: u64,
    /// Of the first round; each further one has the next seed [default: drawn]
    #[arg(long)]
    seed: Option<u64>,
    /// Faults to draw from [default: all]; `none`: peace
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<String>,
    /// Members of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Whether leaders read by their lease [default: if the seed of the first round is odd]
    #[arg(long)]
    lease_reads: Option<bool>,
    /// Concurrent clients of keys
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..))]
    clients: u8,
    /// Producers of tasks, and as many workers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..))]
    workers: u8,
    /// Groups that queues are on [default: 1 or 4, by the seed of the first round]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16))]
    shards: Option<u32>,
    /// Check a kept history again, and do nothing else
    #[arg(long)]
    replay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.replay {
        Some(path) => replay(path).map(|()| ExitCode::SUCCESS),
        None => torture(&arguments),
    };
    done.unwrap_or_else(|words| {
        eprintln!("error: {words}");
        ExitCode::FAILURE
    })
}

fn torture(arguments: &Arguments) -> Result<ExitCode, String> {
    let minutes = arguments.hours.map(|hours| hours * 60.0).or(arguments.minutes).unwrap_or(2.0);
    let lasts = Duration::try_from_secs_f64(minutes * 60.0).map_err(|e| format!("so long: {e}"))?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let asked = Run {
        lasts,
        rounds: arguments.rounds,
        seed,
        nodes: arguments.nodes.into(),
        lease_reads: arguments.lease_reads.unwrap_or(seed % 2 == 1),
        shards: arguments.shards.unwrap_or(if seed % 4 < 2 { 1 } else { 4 }),
        settings: Settings {
            faults: kinds(&arguments.nemesis)?,
            clients: arguments.clients.into(),
            workers: arguments.workers.into(),
        },
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|e| format!("no runtime: {e}"))?;
    let ended = runtime.block_on(unless_told_to_end(run(&asked)))?;
    Ok(ended.map_or(ExitCode::from(130), |()| ExitCode::SUCCESS))
}

fn kinds(names: &[String]) -> Result<Vec<Kind>, String> {
    match names {
        [] => {
            let believed = Clock::is_believed_by(binary::schedia());
            if !believed {
                println!("torture: wall clocks stay right: a static program cannot be told another time");
            }
            let all = Kind::value_variants().iter().copied();
            Ok(all.filter(|kind| believed || !kind.is_of_a_clock()).collect())
        }
        [none] if none == "none" => Ok(Vec::new()),
        names => {
            let kinds = names.iter().map(|name| Kind::from_str(name, false).map_err(|_| unknown(name)));
            possible(kinds.collect::<Result<_, _>>()?)
        }
    }
}

/// An error, if the program cannot be done that to.
fn possible(kinds: Vec<Kind>) -> Result<Vec<Kind>, String> {
    match kinds.iter().find(|kind| kind.is_of_a_clock() && !Clock::is_believed_by(binary::schedia())) {
        Some(kind) => Err(format!(
            "{kind} needs a program that is loaded with libraries, and {} is static: leave out {}",
            binary::schedia().display(),
            binary::VARIABLE
        )),
        None => Ok(kinds),
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = Kind::value_variants().iter().map(Kind::to_string).collect();
    format!("no such nemesis: {name} (there are {})", known.join(", "))
}
