//! Ratios of alternating rounds, and the floors they must keep.

use super::phase::{Load, Phase, Target, Work};
use serde::Serialize;

/// One ratio a round: the middle one, and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Ratio {
    /// Of each pair, the first by the second. Without pairs, or with a zero below, there is none.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Ratio> {
        let ratios: Vec<_> = pairs.into_iter().map(|(ours, theirs)| ours / theirs).collect();
        if ratios.iter().any(|ratio| !ratio.is_finite()) {
            return None;
        }
        let (min, max) = (fold(&ratios, f64::min)?, fold(&ratios, f64::max)?);
        Some(Ratio { median: median(&ratios)?, min, max })
    }
}

/// The middle value; of an even number the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(match sorted.len() % 2 {
        0 => (sorted[sorted.len() / 2 - 1] + upper) / 2.0,
        _ => upper,
    })
}

fn fold(values: &[f64], pick: fn(f64, f64) -> f64) -> Option<f64> {
    values.iter().copied().reduce(pick)
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Requests answered per second: more is better.
    Throughput,
    /// The time that 99 of 100 requests stay below.
    P99,
    /// CPU of all servers for one request.
    ServerCpu,
    /// Bytes all servers write for one request.
    Written,
    /// Memory of the leader.
    Memory,
}

impl Measure {
    /// All, in the order of the report's columns.
    pub const ALL: [Measure; 5] =
        [Measure::Throughput, Measure::P99, Measure::ServerCpu, Measure::Written, Measure::Memory];

    /// As the report heads its column.
    pub fn title(self) -> &'static str {
        match self {
            Measure::Throughput => "ops/s",
            Measure::P99 => "p99",
            Measure::ServerCpu => "server CPU/op",
            Measure::Written => "written/op",
            Measure::Memory => "RSS, leader",
        }
    }

    /// Out of a phase.
    pub fn value(self, phase: &Phase) -> f64 {
        match self {
            Measure::Throughput => phase.ops_per_second,
            Measure::P99 => phase.p99_us as f64,
            Measure::ServerCpu => phase.server_cpu_us_per_op,
            Measure::Written => phase.written_bytes_per_op,
            Measure::Memory => phase.leader_resident_bytes as f64,
        }
    }

    /// What the project promises against etcd, for values of 256 B on the leader of three, and against codeQ, on one shard.
    pub fn floor(self, load: &Load) -> Option<Floor> {
        if load.work.is_of_queues() {
            return self.floor_of_queues(load);
        }
        if load.value_bytes != 256 || load.members != 3 || load.target != Target::Leader {
            return None;
        }
        match (self, load.work, load.clients) {
            (Measure::Throughput, Work::Puts, 1) => Some(Floor::AtLeast(1.4)),
            (Measure::Throughput, Work::Puts, 16..) => Some(Floor::AtLeast(2.5)),
            (Measure::Throughput, Work::Reads, 1) => Some(Floor::AtLeast(2.0)),
            (Measure::Throughput, Work::Reads, 16..) => Some(Floor::AtLeast(3.0)),
            (Measure::ServerCpu, Work::Puts, _) => Some(Floor::AtMost(0.4)),
            (Measure::P99, Work::Puts, _) => Some(Floor::AtMost(0.8)),
            _ => None,
        }
    }
}

impl Measure {
    fn floor_of_queues(self, load: &Load) -> Option<Floor> {
        if load.shards != 1 || load.target != Target::Leader {
            return None;
        }
        match (self, load.work, load.clients) {
            (Measure::Throughput, Work::Cycles, 1) => Some(Floor::AtLeast(0.7)),
            (Measure::Throughput, Work::Cycles, 32 | 128) => Some(Floor::AtLeast(1.2)),
            (Measure::ServerCpu, Work::Cycles, _) => Some(Floor::AtMost(0.7)),
            (Measure::Throughput, Work::Batches, _) => Some(Floor::AtLeast(3.0)),
            _ => None,
        }
    }
}

/// What a median ratio must keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Floor {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Floor {
    /// Whether a median ratio keeps it.
    pub fn met(self, median: f64) -> bool {
        match self {
            Floor::AtLeast(floor) => median >= floor,
            Floor::AtMost(floor) => median <= floor,
        }
    }

    /// For a person: `>= 2.5 met`.
    pub fn verdict(self, median: f64) -> String {
        let (sign, floor) = match self {
            Floor::AtLeast(floor) => ("≥", floor),
            Floor::AtMost(floor) => ("≤", floor),
        };
        format!("{sign} {floor}: {}", if self.met(median) { "met" } else { "**missed**" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_each_round_and_not_of_the_sums() {
        let ratio = Ratio::of([(300.0, 100.0), (10.0, 10.0), (40.0, 20.0)]);
        assert_eq!(ratio, Some(Ratio { median: 2.0, min: 1.0, max: 3.0 }));
    }

    #[test]
    fn the_median_of_two_rounds_lies_between_them() {
        assert_eq!(Ratio::of([(1.0, 1.0), (2.0, 1.0)]).map(|ratio| ratio.median), Some(1.5));
    }

    #[test]
    fn nothing_and_a_division_by_zero_have_no_ratio() {
        assert_eq!(Ratio::of([]), None);
        assert_eq!(Ratio::of([(1.0, 0.0), (1.0, 1.0)]), None);
        assert_eq!(Ratio::of([(0.0, 0.0)]), None);
    }

    #[test]
    fn floors_are_for_small_values_at_the_leader_of_three() {
        let load = Load {
            work: Work::Puts,
            target: Target::Leader,
            members: 3,
            clients: 1,
            connections: None,
            keys: 1,
            shards: 1,
            value_bytes: 256,
        };
        let floor = |load: Load| Measure::Throughput.floor(&load);
        assert_eq!(floor(load.clone()), Some(Floor::AtLeast(1.4)));
        assert_eq!(floor(Load { clients: 256, ..load.clone() }), Some(Floor::AtLeast(2.5)));
        assert_eq!(floor(Load { clients: 4, ..load.clone() }), None);
        assert_eq!(floor(Load { members: 5, ..load.clone() }), None);
        assert_eq!(floor(Load { value_bytes: 4_096, ..load.clone() }), None);
        assert_eq!(floor(Load { target: Target::All, ..load.clone() }), None);
        let queue = |work, clients, shards| Load { work, clients, shards, value_bytes: 0, ..load.clone() };
        assert_eq!(floor(queue(Work::Cycles, 32, 1)), Some(Floor::AtLeast(1.2)));
        assert_eq!(floor(queue(Work::Cycles, 8, 1)), None);
        assert_eq!(floor(queue(Work::Cycles, 32, 4)), None);
        assert_eq!(floor(queue(Work::Batches, 8, 1)), Some(Floor::AtLeast(3.0)));
    }

    #[test]
    fn a_floor_is_kept_by_its_own_value() {
        assert!(Floor::AtLeast(2.5).met(2.5) && !Floor::AtLeast(2.5).met(2.49));
        assert!(Floor::AtMost(0.4).met(0.4) && !Floor::AtMost(0.4).met(0.41));
    }
}
