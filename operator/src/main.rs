//! The operator's process: arguments, the Lease, signals.

use clap::Parser;
use schedia_operator::controller::Tools;
use schedia_operator::events::Events;
use schedia_operator::failpoint::{Failpoint, Place};
use schedia_operator::lease::Elector;
use schedia_operator::members::Members;
use schedia_operator::metrics::Metrics;
use schedia_operator::{controller, server};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// The Kubernetes operator of Schedia.
#[derive(Parser, Debug)]
#[command(name = "schedia-operator", version)]
struct Arguments {
    /// Watch RaftClusters of these namespaces only, separated by commas; unset: of all
    #[arg(long, env = "SCHEDIA_OPERATOR_WATCH_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    watch_namespace: Vec<String>,
    /// Where the Lease lives: the operator's own namespace
    #[arg(
        long,
        env = "SCHEDIA_OPERATOR_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "schedia-system"
    )]
    namespace: String,
    /// The name of the Lease: operators of one name take turns
    #[arg(long, env = "SCHEDIA_OPERATOR_LEASE", value_name = "NAME", default_value = "schedia-operator")]
    lease: String,
    /// This operator's pod, for the Lease and for events
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "schedia-operator")]
    name: String,
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "SCHEDIA_OPERATOR_ADMIN", value_name = "ADDR:PORT", default_value = "[::]:8081")]
    admin: SocketAddr,
    /// For tests: end the process, as if killed, right after an effect, like AddLearner, ApplyStatefulSet:2 (the second) or any:7
    #[arg(long, env = "SCHEDIA_OPERATOR_END_AFTER", value_name = "EFFECT[:N]")]
    end_after: Option<Place>,
    /// What to log: error, warn, info, debug, trace, or directives like info,schedia_operator=debug
    #[arg(long, env = "SCHEDIA_LOG_LEVEL", value_name = "LEVEL", default_value = "info,kube_runtime=warn")]
    log_level: String,
    /// Log lines as JSON
    #[arg(long, env = "SCHEDIA_OPERATOR_LOG_JSON")]
    log_json: bool,
}

/// The work is a few requests a minute: one thread keeps the process small.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&arguments.log_level))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if arguments.log_json {
        logs.json().init()
    } else {
        logs.init()
    }
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator stops");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { watch_namespace, namespace, lease, name, admin, end_after, log_level: _, log_json: _ } =
        arguments;
    let stop = stopped()?;
    let metrics = Arc::new(Metrics::default());
    let listener = listen(admin).await?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
    let server = tokio::spawn(server::serve(listener, metrics.clone(), stop.clone()));

    let client = kube::Client::try_default().await?;
    let me = format!("{name}_{}", uuid::Uuid::new_v4());
    let elector = Elector::new(client.clone(), &namespace, &lease, me);
    let mut early = stop.clone();
    tokio::select! {
        () = elector.acquire() => {}
        _ = early.wait_for(|stop| *stop) => return Ok(server.await??),
    }
    tracing::info!(lease, "acting");
    metrics.holds_lease(true);

    let events = Events::new(client.clone(), Some(name));
    let members = Members::new()?;
    let failpoint = Arc::new(Failpoint::new(end_after));
    let scopes = match watch_namespace.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let passes = futures::future::join_all(scopes.into_iter().map(|scope| {
        let (events, metrics) = (events.clone(), metrics.clone());
        let tools = Tools { members: members.clone(), events, metrics, failpoint: failpoint.clone() };
        controller::run(client.clone(), scope, tools, stop.clone())
    }));
    // The Lease is held until the last pass has ended; without it no pass may go on, so the process ends.
    let (done, ended) = watch::channel(false);
    let passes = async {
        passes.await;
        let _ = done.send(true);
    };
    let hold = elector.hold(ended);
    tokio::pin!(passes, hold);
    let mut passing = true;
    loop {
        tokio::select! {
            () = &mut passes, if passing => passing = false,
            held = &mut hold => break held?,
        }
    }
    Ok(server.await??)
}

/// Falls back to IPv4 where IPv6 is switched off.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind(("0.0.0.0", address.port())).await
        }
        bound => bound,
    }
}

/// Turns true at SIGTERM or SIGINT.
fn stopped() -> std::io::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        let _ = stop.send(true);
        // Kept, so that receivers see the value and not a closed channel.
        std::future::pending::<()>().await;
    });
    Ok(stopped)
}
