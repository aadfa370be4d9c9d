//! The process of a demo that starts the nodes, serves what production has elsewhere, and stops them.
//!
//! Owns: the order from nothing to `ready`, and back. Not: the steps ([`super::setup`], [`super::stop`]).
//! Holds: (1) one supervisor a directory: a lock is held as long as it lives; (2) `ready` is printed once,
//! after `demo.json` was written, which is after every gateway is ready and every voter is in; (3) a node
//! that ends before that fails the start; later it is only reported: tests kill nodes.

use std::{
    fs::{self, File, TryLockError},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use kluis_chunkstore::{env::Env, ids::NodeId};
use reqwest::{Certificate, Client, redirect};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{
    clock, identity,
    layout::Layout,
    process::Process,
    record::{self, DemoRecord, NodeEntry, PersonRecord, Processes},
    setup::{self, StartedNode},
    stop,
};
use crate::{
    admin_client::cause,
    clock::OffsetClock,
    exit::{Exit, ExitError},
    idp,
};

/// Time from the first process to `ready`.
const READY_DEADLINE: Duration = Duration::from_secs(300);
/// Pause between two looks at whether the cluster serves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs a demo until it is told to stop; `ready` is called once, when it serves.
///
/// # Errors
/// A demo runs there already, a port is taken, or a step failed; what was started is stopped again.
pub async fn run(layout: &Layout, env: Env, ready: impl FnOnce(&DemoRecord) -> Result<(), ExitError>) -> Result<(), ExitError> {
    let _lock = lock(&layout.dir)?;
    refuse_running(&layout.dir)?;
    remove_record(&layout.dir)?;
    check_ports(layout)?;
    let mut told = Told::listen()?;
    record::write_settings(&layout.dir, &layout.settings)?;
    let own = Process::of(std::process::id());
    Processes::change(&layout.dir, |processes| *processes = Processes { supervisor: own, ..Processes::default() })?;

    let (ended, mut endings) = mpsc::unbounded_channel();
    let started = tokio::select! {
        started = bring_up(layout, &env, &ended) => started,
        Some((id, status)) = endings.recv() => Err(ended_early(layout, id, status)),
        () = told.stop() => Err(ExitError::new(Exit::Interrupted, "interrupted before the demo was ready", "")),
    };
    let result = match started {
        Ok((record, _provider)) => {
            let announced = record.write(&layout.dir).and_then(|()| ready(&record));
            if announced.is_ok() {
                watch(layout, &mut endings, &mut told).await;
            }
            announced
        }
        Err(error) => Err(error),
    };
    eprintln!("stopping the nodes");
    remove_record(&layout.dir)?;
    stop::stop_nodes(&layout.dir).await?;
    Processes::change(&layout.dir, |processes| *processes = Processes::default())?;
    result
}

/// What tells the supervisor to stop.
struct Told {
    interrupt: Signal,
    terminate: Signal,
}

impl Told {
    fn listen() -> Result<Self, ExitError> {
        let listen = |kind| signal(kind).map_err(|e| ExitError::failed(format!("signals cannot be received: {e}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn watch(layout: &Layout, endings: &mut mpsc::UnboundedReceiver<(NodeId, ExitStatus)>, told: &mut Told) {
    loop {
        tokio::select! {
            () = told.stop() => return,
            Some((id, status)) = endings.recv() => {
                eprintln!("{id} ended ({status}); `kluis demo start-node --dir {} {id}` starts it again", layout.dir.display());
            }
        }
    }
}

/// From nothing, or from a stopped demo, to one that serves.
async fn bring_up(
    layout: &Layout,
    env: &Env,
    ended: &mpsc::UnboundedSender<(NodeId, ExitStatus)>,
) -> Result<(DemoRecord, idp::Idp), ExitError> {
    setup::make_shared(layout, env)?;
    clock::serve(env.clock.clone(), layout.clock(), layout.clock_file()).await?;
    let moved = Env { clock: Arc::new(OffsetClock::new(env.clock.clone(), layout.clock_file())), ..env.clone() };
    let provider = identity::serve(moved, layout).await?;

    let Some((first, rest)) = layout.nodes.split_first() else { return Err(ExitError::usage("a demo has nodes", "")) };
    if !setup::is_member(first) {
        eprintln!("making the cluster");
        setup::init(layout, first).await?;
    }
    // Members first, all of them: a cluster that was stopped needs its majority before it answers.
    let (members, newcomers): (Vec<_>, Vec<_>) = rest.iter().partition(|node| setup::is_member(node));
    for node in [first].into_iter().chain(members) {
        reap(setup::start(layout, node)?, ended.clone());
    }
    let admin = setup::admin(layout)?;
    for node in newcomers {
        eprintln!("{} joins in {}", node.id, node.site);
        setup::join(layout, &admin, node).await?;
        reap(setup::start(layout, node)?, ended.clone());
    }
    let disks = layout.nodes.iter().map(|n| n.disks.len()).sum();
    setup::apply_topology(&admin, disks).await?;
    eprintln!("waiting for {} voters and the gateways", layout.voters());
    wait_ready(layout).await?;
    setup::import_offices(&admin).await?;
    Ok((record_of(layout)?, provider))
}

/// Waits for a node's process in the background, so that it leaves no zombie, and reports its end.
fn reap(started: StartedNode, ended: mpsc::UnboundedSender<(NodeId, ExitStatus)>) {
    let StartedNode { node, mut child } = started;
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            // Nobody listens any more once the demo stops.
            let _ = ended.send((node.id, status));
        }
    });
}

fn ended_early(layout: &Layout, id: NodeId, status: ExitStatus) -> ExitError {
    let log = layout.nodes.iter().find(|n| n.id == id).map(|n| n.log().display().to_string()).unwrap_or_default();
    let tail = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = tail.lines().rev().take(5).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    ExitError::failed(format!("{id} ended ({status}) before the demo was ready\n{}", lines.join("\n")))
        .or_advice(format!("its log is {log}"))
}

/// Waits until all voters are in and every gateway says that it is ready.
async fn wait_ready(layout: &Layout) -> Result<(), ExitError> {
    let admin = setup::admin(layout)?;
    let client = gateway_client(&layout.ca_file())?;
    let mut missing = String::new();
    let wait = async {
        loop {
            missing = match admin.status().await {
                Ok(status) if status.metadata.voters_up >= layout.voters() && status.metadata.leader.is_some() => {
                    unready(&client, layout).await
                }
                Ok(status) => format!("{} of {} voters are in", status.metadata.voters_up, layout.voters()),
                Err(error) => error.what,
            };
            if missing.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(READY_DEADLINE, wait).await.is_ok() {
        return Ok(());
    }
    let advice = format!("the nodes' logs are {}/nodes/*/log", layout.dir.display());
    Err(ExitError::new(Exit::StillRunning, format!("the demo was not ready after {} seconds: {missing}", READY_DEADLINE.as_secs()), advice))
}

/// What the first gateway that is not ready says; empty when all are.
async fn unready(client: &Client, layout: &Layout) -> String {
    for gateway in layout.gateways() {
        match client.get(format!("https://{gateway}/readyz")).send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => return format!("gateway {gateway} answers {}", answer.status()),
            Err(error) => return format!("gateway {gateway} does not answer: {}", cause(&error)),
        }
    }
    String::new()
}

fn gateway_client(ca: &Path) -> Result<Client, ExitError> {
    let pem = fs::read(ca).map_err(|e| ExitError::file("read", ca, &e))?;
    let build = || {
        Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&pem)?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
    };
    build().map_err(|e| ExitError::failed(format!("TLS cannot be set up: {}", cause(&e))))
}

fn record_of(layout: &Layout) -> Result<DemoRecord, ExitError> {
    let processes = Processes::read(&layout.dir)?;
    let node = |node: &super::layout::PlannedNode| {
        let process = processes.nodes.get(&node.id.to_string());
        Ok::<_, ExitError>(NodeEntry {
            id: node.id.to_string(),
            site: node.site.parse().map_err(|_| ExitError::failed(format!("{} is no site", node.site)))?,
            pid: process.map(|p| p.pid).ok_or_else(|| ExitError::failed(format!("{} was not started", node.id)))?,
            roles: node.roles.clone(),
            disks: setup::disks(node),
            admin: setup::admin_url(node)?,
        })
    };
    let person = |person: idp::Person| {
        let mut roles = vec!["citizen".to_owned()];
        roles.extend(person.roles);
        PersonRecord { name: person.name, national_number: person.national_number, roles }
    };
    Ok(DemoRecord {
        gateways: layout.gateways().map(|gateway| format!("https://{gateway}")).collect(),
        ca_file: layout.ca_file(),
        identity_provider: identity::issuer(layout),
        people: idp::demo_people().into_iter().map(person).collect(),
        clock_url: format!("http://{}/clock", layout.clock()),
        nodes: layout.nodes.iter().map(node).collect::<Result<_, ExitError>>()?,
    })
}

fn lock(dir: &Path) -> Result<File, ExitError> {
    let path = dir.join("supervisor.lock");
    let file =
        File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|e| ExitError::file("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(running(dir)),
        Err(TryLockError::Error(e)) => Err(ExitError::file("lock", &path, &e)),
    }
}

/// Refuses a directory whose demo runs, or of which processes are left over.
///
/// # Errors
/// [`Exit::Refused`] when it does.
pub fn refuse_running(dir: &Path) -> Result<(), ExitError> {
    if Processes::read(dir)?.alive().is_empty() { Ok(()) } else { Err(running(dir)) }
}

fn running(dir: &Path) -> ExitError {
    ExitError::refused(format!("a demo runs in {} already", dir.display()), format!("`kluis demo stop --dir {}` ends it", dir.display()))
}

/// Removes `demo.json`: the demo does not serve (any more).
///
/// # Errors
/// The file cannot be removed.
pub fn remove_record(dir: &Path) -> Result<(), ExitError> {
    let path = record::demo_file(dir);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ExitError::file("remove", &path, &e)),
        _ => Ok(()),
    }
}

