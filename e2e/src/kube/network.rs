//! The cluster's addresses, and the `ip` commands that plug a machine in.
//!
//! All of it exists only inside the machines' own network namespaces: the namespace of whoever runs `cluster up` gets no
//! link, address, route, rule or setting, and two clusters use the same numbers side by side.

use std::fmt::Write;
use std::net::Ipv4Addr;

use tokio::process::Command;

use super::process::{Process, run, run_with_input};
use super::{KubeError, Machine};

/// Where the API server listens.
pub(crate) const API_SERVER: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);
/// The switch itself; the relay to the API server dials from here.
const SWITCH: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 254);
/// All pods.
pub(crate) const PODS: &str = "10.244.0.0/16";
/// All Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The Service `kubernetes`.
pub(crate) const SERVICE_API: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The Service `kube-dns`; the manifest of CoreDNS names it too.
pub(crate) const SERVICE_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The address of node `i`.
pub(crate) fn node_address(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 89, 0, 10 + i)
}

/// The pods of node `i`.
pub(crate) fn pod_range(i: u8) -> String {
    format!("10.244.{i}.0/24")
}

fn address(machine: Machine) -> Ipv4Addr {
    match machine {
        Machine::Switch => SWITCH,
        Machine::ControlPlane => API_SERVER,
        Machine::Node(i) => node_address(i),
        Machine::Engine => Ipv4Addr::LOCALHOST,
    }
}

/// Fixed, so that the others' ARP caches stay right when a machine comes back.
fn mac(machine: Machine) -> String {
    let [.., last] = address(machine).octets();
    format!("{MAC_PREFIX}{last:02x}")
}

/// The machines' MAC addresses begin with this: nothing outside their namespaces may.
pub(crate) const MAC_PREFIX: &str = "02:00:0a:59:00:";

/// What the switch calls the machine's cable.
pub(crate) fn port(machine: Machine) -> &'static str {
    const NODES: [&str; 9] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"];
    match machine {
        Machine::Switch => "eth0",
        Machine::ControlPlane => "cp",
        Machine::Node(i) => NODES[usize::from(i) - 1],
        Machine::Engine => "lo",
    }
}

/// `ip -batch` commands for inside the machine: its address and the way to the others' pods.
fn inside(machine: Machine, nodes: u8) -> String {
    let mut batch = String::from("link set lo up\n");
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(batch, "{text}").expect("a string grows");
    if machine == Machine::Switch {
        line(format_args!("link add eth0 address {} type bridge forward_delay 0", mac(machine)));
    }
    line(format_args!("addr add {}/24 dev eth0", address(machine)));
    line(format_args!("link set eth0 up"));
    for i in (1..=nodes).filter(|i| Machine::Node(*i) != machine) {
        line(format_args!("route add {} via {}", pod_range(i), node_address(i)));
    }
    if machine != Machine::Switch {
        // kube-proxy rewrites the destination, but only after a first lookup, which must find some route.
        line(format_args!("route add {SERVICES} via {SWITCH}"));
    }
    batch
}

/// Gives a started machine its network: a cable to the switch, its address and routes.
pub(crate) async fn plug_in(
    machine: Machine,
    process: &Process,
    switch: &Process,
    nodes: u8,
) -> Result<(), KubeError> {
    if machine != Machine::Switch {
        let port = port(machine);
        // The cable of an earlier life may not be gone yet.
        let _ = run(in_network(switch.pid, "ip").args(["link", "del", port]), "unplugging").await;
        let (mac, pid) = (mac(machine), process.pid);
        let cable = format!(
            "link add {port} type veth peer name eth0 address {mac} netns {pid}\nlink set {port} master eth0 up\n"
        );
        ip_batch(switch.pid, &cable, &format!("plugging {machine} into the switch")).await?;
    }
    ip_batch(process.pid, &inside(machine, nodes), &format!("giving {machine} its address")).await
}

/// Gives a machine that is on no switch its loopback.
pub(crate) async fn leave_alone(machine: Machine, process: &Process) -> Result<(), KubeError> {
    ip_batch(process.pid, "link set lo up\n", &format!("giving {machine} its loopback")).await
}

async fn ip_batch(pid: i32, batch: &str, what: &str) -> Result<(), KubeError> {
    run_with_input(in_network(pid, "ip").args(["-batch", "-"]), what, batch).await.map(drop)
}

/// `program` of this machine, run in the network namespace of process `pid`.
pub(crate) fn in_network(pid: i32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net")).arg("--").arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_route_to_the_pods_of_every_other_node_and_to_the_services() {
        assert_eq!(
            inside(Machine::Node(2), 3),
            "link set lo up\n\
             addr add 10.89.0.12/24 dev eth0\n\
             link set eth0 up\n\
             route add 10.244.1.0/24 via 10.89.0.11\n\
             route add 10.244.3.0/24 via 10.89.0.13\n\
             route add 10.96.0.0/16 via 10.89.0.254\n"
        );
    }
}
