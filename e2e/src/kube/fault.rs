//! Faults: what can happen to machines, daemons and the network of a cluster, on purpose.
//!
//! Network faults are nft rules in the nodes' own network namespaces, before connection tracking, so that they also hit
//! established connections; or a port of the switch taken down. They end with `heal` or with the machine.
//!
//! Not here: delay and reordering (the kernel's netem is often not built in).

use std::fmt::Write;
use std::net::Ipv4Addr;

use rustix::process::Signal;

use super::cgroup::Cgroups;
use super::process::{run, run_with_input};
use super::{KubeError, Machine, Paths, machine, network};

/// A network fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partition {
    /// Nodes `a` and `b` and their pods do not hear each other. The API server hears both.
    Cut {
        /// One of the two.
        a: u8,
        /// The other.
        b: u8,
    },
    /// Off the network altogether, as if the cable were pulled.
    Isolate(Machine),
    /// This node and its pods hear the API server but no other node.
    Lonely(u8),
    /// The pod with this address hears nobody, its own node included (so its probes fail).
    Pod(Ipv4Addr),
    /// The node loses this percentage of the packets it receives.
    Loss {
        /// Which node.
        node: u8,
        /// 1 to 100.
        percent: u8,
    },
}

/// What to do to one daemon (`etcd`, `kube-apiserver`, `kubelet`, `containerd`, ...).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonFault {
    /// SIGKILL; it is restarted after half a second.
    Kill,
    /// SIGKILL, and it stays down.
    Stop,
    /// Undoes `Stop`.
    Start,
    /// SIGSTOP.
    Freeze,
    /// Undoes `Freeze`.
    Thaw,
}

const TABLE: &str = "schedia_fault";

/// The rules' table; adding what is there already changes nothing.
fn table() -> String {
    format!(
        "add table inet {TABLE}\n\
         add chain inet {TABLE} in {{ type filter hook prerouting priority -350; }}\n\
         add chain inet {TABLE} out {{ type filter hook postrouting priority 350; }}\n"
    )
}

/// Rules for one node: nothing from or to node `other` and its pods.
fn deaf_to(other: u8) -> String {
    let (address, pods) = (network::node_address(other), network::pod_range(other));
    format!(
        "add rule inet {TABLE} in ip saddr {{ {address}, {pods} }} drop\n\
         add rule inet {TABLE} out ip daddr {{ {address}, {pods} }} drop\n"
    )
}

/// The nft rules of a partition, by node.
fn rules(partition: &Partition, nodes: u8) -> Vec<(u8, String)> {
    match *partition {
        Partition::Cut { a, b } => vec![(a, deaf_to(b)), (b, deaf_to(a))],
        Partition::Lonely(node) => {
            vec![(node, (1..=nodes).filter(|other| *other != node).map(deaf_to).collect())]
        }
        Partition::Pod(ip) => {
            let mut text = String::new();
            for (chain, end) in [("in", "saddr"), ("in", "daddr"), ("out", "daddr")] {
                writeln!(text, "add rule inet {TABLE} {chain} ip {end} {ip} drop").expect("a string grows");
            }
            vec![(ip.octets()[2], text)]
        }
        Partition::Loss { node, percent } => {
            vec![(node, format!("add rule inet {TABLE} in numgen random mod 100 < {percent} drop\n"))]
        }
        Partition::Isolate(_) => Vec::new(),
    }
}

pub(crate) async fn partition(paths: &Paths, nodes: u8, partition: &Partition) -> Result<(), KubeError> {
    if let Partition::Isolate(machine) = *partition {
        check(machine, nodes)?;
        machine::running(paths, machine)?;
        return link(paths, machine, "down").await;
    }
    let rules = rules(partition, nodes);
    for (node, _) in &rules {
        check(Machine::Node(*node), nodes)?;
    }
    for (node, rules) in rules {
        let pid = machine::running(paths, Machine::Node(node))?.pid;
        let mut nft = network::in_network(pid, "nft");
        run_with_input(nft.args(["-f", "-"]), "adding a network fault", &(table() + &rules)).await?;
    }
    Ok(())
}

