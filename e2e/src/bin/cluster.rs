//! `cargo cluster`: the local Kubernetes by hand.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use schedia_e2e::image;
use schedia_e2e::kube::{Cluster, DaemonFault, KubeError, Machine, Partition, Settings, reenter};
use schedia_e2e::paths::workspace;

/// A local Kubernetes of real parts, in namespaces of this machine (needs root).
#[derive(Parser)]
#[command(name = "cargo cluster", disable_help_subcommand = true)]
struct Arguments {
    /// Which cluster: several can be up side by side
    #[arg(long, global = true, default_value = "schedia", env = "E2E_CLUSTER")]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the programs of Kubernetes into the cache, if they are not there
    Build,
    /// Start it (or the killed nodes of a running one) and wait until it is ready
    Up {
        /// Workers
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// Loopback port of the API server (0: a free one)
        #[arg(long, default_value_t = 0)]
        api_port: u16,
        /// Give each node's volumes a file system of this size, so that they can be filled up
        #[arg(long)]
        volumes_mib: Option<u32>,
    },
    /// End and remove everything
    Down,
    /// List what there is of it on this machine; exit status 1 if anything (after `down` nothing is)
    Leftovers,
    /// Say what runs; exit status 1 if not all of it does
    Status,
    /// Print the path of the kubeconfig
    Kubeconfig,
    /// Run kubectl against it
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run helm against it
    Helm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build Schedia's image and print where its archive is
    Image,
    /// Build Schedia's image and load it into all nodes; or load these archives
    LoadImage { archives: Vec<PathBuf> },
    /// Publish a Service on a loopback port until `down`
    Publish {
        /// NAMESPACE/NAME
        service: String,
        /// Port of the Service
        port: u16,
        /// Loopback port (0: a free one)
        #[arg(long, default_value_t = 0)]
        local: u16,
    },
    /// Switch a machine off or on
    #[command(subcommand)]
    Node(Power),
    /// Kill, stop or freeze one daemon of a machine
    Daemon { machine: Machine, daemon: String, what: DaemonVerb },
    /// Disturb the network
    #[command(subcommand)]
    Partition(NetworkFault),
    /// End all disturbances of the network
    Heal,
    /// Print the log of a daemon (`init`: of the machine itself)
    Logs { machine: Machine, daemon: String },
    /// Run a command (default: a shell) inside a machine
    Sh {
        machine: Machine,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Subcommand)]
enum Power {
    /// Everything on it dies at once
    Kill { machine: Machine },
    /// It boots with the disk it had
    Start { machine: Machine },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum DaemonVerb {
    Kill,
    Stop,
    Start,
    Freeze,
    Thaw,
}

#[derive(Subcommand)]
enum NetworkFault {
    /// Two nodes and their pods do not hear each other; the API server hears both
    Cut { a: u8, b: u8 },
    /// A node or the control plane is off the network
    Isolate { machine: Machine },
    /// A node hears the API server, but no other node
    Lonely { node: u8 },
    /// A pod hears nobody
    Pod { ip: Ipv4Addr },
    /// A node loses this percentage of what it receives
    Loss {
        node: u8,
        #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
    },
}

fn main() -> ExitCode {
    reenter();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(carry_out(arguments)) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {}", e.chain());
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(Arguments { name, verb }: Arguments) -> Result<ExitCode, KubeError> {
    let cluster = Cluster::named(&name)?;
    match verb {
        Verb::Build => cluster.build().await?,
        Verb::Up { nodes, api_port, volumes_mib } => {
            cluster.up(&Settings { nodes, api_port, volumes_mib }).await?;
            println!("export KUBECONFIG={}", cluster.kubeconfig()?.display());
        }
        Verb::Down => cluster.down().await?,
        Verb::Leftovers => {
            let found = cluster.leftovers()?;
            found.iter().for_each(|line| println!("{line}"));
            return Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Verb::Status => return status(&cluster).await,
        Verb::Kubeconfig => println!("{}", cluster.kubeconfig()?.display()),
        Verb::Kubectl { args } => {
            cluster.kubeconfig()?;
            return become_program(cluster.kubectl().as_std_mut().args(args));
        }
        Verb::Helm { args } => {
            cluster.kubeconfig()?;
            return become_program(cluster.helm().as_std_mut().args(args));
        }
        Verb::Image => println!("{}", image::build(workspace()).await?.path.display()),
        Verb::LoadImage { archives } if archives.is_empty() => {
            cluster.kubeconfig()?;
            let archive = image::build(workspace()).await?;
            cluster.load_image(&archive).await?;
            println!("{} {} ({} MiB) is on all nodes", archive.name, archive.digest, archive.bytes >> 20);
        }
        Verb::LoadImage { archives } => cluster.load_images(&archives).await?,
        Verb::Publish { service, port, local } => {
            let (namespace, service) = service.split_once('/').unwrap_or(("default", &service));
            println!("{}", cluster.publish(namespace, service, port, local).await?);
        }
        Verb::Node(Power::Kill { machine }) => cluster.kill(machine)?,
        Verb::Node(Power::Start { machine }) => {
            cluster.start(machine).await?;
            cluster.ready().await?;
        }
        Verb::Daemon { machine, daemon, what } => cluster.daemon(machine, &daemon, what.into())?,
        Verb::Partition(fault) => cluster.partition(&fault.into()).await?,
        Verb::Heal => cluster.heal().await?,
        Verb::Logs { machine, daemon } => {
            let path = cluster.log(machine, &daemon);
            return become_program(Command::new("cat").arg(path));
        }
        Verb::Sh { machine, command } => {
            let mut inside = cluster.inside(machine)?;
            let shell = vec!["sh".to_owned()];
            return become_program(inside.as_std_mut().args(if command.is_empty() {
                shell
            } else {
                command
            }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(cluster: &Cluster) -> Result<ExitCode, KubeError> {
    let status = cluster.status().await?;
    for (machine, pid) in &status.machines {
        let name = machine.to_string();
        let process = pid.map_or("down".to_owned(), |pid| format!("process {pid}"));
        let ready = if status.ready.contains(&name) { "Ready" } else { "" };
        println!("{name:14} {process:16} {ready}");
    }
    for (name, port) in &status.ports {
        println!("{name:14} 127.0.0.1:{port}");
    }
    Ok(if status.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Replaces this process; returns only if it cannot.
fn become_program(command: &mut Command) -> Result<ExitCode, KubeError> {
    let source = std::os::unix::process::CommandExt::exec(command);
    Err(KubeError::Io { doing: "run", path: command.get_program().into(), source })
}

impl From<DaemonVerb> for DaemonFault {
    fn from(verb: DaemonVerb) -> DaemonFault {
        match verb {
            DaemonVerb::Kill => DaemonFault::Kill,
            DaemonVerb::Stop => DaemonFault::Stop,
            DaemonVerb::Start => DaemonFault::Start,
            DaemonVerb::Freeze => DaemonFault::Freeze,
            DaemonVerb::Thaw => DaemonFault::Thaw,
        }
    }
}

impl From<NetworkFault> for Partition {
    fn from(fault: NetworkFault) -> Partition {
        match fault {
            NetworkFault::Cut { a, b } => Partition::Cut { a, b },
            NetworkFault::Isolate { machine } => Partition::Isolate(machine),
            NetworkFault::Lonely { node } => Partition::Lonely(node),
            NetworkFault::Pod { ip } => Partition::Pod(ip),
            NetworkFault::Loss { node, percent } => Partition::Loss { node, percent },
        }
    }
}
