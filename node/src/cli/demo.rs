//! `kluis demo`: a whole cluster on this machine; stop, sign-in, start-node.
//!
//! Owns: these commands' arguments, what is printed when the demo serves, the start in the background.
//! Not: the demo ([`crate::demo`]).
//! Holds: the line `ready` is printed once, alone, when `demo.json` is written and everything serves.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use clap::{Args, Subcommand};
use kluis_chunkstore::{code::Code, ids::NodeId};

use super::{Output, config::parse_setting, json_line, print, sign_in};
use crate::{
    config::types::{LogConfig, LogFormat},
    config::units::parse_size,
    demo::{
        identity::PROVIDER,
        layout::{Layout, Settings},
        record::{self, DemoRecord},
        stop, supervisor,
    },
    exit::{Exit, ExitError},
    logging,
};

const EXAMPLES: &str = "\
Examples:
  kluis demo --dir demo --detach
  kluis demo sign-in --dir demo NATIONAL_NUMBER
  kluis demo start-node --dir demo n4
  kluis demo stop --dir demo

A demo that was stopped is started again with its data, its ports and its code.";

/// A whole cluster on this machine.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(flatten)]
    start: StartArgs,
    #[command(subcommand)]
    action: Option<DemoCommand>,
}

/// How to start one.
#[derive(Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// First port; a demo takes ten a node
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Nodes of each of the three sites
    #[arg(long, value_name = "N")]
    nodes_per_site: Option<u16>,
    /// Disks (directories) of each node
    #[arg(long, value_name = "N")]
    disks_per_node: Option<u16>,
    /// Erasure code of documents
    #[arg(long, value_name = "K+M")]
    code: Option<Code>,
    /// Quota of a person's vault, as 1GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    quota: Option<u64>,
    /// A value for the configuration of every node, over the demo's own; may be given several times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
    /// Goes on in the background and returns when the demo serves
    #[arg(long)]
    detach: bool,
    /// The process in the background that `--detach` starts
    #[arg(long, hide = true)]
    background: bool,
}

/// Which demo.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// Directory of the demo
    #[arg(long, value_name = "DIR", default_value = "demo")]
    dir: PathBuf,
}

/// What to do with one.
#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// Ends exactly the processes that the demo started; its data stays
    Stop(PlaceArgs),
    /// Signs a person in through the real flow and prints a bearer token
    SignIn {
        #[command(flatten)]
        place: PlaceArgs,
        /// National number of one of the demo's people
        national_number: String,
    },
    /// Starts a node that was killed or stopped
    StartNode {
        #[command(flatten)]
        place: PlaceArgs,
        /// The node, as n4
        node: NodeId,
    },
}

/// Runs `kluis demo`.
///
/// # Errors
/// Whatever keeps it from being done.
pub async fn run(args: DemoArgs, output: Output) -> Result<(), ExitError> {
    match args.action {
        None => start(args.start).await,
        Some(DemoCommand::Stop(place)) => {
            let count = stop::stop(&absolute(&place.dir)?).await?;
            eprintln!("{}", if count == 0 { "nothing ran".to_owned() } else { format!("{count} processes ended") });
            Ok(())
        }
        Some(DemoCommand::SignIn { place, national_number }) => {
            let token = token(&absolute(&place.dir)?, &national_number).await?;
            match output {
                Output::Json => print(&json_line(&serde_json::json!({ "token": token }))?),
                Output::Table => print(&format!("{token}\n")),
            }
        }
        Some(DemoCommand::StartNode { place, node }) => {
            let process = stop::start_node(&absolute(&place.dir)?, node).await?;
            match output {
                Output::Json => print(&json_line(&serde_json::json!({ "id": node.to_string(), "pid": process.pid }))?),
                Output::Table => print(&format!("{node} runs as process {}\n", process.pid)),
            }
        }
    }
}