fn check(machine: Machine, nodes: u8) -> Result<(), KubeError> {
    match machine {
        Machine::Node(i) if i == 0 || i > nodes => {
            Err(KubeError::Refused(format!("there is no node {i}: the cluster has nodes 1 to {nodes}")))
        }
        Machine::Switch | Machine::Engine => {
            Err(KubeError::Refused(format!("{machine} has no cable to pull")))
        }
        Machine::Node(_) | Machine::ControlPlane => Ok(()),
    }
}

/// Undoes every network fault.
pub(crate) async fn heal(paths: &Paths, nodes: u8) -> Result<(), KubeError> {
    for machine in (1..=nodes).map(Machine::Node).chain([Machine::ControlPlane]) {
        let Some(process) = machine::process(paths, machine) else { continue };
        if machine != Machine::ControlPlane {
            // Adding before deleting makes deleting right whether or not there were faults.
            let text = format!("{}delete table inet {TABLE}\n", table());
            let mut nft = network::in_network(process.pid, "nft");
            run_with_input(nft.args(["-f", "-"]), "removing network faults", &text).await?;
        }
        link(paths, machine, "up").await?;
    }
    Ok(())
}

async fn link(paths: &Paths, machine: Machine, state: &str) -> Result<(), KubeError> {
    let switch = machine::running(paths, Machine::Switch)?.pid;
    let mut ip = network::in_network(switch, "ip");
    let what = format!("taking the link of {machine} {state}");
    run(ip.args(["link", "set", network::port(machine), state]), &what).await.map(drop)
}

pub(crate) fn daemon(
    paths: &Paths,
    machine: Machine,
    name: &str,
    fault: DaemonFault,
) -> Result<(), KubeError> {
    machine::running(paths, machine)?;
    let dir = paths.machine(machine);
    let pid_file = dir.join(format!("{name}.pid"));
    if name == "init" || !pid_file.exists() {
        return Err(KubeError::Refused(format!("{machine} has no daemon {name}")));
    }
    let hold = dir.join(format!("hold.{name}"));
    match fault {
        DaemonFault::Stop => std::fs::write(&hold, "").map_err(KubeError::io("write", hold))?,
        DaemonFault::Start => {
            return match std::fs::remove_file(&hold) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(KubeError::io("remove", hold)(e)),
                _ => Ok(()),
            };
        }
        DaemonFault::Kill | DaemonFault::Freeze | DaemonFault::Thaw => {}
    }
    let signal = match fault {
        DaemonFault::Freeze => Signal::STOP,
        DaemonFault::Thaw => Signal::CONT,
        DaemonFault::Kill | DaemonFault::Stop | DaemonFault::Start => Signal::KILL,
    };
    let inside = std::fs::read_to_string(&pid_file).map_err(KubeError::io("read", &pid_file))?;
    for pid in Cgroups::detect()?.pids(&format!("{}/{machine}", paths.cgroup())) {
        if let (true, Some(pid)) = (number_inside(pid) == inside.trim(), rustix::process::Pid::from_raw(pid))
        {
            // It may just have ended: its supervisor restarts it either way.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
    Ok(())
}

/// The number a process has in the machine's own pid namespace; empty for one deeper inside (a container) or gone.
fn number_inside(pid: i32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    match numbers.split_whitespace().collect::<Vec<_>>()[..] {
        [_, inside] => inside.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_deafens_both_ends_and_nobody_else() {
        let rules = rules(&Partition::Cut { a: 1, b: 3 }, 3);
        assert_eq!(rules.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(
            rules[0].1,
            "add rule inet schedia_fault in ip saddr { 10.89.0.13, 10.244.3.0/24 } drop\n\
             add rule inet schedia_fault out ip daddr { 10.89.0.13, 10.244.3.0/24 } drop\n"
        );
    }

    #[test]
    fn the_rules_against_a_pod_are_on_its_own_node() {
        assert_eq!(rules(&Partition::Pod(Ipv4Addr::new(10, 244, 2, 7)), 3)[0].0, 2);
    }

    #[test]
    fn a_node_that_does_not_exist_is_refused() {
        assert!(check(Machine::Node(4), 3).is_err());
        assert!(check(Machine::Node(0), 3).is_err());
        assert!(check(Machine::Node(3), 3).is_ok());
    }
}
