//! What is kept of a round that went wrong: its history, drawings of what was refused, the logs of the nodes.

use super::check::visualize;
use super::round::Round;
use super::world::World;
use std::path::{Path, PathBuf};

/// Keeps a round below the build directory; where.
pub fn keep(world: &World, round: &Round) -> std::io::Result<PathBuf> {
    let dir = crate::paths::target().join("e2e").join(format!("torture-{}", round.history.seed));
    std::fs::create_dir_all(&dir)?;
    round.history.write(&dir.join("history.jsonl"))?;
    std::fs::write(dir.join("violations.txt"), round.verdict.violations.join("\n"))?;
    for node in &world.cluster.nodes {
        std::fs::write(dir.join(format!("{}.log", node.name)), node.log())?;
    }
    draw(round, &dir)?;
    Ok(dir)
}

fn draw(round: &Round, dir: &Path) -> std::io::Result<()> {
    for group in &round.verdict.refused_groups {
        visualize(&round.history, *group, &dir.join(format!("group-{group}.html")))?;
    }
    Ok(())
}