async fn start(args: StartArgs) -> Result<(), ExitError> {
    fs::create_dir_all(&args.place.dir).map_err(|e| ExitError::file("make", &args.place.dir, &e))?;
    let dir = absolute(&args.place.dir)?;
    let layout = Layout::new(&dir, settings(&dir, &args)?)?;
    if args.detach {
        return detach(&layout).await;
    }
    if args.background {
        // A session of its own: closing the terminal does not end it.
        rustix::process::setsid().map_err(|e| ExitError::failed(format!("cannot go to the background: {e}")))?;
    }
    let env = crate::assemble::real_env();
    let log = LogConfig { format: LogFormat::Auto, level: "warn".to_owned() };
    logging::start(&log, logging::Writer::default(), env.clock.clone())?;
    supervisor::run(&layout, env, |record| print(&announcement(&dir, record))).await
}

/// What the demo is made with: what it was made with before, else what is asked for.
fn settings(dir: &Path, args: &StartArgs) -> Result<Settings, ExitError> {
    let before = record::settings(dir)?;
    let usual = Settings {
        base_port: 7100,
        nodes_per_site: 3,
        disks_per_node: 2,
        code: Code::STANDARD,
        quota_bytes: 1_000_000_000,
        set: Vec::new(),
    };
    let known = before.clone().unwrap_or(usual);
    let asked = Settings {
        base_port: args.base_port.unwrap_or(known.base_port),
        nodes_per_site: args.nodes_per_site.unwrap_or(known.nodes_per_site),
        disks_per_node: args.disks_per_node.unwrap_or(known.disks_per_node),
        code: args.code.unwrap_or(known.code),
        quota_bytes: args.quota.unwrap_or(known.quota_bytes),
        set: if args.set.is_empty() { known.set } else { args.set.clone() },
    };
    if before.is_some_and(|before| before != asked) {
        return Err(ExitError::refused(
            format!("the demo in {} was made with other settings", dir.display()),
            "start it without them, or in another directory",
        ));
    }
    Ok(asked)
}

/// Starts the supervisor in the background and waits until it serves.
async fn detach(layout: &Layout) -> Result<(), ExitError> {
    let dir = &layout.dir;
    supervisor::refuse_running(dir)?;
    supervisor::remove_record(dir)?;
    let path = dir.join("supervisor.log");
    let log = fs::File::create(&path).map_err(|e| ExitError::file("write", &path, &e))?;
    let errors = log.try_clone().map_err(|e| ExitError::file("write", &path, &e))?;
    let program = std::env::current_exe().map_err(|e| ExitError::failed(format!("this program is not to be found: {e}")))?;
    let Settings { base_port, nodes_per_site, disks_per_node, code, quota_bytes, set } = &layout.settings;
    let mut command = tokio::process::Command::new(program);
    command.arg("demo").arg("--background").arg("--dir").arg(dir);
    command.args(["--base-port", &base_port.to_string(), "--nodes-per-site", &nodes_per_site.to_string()]);
    command.args(["--disks-per-node", &disks_per_node.to_string(), "--code", &code.to_string()]);
    command.args(["--quota", &format!("{quota_bytes}B")]);
    for (name, value) in set {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    let mut child = command.spawn().map_err(|e| ExitError::failed(format!("cannot go to the background: {e}")))?;
    let terminated = tokio::signal::ctrl_c();
    tokio::pin!(terminated);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            let said = fs::read_to_string(&path).unwrap_or_default();
            return Err(ExitError::failed(format!("the demo did not start ({status})\n{}", said.trim_end()))
                .or_advice(format!("see {}", path.display())));
        }
        if record::demo_file(dir).exists() {
            return print(&announcement(dir, &DemoRecord::read(dir)?));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = &mut terminated => {
                stop::stop(dir).await?;
                return Err(ExitError::new(Exit::Interrupted, "interrupted; what was started is stopped", ""));
            }
        }
    }
}

async fn token(dir: &Path, national_number: &str) -> Result<String, ExitError> {
    let record = DemoRecord::read(dir)?;
    let people: Vec<(String, usize)> = record.people.iter().enumerate().map(|(i, p)| (p.national_number.clone(), i)).collect();
    if !people.iter().any(|(number, _)| number == national_number) {
        let known: Vec<String> = record.people.iter().map(|p| format!("{} ({})", p.national_number, p.name)).collect();
        return Err(ExitError::usage("the demo has nobody with that number", format!("its people: {}", known.join(", "))));
    }
    let ca = fs::read(&record.ca_file).map_err(|e| ExitError::file("read", &record.ca_file, &e))?;
    let mut last = ExitError::unreachable("the demo has no gateway", "");
    for gateway in &record.gateways {
        match sign_in::sign_in(gateway, &ca, PROVIDER, national_number, &people).await {
            Ok(token) => return Ok(token),
            // A gateway that was killed is no reason to fail: the next one signs in as well.
            Err(error) => last = ExitError::failed(format!("{gateway}: {error:#}")),
        }
    }
    Err(last)
}

