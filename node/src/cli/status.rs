//! `kluis status`: the cluster on one screen.
//!
//! Owns: the layout. Not: the figures and findings ([`crate::status`]), which programs get as JSON.
//! Holds: (1) worst first, the answer before the details; (2) no line is wider than asked; (3) colour is
//! never the only sign; (4) a part never shows above 100 %, an unknown time says so.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use clap::Args;
use url::Url;

use super::{Output, print, terminal};
use crate::{
    admin_client::AdminClient,
    exit::{Exit, ExitError},
    logging::escaped,
    status::{ClusterStatus, Severity, WorkStatus},
};

/// How often `--watch` asks again.
const REFRESH: Duration = Duration::from_secs(2);

/// Where the operator interface is, and with whose credentials.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Address of a node's operator interface; may be given several times
    #[arg(long, value_name = "URL", env = "KLUIS_ADMIN", value_delimiter = ',')]
    admin: Vec<Url>,
    /// The operator's certificate (PEM)
    #[arg(id = "operator_cert", long = "cert", value_name = "FILE", env = "KLUIS_OPERATOR_CERT")]
    cert: Option<PathBuf>,
    /// The operator's key (PEM)
    #[arg(id = "operator_key", long = "key", value_name = "FILE", env = "KLUIS_OPERATOR_KEY")]
    key: Option<PathBuf>,
    /// The cluster's CA (PEM)
    #[arg(id = "cluster_ca", long = "ca", value_name = "FILE", env = "KLUIS_CA")]
    ca: Option<PathBuf>,
    /// Directory of a demo, in the place of the four above
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl AdminArgs {
    /// The client that they describe.
    ///
    /// # Errors
    /// Missing or unusable credentials.
    pub fn client(&self) -> Result<AdminClient, ExitError> {
        if let Some(dir) = &self.dir {
            return AdminClient::of_demo(dir);
        }
        match (&self.ca, &self.cert, &self.key) {
            (Some(ca), Some(cert), Some(key)) => AdminClient::new(self.admin.clone(), ca, cert, key),
            _ => Err(ExitError::usage("which cluster?", "give --admin URL --cert FILE --key FILE --ca FILE, or --dir DIR of a demo")),
        }
    }
}

/// Shows the cluster on one screen.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Ends with status 6 when the cluster has findings that a person should look at
    #[arg(long)]
    exit_status: bool,
    /// Asks again every two seconds until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// Runs `kluis status`.
///
/// # Errors
/// Unreachable; with `--exit-status`, [`Exit::Unhealthy`].
pub async fn run(args: &StatusArgs, output: Output) -> Result<(), ExitError> {
    let client = args.admin.client()?;
    loop {
        let status = client.status().await;
        if args.watch {
            // One answer that is missing does not end the watch: that is when a person wants it.
            let text = match &status {
                Ok(status) => shown(status, output)?,
                Err(error) => format!("{error}\n"),
            };
            let clear = if terminal::stdout() && output == Output::Table { "\u{1b}[H\u{1b}[2J" } else { "" };
            print(&format!("{clear}{text}"))?;
            tokio::time::sleep(REFRESH).await;
            continue;
        }
        let status = status?;
        print(&shown(&status, output)?)?;
        return if args.exit_status && !status.healthy() { Err(ExitError::new(Exit::Unhealthy, "", "")) } else { Ok(()) };
    }
}

fn shown(status: &ClusterStatus, output: Output) -> Result<String, ExitError> {
    match output {
        Output::Json => super::json_line(status),
        Output::Table => Ok(render(status, terminal::width(), terminal::color())),
    }
}

