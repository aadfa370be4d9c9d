//! Ending the processes of a demo, and starting one of its nodes again.
//!
//! Owns: the order (supervisor asks its nodes; gateways before the rest) and the patience. Not: knowing a
//! process again ([`super::process`]).
//! Holds: only processes that were written down are signalled, each as itself; a second stop does nothing.

use std::{path::Path, time::Duration};

use futures_util::future::join_all;
use kluis_chunkstore::ids::NodeId;
use kluis_raft::model::cluster::NodeRole;
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::{
    layout::Layout,
    process::Process,
    record::{self, Processes},
    setup, supervisor,
};
use crate::exit::ExitError;

/// Time between asking a process to end and ending it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time that the supervisor has for its two groups of nodes and itself.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(35);
/// Time for a started node to listen.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Ends a demo; how many processes it had.
///
/// # Errors
/// Its records cannot be read or written.
pub async fn stop(dir: &Path) -> Result<usize, ExitError> {
    let processes = Processes::read(dir)?;
    let count = processes.alive().len();
    if let Some(supervisor) = processes.supervisor {
        supervisor.signal(Signal::TERM);
        supervisor.ended_within(SUPERVISOR_PATIENCE).await;
    }
    // What is left when there is no supervisor, or when it was not done in time.
    stop_nodes(dir).await?;
    if let Some(supervisor) = processes.supervisor {
        end(vec![supervisor]).await;
    }
    supervisor::remove_record(dir)?;
    Processes::change(dir, |processes| *processes = Processes::default())?;
    Ok(count)
}

/// Ends the nodes of a demo: gateways first, so that no request is left half-way for want of disks.
///
/// # Errors
/// The records cannot be read.
pub async fn stop_nodes(dir: &Path) -> Result<(), ExitError> {
    let gateways: Vec<String> = match record::settings(dir)? {
        Some(settings) => {
            let layout = Layout::new(dir, settings)?;
            layout.nodes.iter().filter(|n| n.roles.contains(&NodeRole::Gateway)).map(|n| n.id.to_string()).collect()
        }
        None => Vec::new(),
    };
    let processes = Processes::read(dir)?;
    let (first, rest): (Vec<_>, Vec<_>) = processes.nodes.into_iter().partition(|(id, _)| gateways.contains(id));
    end(first.into_iter().map(|(_, process)| process).collect()).await;
    end(rest.into_iter().map(|(_, process)| process).collect()).await;
    Ok(())
}

async fn end(processes: Vec<Process>) {
    for process in &processes {
        process.signal(Signal::TERM);
    }
    let one = async |process: Process| {
        if !process.ended_within(PATIENCE).await {
            process.signal(Signal::KILL);
            process.ended_within(PATIENCE).await;
        }
    };
    join_all(processes.into_iter().map(one)).await;
}

/// Starts a node of a running demo again.
///
/// # Errors
/// No such node, it runs, or it does not start.
pub async fn start_node(dir: &Path, id: NodeId) -> Result<Process, ExitError> {
    let none = || ExitError::usage(format!("no demo is in {}", dir.display()), "`kluis demo --dir DIR` makes one");
    let layout = Layout::new(dir, record::settings(dir)?.ok_or_else(none)?)?;
    let node = layout.nodes.iter().find(|n| n.id == id).filter(|n| setup::is_member(n));
    let node = node.ok_or_else(|| ExitError::usage(format!("the demo has no node {id}"), "`kluis status --dir DIR` shows its nodes"))?;
    let processes = Processes::read(dir)?;
    if !processes.supervisor.is_some_and(Process::is_alive) {
        return Err(ExitError::refused("the demo is stopped", format!("`kluis demo --dir {}` starts all of it", dir.display())));
    }
    if processes.nodes.get(&id.to_string()).is_some_and(|process| process.is_alive()) {
        return Err(ExitError::refused(format!("{id} runs already"), ""));
    }
    let mut started = setup::start(&layout, node)?;
    let listens = async {
        loop {
            if let Ok(Some(status)) = started.child.try_wait() {
                return Err(ExitError::failed(format!("{id} ended ({status})")).or_advice(format!("its log is {}", node.log().display())));
            }
            if TcpStream::connect(node.admin).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let listened = tokio::time::timeout(START_DEADLINE, listens).await;
    listened
        .map_err(|_| ExitError::failed(format!("{id} does not listen")).or_advice(format!("its log is {}", node.log().display())))??;
    let pid = started.child.id();
    pid.and_then(Process::of).ok_or_else(|| ExitError::failed(format!("{id} ended")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn exactly_what_was_written_down_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let sleep = || tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let (mut ours, mut other) = (sleep(), sleep());
        let process = Process::of(ours.id().unwrap()).unwrap();
        let stranger = Process::of(other.id().unwrap()).unwrap();
        Processes::change(dir.path(), |p| {
            p.nodes.insert("n1".into(), process);
            // The number of a process that was ours once and now belongs to another.
            p.nodes.insert("n2".into(), Process { start_time: stranger.start_time + 1, ..stranger });
        })
        .unwrap();
        assert_eq!(stop(dir.path()).await.unwrap(), 1);
        assert!(ours.try_wait().unwrap().is_some());
        assert!(other.try_wait().unwrap().is_none());
        assert_eq!(stop(dir.path()).await.unwrap(), 0, "a second stop does nothing");
    }

    #[tokio::test]
    async fn a_node_of_no_demo_cannot_be_started() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(start_node(dir.path(), NodeId(1)).await.unwrap_err().exit.code(), 2);
    }
}