/// What is printed when the demo serves: the line `ready`, and how to use it.
fn announcement(dir: &Path, record: &DemoRecord) -> String {
    let dir = dir.display();
    let mut out = String::from("ready\n");
    let _ = writeln!(out, "gateways   {}", record.gateways.join("  "));
    let _ = writeln!(out, "people     (KLUIS_TOKEN=$(kluis demo sign-in --dir {dir} NUMBER) signs one in)");
    for person in &record.people {
        let roles = if person.roles.is_empty() { String::new() } else { format!("  ({})", person.roles.join(", ")) };
        let _ = writeln!(out, "           {}  {}{roles}", person.national_number, person.name);
    }
    let _ = writeln!(out, "disks      {dir}/disks/NODE-dN");
    let _ = writeln!(out, "clock      {}", record.clock_url);
    if let (Some(gateway), Some(person)) = (record.gateways.first(), record.people.first()) {
        let _ = writeln!(
            out,
            "upload     curl --cacert {} -H \"Authorization: Bearer $(kluis demo sign-in --dir {dir} {})\" -H \"Idempotency-Key: $(date +%s%N)\" --data-binary @FILE -H 'Content-Type: application/octet-stream' '{gateway}/v1/documents?name=FILE'",
            record.ca_file.display(),
            person.national_number
        );
    }
    let _ = writeln!(out, "status     kluis status --dir {dir}");
    let _ = writeln!(out, "stop       kluis demo stop --dir {dir}");
    out
}

fn absolute(dir: &Path) -> Result<PathBuf, ExitError> {
    std::path::absolute(dir).map_err(|e| ExitError::file("find", dir, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(base_port: Option<u16>) -> StartArgs {
        StartArgs {
            place: PlaceArgs { dir: "demo".into() },
            base_port,
            nodes_per_site: None,
            disks_per_node: None,
            code: None,
            quota: None,
            set: Vec::new(),
            detach: false,
            background: false,
        }
    }

    #[test]
    fn a_demo_is_started_again_as_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let made = settings(dir.path(), &args(Some(9000))).unwrap();
        assert_eq!((made.base_port, made.nodes_per_site, made.disks_per_node), (9000, 3, 2));
        record::write_settings(dir.path(), &made).unwrap();
        assert_eq!(settings(dir.path(), &args(None)).unwrap(), made);
        assert_eq!(settings(dir.path(), &args(Some(9000))).unwrap(), made);
        assert_eq!(settings(dir.path(), &args(Some(9001))).unwrap_err().exit, Exit::Refused);
        let other = StartArgs { set: vec![("log.level".into(), "debug".into())], ..args(None) };
        assert_eq!(settings(dir.path(), &other).unwrap_err().exit, Exit::Refused);
    }

    #[test]
    fn ready_is_a_line_of_its_own_and_comes_once() {
        let record = DemoRecord {
            gateways: vec!["https://127.0.0.1:7112".into()],
            ca_file: "/d/ca.pem".into(),
            identity_provider: "http://127.0.0.1:7100".into(),
            people: crate::idp::demo_people()
                .into_iter()
                .map(|p| record::PersonRecord { name: p.name, national_number: p.national_number, roles: p.roles })
                .collect(),
            clock_url: "http://127.0.0.1:7101/clock".into(),
            nodes: vec![],
        };
        let text = announcement(Path::new("/d"), &record);
        assert_eq!(text.lines().filter(|l| *l == "ready").count(), 1, "{text}");
        assert!(text.contains("curl --cacert /d/ca.pem") && text.contains("https://127.0.0.1:7112/v1/documents?name=FILE"), "{text}");
    }
}