/// The screen: lines of at most `width` characters.
pub fn render(status: &ClusterStatus, width: usize, color: bool) -> String {
    let mut lines = Vec::new();
    let ClusterStatus { cluster, findings, margin, metadata, sites, nodes, work } = status;
    let id: String = cluster.id.to_string().chars().take(6).collect();
    let head = format!(
        "{}  {id}  {}  code {}  topology {}",
        escaped(&cluster.name),
        escaped(&cluster.version),
        cluster.code,
        cluster.topology_version
    );
    let time = format!("{:.0}", cluster.time);
    // A file or pipe has no width: the time follows where a screen of 100 characters would have it.
    let gap = width.min(100).saturating_sub(head.chars().count() + time.chars().count()).max(2);
    lines.push(format!("{head}{}{time}", " ".repeat(gap)));

    let (word, paint) = match status.worst() {
        None | Some(Severity::Info) => ("OK", "32"),
        Some(Severity::Warning) => ("WARN", "33"),
        Some(Severity::Critical) => ("CRIT", "31"),
    };
    let count = match findings.len() {
        0 => "no findings".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    lines.push(format!("HEALTH   {word:<6} {count}"));
    let health_line = lines.len() - 1;
    for finding in findings {
        lines.push(format!("  {:<18} {}", escaped(&finding.code), escaped(&finding.text)));
    }
    lines.push(format!("MARGIN   survives now: {}", escaped(&margin.survives)));
    let leader = match (metadata.leader, &metadata.leader_site) {
        (Some(leader), Some(site)) => format!("{leader} ({site})"),
        (Some(leader), None) => leader.to_string(),
        (None, _) => "none".to_owned(),
    };
    let learners = if metadata.learners > 0 { format!("  learners {}", metadata.learners) } else { String::new() };
    lines.push(format!(
        "METADATA leader {leader}  term {}  voters {}/{}{learners}  applied {}  lag {}  snapshot at {}",
        metadata.term,
        metadata.voters_up,
        metadata.voters,
        grouped(metadata.applied),
        grouped(metadata.lag),
        grouped(metadata.snapshot_index)
    ));

    let mut table = vec![["SITE", "NODES", "DISKS", "USED", "RTT"].map(str::to_owned)];
    for site in sites {
        table.push([
            site.name.to_string(),
            part(site.nodes_up, site.nodes),
            part(site.disks_up, site.disks),
            format!("{} of {}", percent(site.used_bytes, site.capacity_bytes), bytes(site.capacity_bytes)),
            site.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
        ]);
    }
    lines.extend(columns(&table));
    let mut table = vec![["NODE", "SITE", "STATE", "ROLES", "DISKS", "USED"].map(str::to_owned)];
    for node in nodes {
        let used = node.disks.iter().fold(0_u64, |sum, d| sum.saturating_add(d.used_bytes));
        let capacity = node.disks.iter().fold(0_u64, |sum, d| sum.saturating_add(d.capacity_bytes));
        let leads = metadata.leader == Some(node.id);
        table.push([
            node.id.to_string(),
            node.site.to_string(),
            if node.up { "up" } else { "DOWN !" }.to_owned(),
            node.roles.iter().map(|r| super::role_name(*r)).collect::<Vec<_>>().join(",") + if leads { " (leader)" } else { "" },
            part(node.disks.iter().filter(|d| d.state.readable()).count(), node.disks.len()),
            if node.up { percent(used, capacity) } else { "unknown".to_owned() },
        ]);
    }
    lines.extend(columns(&table));
    for (i, item) in work.iter().enumerate() {
        lines.push(format!("{} {}", if i == 0 { "WORK " } else { "     " }, work_line(item)));
    }

    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        let line = cut(line.trim_end(), width);
        if color && i == health_line {
            let _ = writeln!(out, "\u{1b}[1;{paint}m{line}\u{1b}[0m");
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

fn work_line(work: &WorkStatus) -> String {
    let kind = escaped(&work.kind);
    if let Some(held) = &work.held {
        return format!("{kind:<10} held: {}", escaped(held));
    }
    // A total that grew after `done` was counted must not show above 100 %.
    let total = work.total.max(work.done);
    let filled = if total == 0 { 0 } else { u128::from(work.done) * 20 / u128::from(total) };
    let bar: String = (0..20_u128).map(|i| if i < filled { '#' } else { '-' }).collect();
    let eta = work.eta_s.map_or_else(|| "time left unknown".to_owned(), |s| format!("{} left", duration(s)));
    format!(
        "{kind:<10} [{bar}] {:>4}  {} of {}  {}/s of {}/s  {eta}",
        percent(work.done, total),
        bytes(work.done),
        bytes(total),
        bytes(work.rate_bytes_per_second),
        bytes(work.budget_bytes_per_second)
    )
}

fn columns<const N: usize>(table: &[[String; N]]) -> Vec<String> {
    let mut widths = [0; N];
    for row in table {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
    table.iter().map(line).collect()
}

fn part(up: usize, all: usize) -> String {
    format!("{up}/{all}{}", if up < all { " !" } else { "" })
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = (u128::from(part) * 1000 / u128::from(whole)).min(1000);
    if tenths.is_multiple_of(10) { format!("{}%", tenths / 10) } else { format!("{}.{}%", tenths / 10, tenths % 10) }
}

/// A number of bytes for people: three digits and a binary unit.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scale = 1_u64;
    let mut unit = "B";
    for next in units.into_iter().skip(1) {
        let Some(larger) = scale.checked_mul(1024).filter(|larger| count >= *larger) else { break };
        (scale, unit) = (larger, next);
    }
    if scale == 1 {
        return format!("{count} B");
    }
    let tenths = u128::from(count) * 10 / u128::from(scale);
    if tenths >= 100 { format!("{} {unit}", tenths / 10) } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds.div_ceil(60)),
        3600..172_800 => format!("{}h", seconds.div_ceil(3600)),
        _ => format!("{}d", seconds.div_ceil(86_400)),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width { line.to_owned() } else { line.chars().take(width.saturating_sub(1)).chain(['~']).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::status::{
        DiskCondition,
        tests::{down, fleet, healthy},
    };

    fn again(status: ClusterStatus) -> ClusterStatus {
        ClusterStatus::assemble(status.cluster, status.metadata, status.nodes, status.work)
    }

    #[test]
    fn a_healthy_cluster_reads_as_one_screen() {
        let screen = render(&healthy(3, 2), 110, false);
        let lines: Vec<&str> = screen.lines().collect();
        assert!(lines[0].starts_with("demo  "), "{screen}");
        assert!(lines[0].ends_with("2026-08-24T10:14:03Z"), "{screen}");
        assert_eq!(lines[1], "HEALTH   OK     no findings");
        assert_eq!(lines[2], "MARGIN   survives now: any 1 site, then any 2 more nodes");
        assert!(lines[3].starts_with("METADATA leader n1 (dc1)  term 3  voters 9/9  applied 8,120,441  lag 3"), "{screen}");
        assert_eq!(lines[5], "dc1   3/3    6/6    61% of 600 GiB  1 ms");
        assert!(lines.len() <= 24, "fits a terminal: {screen}");
    }

    #[test]
    fn what_is_wrong_stands_before_the_tables_and_without_colour_too() {
        let mut status = healthy(3, 2);
        status.nodes = fleet(3, 2);
        down(&mut status.nodes, |n| n.id.0 == 5);
        status.nodes[8].disks[1].state = DiskCondition::Failed;
        let screen = render(&again(status), 110, false);
        assert!(screen.contains("HEALTH   WARN   2 findings"), "{screen}");
        assert!(screen.find("NODE_DOWN").unwrap() < screen.find("SITE ").unwrap());
        assert!(screen.contains("DOWN !") && screen.contains("5/6 !"), "{screen}");
        assert!(!screen.contains('\u{1b}'));
    }

    #[test]
    fn work_never_shows_more_than_all_nor_a_time_it_does_not_know() {
        let mut work = WorkStatus {
            kind: "repair".into(),
            done: 3 << 30,
            total: 2 << 30,
            rate_bytes_per_second: 0,
            budget_bytes_per_second: 64 << 20,
            eta_s: None,
            held: None,
        };
        assert_eq!(work_line(&work), "repair     [####################] 100%  3.0 GiB of 3.0 GiB  0 B/s of 64 MiB/s  time left unknown");
        work.held = Some("waits for n4".into());
        assert_eq!(work_line(&work), "repair     held: waits for n4");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(180 << 40), bytes(u64::MAX)],
            ["0 B", "1023 B", "1.5 KiB", "180 TiB", "15 EiB"]
        );
        assert_eq!([grouped(0), grouped(999), grouped(8_120_441)], ["0", "999", "8,120,441"]);
        assert_eq!([duration(59), duration(61), duration(7200), duration(864_000)], ["59s", "2m", "2h", "10d"]);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked(width in 20_usize..200, name in "\\PC{0,60}") {
            let mut status = healthy(3, 2);
            status.cluster.name = name;
            for line in render(&status, width, false).lines() {
                prop_assert!(line.chars().count() <= width, "{:?}", line);
            }
        }
    }
}
