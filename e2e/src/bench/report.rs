//! The report: what was measured, as ratios with their range, as figures, and whether the floors are kept.
//!
//! Pure: [`Report`] in, Markdown out. JSON is the same structure by serde.

use super::machine::Machine;
use super::outage::{Killed, Outages};
use super::phase::{Load, Phase, Target, Work};
use super::ratio::{Floor, Measure, Ratio, median};
use serde::Serialize;
use std::fmt::Write as _;

/// Of the table of figures, behind load and side.
const COLUMNS: usize = 11;

/// From so many on, memory and time of a restart have floors.
const MANY_KEYS: u64 = 1_000_000;

/// Everything one run measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// When it began: seconds since 1970.
    pub began: u64,
    /// On what.
    pub machine: Machine,
    /// What is measured, and what it is measured against.
    pub ours: String,
    /// Of the other side.
    pub theirs: Option<String>,
    /// Whether the other side is the peer, so that the floors apply.
    pub floors: bool,
    /// Length of a window in seconds.
    pub seconds: u64,
    /// Threads of the load generator.
    pub threads: usize,
    /// One for each load, in the order they were run.
    pub cells: Vec<Cell>,
    /// One for each side and kind of kill.
    pub outages: Vec<Outages>,
}

/// One load, round by round.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// What was run.
    pub load: Load,
    /// Ours, one a round.
    pub ours: Vec<Phase>,
    /// The other side's; empty without one.
    pub theirs: Vec<Phase>,
}

impl Cell {
    /// Ours by theirs, round by round, of the rounds in which both count.
    pub fn ratio(&self, measure: Measure) -> Option<Ratio> {
        let both = self.ours.iter().zip(&self.theirs);
        let valid = both.filter(|(ours, theirs)| ours.void.is_none() && theirs.void.is_none());
        Ratio::of(valid.map(|(ours, theirs)| (measure.value(ours), measure.value(theirs))))
    }

    fn voids(&self) -> impl Iterator<Item = &str> {
        self.ours.iter().chain(&self.theirs).filter_map(|phase| phase.void.as_deref())
    }
}