/// Says which port is taken before anything is made, not by a node that fails later.
fn check_ports(layout: &Layout) -> Result<(), ExitError> {
    let nodes = layout.nodes.iter().flat_map(|n| [Some(n.admin), n.gateway].into_iter().flatten());
    let tcp = [layout.identity(), layout.clock()].into_iter().chain(nodes);
    let taken = |address: SocketAddr, e: std::io::Error| {
        ExitError::failed(format!("{address} is not to be had: {e}")).or_advice("give another --base-port")
    };
    for address in tcp {
        TcpListener::bind(address).map_err(|e| taken(address, e))?;
    }
    for node in &layout.nodes {
        UdpSocket::bind(node.quic).map_err(|e| taken(node.quic, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::code::Code;

    use super::*;
    use crate::demo::layout::Settings;

    #[test]
    fn a_second_supervisor_is_refused_and_a_left_over_process_too() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert_eq!(lock(dir.path()).unwrap_err().exit, Exit::Refused);
        drop(held);
        lock(dir.path()).unwrap();
        refuse_running(dir.path()).unwrap();
        let own = Process::of(std::process::id()).unwrap();
        Processes::change(dir.path(), |p| p.supervisor = Some(Process { start_time: own.start_time + 1, ..own })).unwrap();
        refuse_running(dir.path()).unwrap();
        Processes::change(dir.path(), |p| p.supervisor = Some(own)).unwrap();
        assert_eq!(refuse_running(dir.path()).unwrap_err().exit, Exit::Refused);
    }

    #[test]
    fn a_taken_port_is_named_before_anything_is_made() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            base_port: port.saturating_sub(10).max(1024),
            nodes_per_site: 1,
            disks_per_node: 3,
            code: Code::STANDARD,
            quota_bytes: 1_000_000_000,
            set: Vec::new(),
        };
        let Ok(layout) = Layout::new(dir.path(), settings) else { return };
        let error = check_ports(&layout).unwrap_err();
        assert!(error.advice.contains("--base-port"), "{error}");
    }
}
