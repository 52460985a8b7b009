//! `cargo bench-cluster`: three real nodes beside three real members of etcd, the same load on both in turn, and the ratios.
//!
//! In reading order: [`options`] what can be asked for; [`servers`] one cluster under measurement, [`etcd`] the peer's, [`codeq`] that of queues;
//! [`wire`] how the load speaks; [`phase`] one load for a fixed time, `queues` that of tasks, [`outage`] a kill; [`scenes`] the parts of a run; [`usage`], [`crate::metrics`], [`machine`] where figures come
//! from; [`ratio`], [`report`] and [`plot`] what becomes of them.
//!
//! Both clusters run all the time and idle while the other is measured. Rounds alternate (A B A B), so that a machine that
//! becomes slower becomes it for both, and a ratio is taken within each round. docs/benchmarks.md explains the report.

pub mod codeq;
pub mod etcd;
pub mod machine;
pub mod options;
pub mod outage;
pub mod phase;
pub mod plot;
mod queues;
pub mod ratio;
pub mod report;
pub mod scenes;
pub mod servers;
pub mod usage;
pub mod wire;

use crate::paths;
use options::{Options, Scene};
use report::Report;
use scenes::Stage;
use servers::Make;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs everything that is asked for; the path of the written report.
pub async fn run(options: Options) -> Result<PathBuf, String> {
    let of_queues = options.is_of_queues()?;
    let place = place(&options)?;
    let out = options.out.clone().unwrap_or_else(|| paths::target().join("bench"));
    fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let builds = scenes::builds(&options).await?;
    let mut report = Report {
        began: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        machine: machine::Machine::look(place.path()),
        ours: builds[0].name.clone(),
        theirs: builds.get(1).map(|build| build.name.clone()),
        floors: builds.get(1).is_some_and(|build| build.make != Make::Schedia),
        seconds: options.seconds,
        threads: options.threads,
        cells: Vec::new(),
        outages: Vec::new(),
    };
    for warning in &report.machine.warnings {
        eprintln!("warning: {warning}");
    }
    let stage = Stage { options: &options, builds, place: place.path(), report: &mut report };
    let measured = if of_queues { queues(stage).await } else { scenes(stage).await };
    // What was measured before a failure is kept all the same.
    let path = write(&report, &out)?;
    measured.map(|()| path)
}

async fn scenes(mut stage: Stage<'_>) -> Result<(), String> {
    let only = &stage.options.only;
    let works: Vec<_> = only.iter().filter_map(|scene| scene.work()).collect();
    if !works.is_empty() {
        stage.loads(&works).await?;
    }
    if only.contains(&Scene::Failover) {
        stage.failover().await?;
    }
    if only.contains(&Scene::Restart) {
        stage.restart().await?;
    }
    if only.contains(&Scene::Growth) {
        stage.growth().await?;
    }
    Ok(())
}

async fn queues(mut stage: Stage<'_>) -> Result<(), String> {
    let only = &stage.options.only;
    let works: Vec<_> = only.iter().filter_map(|scene| scene.work()).collect();
    if !works.is_empty() {
        stage.queues(&works).await?;
    }
    if stage.options.only.contains(&Scene::Backlog) {
        stage.backlog().await?;
    }
    Ok(())
}

/// Removed with all that is in it when the run ends, however it ends.
fn place(options: &Options) -> Result<tempfile::TempDir, String> {
    let parent = options.data_dir.clone().unwrap_or_else(std::env::temp_dir);
    fs::create_dir_all(&parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    let place = tempfile::Builder::new().prefix("schedia-bench-").tempdir_in(&parent);
    place.map_err(|e| format!("{}: {e}", parent.display()))
}

/// Markdown, JSON and a picture; the path of the first.
fn write(report: &Report, out: &Path) -> Result<PathBuf, String> {
    let markdown = out.join("report.md");
    let json = serde_json::to_string_pretty(report).map_err(|e| e.to_string())?;
    let files = [
        (markdown.clone(), report.markdown()),
        (out.join("report.json"), json),
        (out.join("report.svg"), plot::svg(report)),
    ];
    for (path, text) in files {
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(markdown)
}