impl Report {
    /// For people.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        if !self.cells.is_empty() {
            if self.theirs.is_some() {
                self.ratios(&mut text);
            }
            self.figures(&mut text);
            self.spread(&mut text);
        }
        if !self.outages.is_empty() {
            self.outages(&mut text);
        }
        for (cell, void) in self.cells.iter().flat_map(|cell| cell.voids().map(move |void| (cell, void))) {
            let _ = writeln!(text, "\nVOID: {}: {void}", describe(&cell.load));
        }
        text
    }

    fn head(&self, text: &mut String) {
        let Machine { cores, processor, memory_bytes, file_system, kernel, load_average, warnings } =
            &self.machine;
        let against = self.theirs.as_ref().map(|theirs| format!(" against {theirs}")).unwrap_or_default();
        let _ = writeln!(text, "# {}{against}\n", self.ours);
        let _ = writeln!(
            text,
            "{cores} cores of {processor}, {} GiB, {file_system}, Linux {kernel}, load average {load_average:.2} at the start. \
             Windows of {} s; threads of the generator: {}.",
            memory_bytes >> 30,
            self.seconds,
            self.threads,
        );
        for warning in warnings {
            let _ = writeln!(text, "\n**{warning}**");
        }
    }

    fn ratios(&self, text: &mut String) {
        let titles = Measure::ALL.map(Measure::title).join(" | ");
        let _ = writeln!(text, "\n## Ratios: median (range)\n\n| load | {titles} |");
        let _ = writeln!(text, "|---|{}", "---|".repeat(Measure::ALL.len()));
        for cell in &self.cells {
            let columns = Measure::ALL.map(|measure| self.ratio(cell, measure)).join(" | ");
            let _ = writeln!(text, "| {} | {columns} |", describe(&cell.load));
        }
    }

    fn ratio(&self, cell: &Cell, measure: Measure) -> String {
        let Some(Ratio { median, min, max }) = cell.ratio(measure) else { return "-".to_owned() };
        let floor = measure.floor(&cell.load).filter(|_| self.floors);
        let verdict = floor.map(|floor| format!(" {}", floor.verdict(median))).unwrap_or_default();
        format!("{median:.2} ({min:.2}-{max:.2}){verdict}")
    }

    fn figures(&self, text: &mut String) {
        text.push_str(
            "\n## Figures: median of the rounds\n\n\
             | load | side | ops/s | p50 ms | p99 ms | max ms | server CPU µs/op | generator CPU µs/op | cores servers + generator + others \
             | written B/op | RSS leader, largest MB | syncs/s log, state | puts, or tasks, per log sync |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for cell in &self.cells {
            let sides = [(Some(&self.ours), &cell.ours), (self.theirs.as_ref(), &cell.theirs)];
            for (name, phases) in sides {
                if let Some(name) = name {
                    let _ =
                        writeln!(text, "| {} | {name} | {} |", describe(&cell.load), self.columns(phases));
                }
            }
        }
    }

    /// What asking any member costs, where the leader was asked too.
    fn spread(&self, text: &mut String) {
        let mut lines = String::new();
        for cell in self.cells.iter().filter(|cell| cell.load.target == Target::All) {
            let load = Load { target: Target::Leader, ..cell.load.clone() };
            let Some(leader) = self.cells.iter().find(|cell| cell.load == load) else { continue };
            let per_second = |phases: &[Phase]| {
                let valid = phases.iter().filter(|phase| phase.void.is_none());
                median(&valid.map(|phase| phase.ops_per_second).collect::<Vec<_>>())
            };
            if let (Some(all), Some(leader)) = (per_second(&cell.ours), per_second(&leader.ours)) {
                let floor = Floor::AtLeast(0.85);
                let verdict =
                    if load.work == Work::Cycles { floor.verdict(all / leader) } else { String::new() };
                let _ = writeln!(lines, "| {} | {:.2} {verdict} |", describe(&load), all / leader);
            }
        }
        if !lines.is_empty() {
            let _ = write!(
                text,
                "\n## Through any member, by the same at the leader\n\n| load | ops/s |\n|---|---|\n{lines}"
            );
        }
    }

    fn outages(&self, text: &mut String) {
        text.push_str(
            "\n## Outages: until the first acknowledged write\n\n\
             | killed | side | members | keys | times | median ms | range ms | RSS before, after MB | by the peer's |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for outages in &self.outages {
            let Outages { side, killed, keys, members, milliseconds, resident_before, resident_after } =
                outages;
            let killed = match killed {
                Killed::Leader => "the leader",
                Killed::All => "all, then started",
            };
            let range = Ratio::of(milliseconds.iter().map(|ms| (*ms, 1.0)));
            let range = range.map_or("- | -".to_owned(), |Ratio { median, min, max }| {
                format!("{median:.0} | {min:.0}-{max:.0}")
            });
            let peers = self.by_the_peers(outages);
            let _ = writeln!(
                text,
                "| {killed} | {side} | {members} | {keys} | {} | {range} | {}, {} | {peers} |",
                milliseconds.len(),
                resident_before / 1_000_000,
                resident_after / 1_000_000
            );
        }
    }

    /// Medians of one side by those of the other, with the floors that they have.
    fn by_the_peers(&self, outages: &Outages) -> String {
        let theirs = self.outages.iter().find(|other| {
            Some(&other.side) == self.theirs.as_ref()
                && other.side != outages.side
                && (other.killed, other.keys, other.members)
                    == (outages.killed, outages.keys, outages.members)
        });
        let Some(theirs) = theirs else { return "-".to_owned() };
        let medians = [outages, theirs].map(|side| median(&side.milliseconds));
        let [Some(ours), Some(peers)] = medians else { return "-".to_owned() };
        let (time, memory) = (ours / peers, outages.resident_before as f64 / theirs.resident_before as f64);
        let many = outages.keys >= MANY_KEYS;
        let (time_floor, memory_floor) = match outages.killed {
            Killed::Leader => (Some(Floor::AtMost(1.0)), None),
            Killed::All if many => (Some(Floor::AtMost(0.3)), Some(Floor::AtMost(0.8))),
            Killed::All => (None, None),
        };
        let part = |name: &str, ratio: f64, floor: Option<Floor>| {
            let floor = floor.filter(|_| self.floors);
            let verdict = floor.map(|floor| format!(" {}", floor.verdict(ratio))).unwrap_or_default();
            format!("{name} {ratio:.2}{verdict}")
        };
        format!("{}; {}", part("time", time, time_floor), part("RSS", memory, memory_floor))
    }

    fn columns(&self, phases: &[Phase]) -> String {
        let valid: Vec<_> = phases.iter().filter(|phase| phase.void.is_none()).collect();
        if valid.is_empty() {
            return format!("void{}", " | -".repeat(COLUMNS - 1));
        }
        let middle = |value: fn(&Phase) -> f64| {
            let values: Vec<_> = valid.iter().map(|phase| value(phase)).collect();
            median(&values).unwrap_or_default()
        };
        let per_second = |syncs: f64| syncs / self.seconds as f64;
        let columns: [String; COLUMNS] = [
            format!("{:.0}", middle(|p| p.ops_per_second)),
            format!("{:.2}", middle(|p| p.p50_us as f64) / 1e3),
            format!("{:.2}", middle(|p| p.p99_us as f64) / 1e3),
            format!("{:.1}", middle(|p| p.max_us as f64) / 1e3),
            format!("{:.0}", middle(|p| p.server_cpu_us_per_op)),
            format!("{:.0}", middle(|p| p.generator_cpu_us_per_op)),
            format!(
                "{:.2} + {:.2} + {:.2}",
                middle(|p| p.server_cores),
                middle(|p| p.generator_cores),
                middle(|p| p.other_cores)
            ),
            format!("{:.0}", middle(|p| p.written_bytes_per_op)),
            format!(
                "{:.0}, {:.0}",
                middle(|p| p.leader_resident_bytes as f64) / 1e6,
                middle(|p| p.largest_resident_bytes as f64) / 1e6
            ),
            format!(
                "{:.0}, {:.0}",
                per_second(middle(|p| p.log_syncs)),
                per_second(middle(|p| p.state_syncs))
            ),
            format!("{:.1}", middle(|p| p.puts_per_log_sync)),
        ];
        columns.join(" | ")
    }
}

/// A phase in a few words, while it is fresh.
pub fn briefly(phase: &Phase) -> String {
    let void = phase.void.as_ref().map(|void| format!(" VOID: {void}")).unwrap_or_default();
    format!(
        "{:.0}/s, p99 {:.2} ms, CPU {:.0} µs and the generator's {:.0}{void}",
        phase.ops_per_second,
        phase.p99_us as f64 / 1e3,
        phase.server_cpu_us_per_op,
        phase.generator_cpu_us_per_op,
    )
}

/// A load in a few words.
pub fn describe(load: &Load) -> String {
    let clients = match load.clients {
        1 => "1 client".to_owned(),
        count => format!("{count} clients"),
    };
    format!("{}, {clients}", kind(load))
}

/// What a load is but for the number of its clients.
pub fn kind(load: &Load) -> String {
    let Load { work, target, members, clients: _, connections, keys, shards, value_bytes } = load;
    let work = match work {
        Work::Puts => "puts",
        Work::Reads => "linearizable reads",
        Work::Mixed => "one put to four linearizable reads",
        Work::Cycles => "cycles of create, claim and result",
        Work::Creates => "creates",
        Work::Batches => "tasks in batches of 100",
        Work::Claims => "claims from a long queue",
        Work::Wakes => "wake-ups of a claim at another member",
    };
    let target = match target {
        Target::Leader => "",
        Target::All => " at all members",
    };
    let connections = match connections {
        Some(1) => ", the peer over 1 connection".to_owned(),
        Some(count) => format!(", the peer over {count} connections"),
        None => String::new(),
    };
    if load.work.is_of_queues() {
        let shards = if *shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") };
        return format!("{work}{target}, {shards}");
    }
    let members = if *members == 3 { String::new() } else { format!(", {members} members") };
    format!("{work}{target}, {value_bytes} B, {keys} keys{members}{connections}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(ops_per_second: f64) -> Phase {
        Phase {
            ops_per_second,
            ops: (ops_per_second * 5.0) as u64,
            p50_us: 900,
            p99_us: 4_200,
            max_us: 20_000,
            server_cpu_us_per_op: 80.0,
            generator_cpu_us_per_op: 20.0,
            server_cores: 1.5,
            generator_cores: 0.3,
            other_cores: 0.05,
            written_bytes_per_op: 2_100.0,
            leader_resident_bytes: 150_000_000,
            largest_resident_bytes: 160_000_000,
            log_syncs: 500.0,
            state_syncs: 50.0,
            puts_per_log_sync: 14.5,
            void: None,
        }
    }

    fn outages(side: &str, killed: Killed, ms: u64, resident_before: u64) -> Outages {
        Outages {
            side: side.to_owned(),
            killed,
            keys: 1_000_000,
            members: 3,
            milliseconds: vec![ms as f64 - 100.0, ms as f64 + 100.0],
            resident_before,
            resident_after: 21_000_000,
        }
    }

    fn report() -> Report {
        let load = |work, clients| Load {
            work,
            target: Target::Leader,
            members: 3,
            clients,
            connections: (clients > 1).then_some(8),
            keys: 1_000,
            shards: 1,
            value_bytes: 256,
        };
        let slow = Phase { server_cpu_us_per_op: 160.0, p99_us: 6_000, ..phase(500.0) };
        let void = Phase { void: Some("3 errors, the first: gone".to_owned()), ..phase(1.0) };
        Report {
            began: 0,
            machine: Machine {
                cores: 2,
                processor: "an abacus".to_owned(),
                memory_bytes: 8 << 30,
                file_system: "ext4".to_owned(),
                kernel: "6.1".to_owned(),
                load_average: 0.1,
                warnings: vec!["the machine is not quiet".to_owned()],
            },
            ours: "schedia".to_owned(),
            theirs: Some("etcd".to_owned()),
            floors: true,
            seconds: 5,
            threads: 1,
            cells: vec![
                Cell {
                    load: load(Work::Puts, 16),
                    ours: vec![phase(1_500.0), phase(1_000.0), phase(1_200.0)],
                    theirs: vec![slow.clone(), slow.clone(), slow.clone()],
                },
                Cell { load: load(Work::Mixed, 1), ours: vec![void], theirs: vec![slow] },
            ],
            outages: vec![
                outages("schedia", Killed::Leader, 1_000, 10_000_000),
                outages("etcd", Killed::Leader, 2_000, 20_000_000),
                outages("schedia", Killed::All, 900, 19_000_000),
                outages("etcd", Killed::All, 3_000, 20_000_000),
            ],
        }
    }

    #[test]
    fn a_report_shows_ratios_with_their_range_floors_kept_or_not_and_what_is_void() {
        assert_eq!(report().markdown(), include_str!("report_golden.md"));
    }

    #[test]
    fn without_another_side_there_are_no_ratios() {
        let mut alone = Report { theirs: None, floors: false, ..report() };
        for cell in &mut alone.cells {
            cell.theirs.clear();
        }
        let text = alone.markdown();
        assert!(!text.contains("## Ratios") && text.contains("| schedia | 1200 |"), "{text}");
    }
}
