//! The figures of a run as text for people.
//!
//! Owns: columns and their order. Not: any arithmetic but units. Holds: columns are as wide as their widest cell, so
//! no figure is cut; numbers stand to the right.

use std::fmt::Write as _;

use crate::{
    flat,
    limit::Bound,
    report::Report,
    stats::{Latency, MIB},
};

/// One table of a report.
type Part = fn(&Report) -> String;

/// The whole table.
pub fn of(report: &Report) -> String {
    let mut out = report.title();
    out.push('\n');
    if report.quick {
        out.push_str("quick run: the figures show that it works, not how fast\n");
    }
    let _ = writeln!(out, "steps of {} s; nodes and client share the machine; every write is synced\n", report.step_seconds);
    out.push_str(&primitives(report));
    if !report.finished {
        out.push_str("unfinished: the run was cut, or goes on; parts that come later are not here\n\n");
    }
    let parts: [(bool, &str, Part); 4] = [
        (!report.operations.is_empty(), "uploads and downloads (limit: from the primitives; by: what it runs into first)", operations),
        (!report.metadata.is_empty(), "metadata commits", metadata),
        (report.repair.is_some(), "repair of a lost disk", repair),
        (!report.flat.is_empty(), "one vault that grows, one request at a time", growth),
    ];
    for (_, title, part) in parts.into_iter().filter(|(measured, ..)| *measured) {
        let _ = write!(out, "\n{title}\n{}", part(report));
    }
    if !report.failed.is_empty() {
        out.push_str("\nfailed, and therefore not in these tables\n");
        for failed in &report.failed {
            let _ = writeln!(out, "- {}: {}", failed.part, failed.why);
        }
    }
    out
}

/// A figure, or a dash where there is none.
fn shown(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "-".to_owned() }
}

fn primitives(report: &Report) -> String {
    let rows = report.primitives.named().map(|(name, rate)| {
        vec![
            name.to_owned(),
            format!("{:.1}", rate.mib_per_second),
            format!("{:.1}", rate.operations_per_second),
            format!("{:.3}", rate.cpu_seconds_per_gib),
            format!("{:.1}", rate.cpu_seconds_per_operation * 1e6),
        ]
    });
    aligned(&["primitive", "MiB/s", "ops/s", "CPU s/GiB", "CPU us/op"], &rows)
}

fn operations(report: &Report) -> String {
    let heading = [
        "nodes", "op", "size", "at once", "ops/s", "MiB/s", "p50 ms", "p99 ms", "p99/p50", "server", "client", "stored", "sites",
        "peak MiB", "limit/s", "by", "ratio", "refused",
    ];
    let rows: Vec<Vec<String>> = report
        .operations
        .iter()
        .map(|o| {
            vec![
                o.shape.nodes().to_string(),
                o.direction.name().to_owned(),
                shown_size(o.size_bytes),
                o.concurrency.to_string(),
                format!("{:.1}", o.cost.operations_per_second),
                format!("{:.1}", o.cost.mib_per_second),
                format!("{:.2}", o.cost.latency.p50_ms),
                format!("{:.2}", o.cost.latency.p99_ms),
                format!("{:.1}", o.cost.latency.p99_over_p50),
                shown(o.cost.server_cpu_seconds_per_gib, 2),
                shown(o.cost.client_cpu_seconds_per_gib, 2),
                o.stored_bytes_per_byte.map_or_else(|| "-".to_owned(), |stored| format!("{stored:.3}")),
                shown(o.site_bytes_per_byte, 2),
                format!("{}{:.0}", if o.peak_memory_of_step { "" } else { "<=" }, o.peak_of_largest() as f64 / MIB),
                format!("{:.1}", o.limit.operations_per_second),
                match o.limit.bound {
                    Bound::Processor => "cpu".to_owned(),
                    Bound::Disk => "disk".to_owned(),
                    Bound::Waiting => "wait".to_owned(),
                },
                format!("{:.3}", o.ratio),
                o.trouble.to_string(),
            ]
        })
        .collect();
    let legend = "server, client: CPU seconds a GiB; stored: bytes in segments a byte; sites: bytes between sites a byte; peak: most \
                  resident memory of the largest node during the step (each node's is in the JSON); refused: attempts that did not \
                  succeed, by status and code; they were sent again after Retry-After, their wait is in the times, and only what succeeded \
                  is in the rates\n";
    aligned(&heading, &rows) + legend
}

fn metadata(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .metadata
        .iter()
        .map(|row| {
            let figure = |of: fn(&crate::metadata::Figures) -> f64, digits: usize| {
                row.figures.as_ref().map_or_else(|| "-".to_owned(), |figures| format!("{:.digits$}", of(figures)))
            };
            vec![
                row.system.clone(),
                row.clients.to_string(),
                figure(|f| f.commits_per_second, 1),
                figure(|f| f.latency.p50_ms, 2),
                figure(|f| f.latency.p99_ms, 2),
                figure(|f| f.cpu_ms_per_commit, 3),
                row.note.clone(),
            ]
        })
        .collect();
    let legend = "CPU: members and clients together. Ours: mutual TLS between replicas, no client connection; etcd: plain HTTP for both\n";
    aligned(&["system", "clients", "commits/s", "p50 ms", "p99 ms", "CPU ms", "note"], &rows) + legend
}

fn repair(report: &Report) -> String {
    let Some(r) = &report.repair else { return String::new() };
    format!(
        "{:.1} MiB of shards in {:.1} s: {:.1} MiB/s (budget of a node {:.0} MiB/s), {:.2} CPU s/GiB; {} of {} shards were lost\n",
        r.repaired_bytes as f64 / MIB,
        r.seconds,
        r.mib_per_second,
        r.budget_mib_per_second,
        r.server_cpu_seconds_per_gib,
        r.shards_lost,
        r.shards_before
    ) + &format!("refused while the documents were stored: {}\n", r.trouble)
}

fn growth(report: &Report) -> String {
    let heading = [
        "documents",
        "direct",
        "put p50",
        "put p99",
        "get p50",
        "get p99",
        "list p50",
        "list p99",
        "start s",
        "MiB",
        "meta MiB",
        "refused",
    ];
    let rows: Vec<Vec<String>> = report
        .flat
        .iter()
        .map(|row| {
            let mut cells = vec![row.documents.to_string(), row.written_directly.to_string()];
            for Latency { p50_ms, p99_ms, .. } in [row.upload, row.download, row.list] {
                cells.extend([format!("{p50_ms:.2}"), format!("{p99_ms:.2}")]);
            }
            cells.push(format!("{:.2}", row.start_seconds));
            cells.push(format!("{:.1}", row.memory_bytes as f64 / MIB));
            cells.push(format!("{:.1}", row.metadata_bytes as f64 / MIB));
            cells.push(row.trouble.to_string());
            cells
        })
        .collect();
    let mut out = aligned(&heading, &rows);
    let _ = writeln!(
        out,
        "times in ms; direct: empty documents whose metadata was proposed to the group without an upload, where uploading would take too \
         long (from {} on)",
        flat::UPLOADED_MAX
    );
    for line in flat::explained(&report.flat) {
        let _ = writeln!(out, "- {line}");
    }
    out
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
fn aligned(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([title.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = heading.iter().enumerate().map(|(column, title)| width(column, title)).collect();
    let mut out = String::new();
    line(&mut out, heading.iter().copied(), &widths);
    for row in rows {
        line(&mut out, row.iter().map(String::as_str), &widths);
    }
    out
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize]) {
    let mut text = String::new();
    for (column, (cell, &width)) in cells.zip(widths).enumerate() {
        let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

fn shown_size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [vec!["a".to_owned(), "1.0".to_owned()], vec!["longer".to_owned(), "1000000.0".to_owned()]];
        assert_eq!(aligned(&["n", "rate"], &rows), "n            rate\na             1.0\nlonger  1000000.0\n");
    }

    #[test]
    fn everything_that_was_measured_is_shown() {
        let text = of(&report());
        for wanted in [
            "A <fast> & odd CPU",
            "quick run",
            "QUIC stream",
            "64 MiB",
            "4321.0",
            "not installed",
            "2.0 MiB/s",
            "1000000",
            "700 bytes",
            "12x 503 no_quorum; given up: 1x",
            "a node has ended",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
        }
        assert!(text.lines().any(|line| line.contains("etcd") && line.contains(" - ")), "what was not measured is no number");
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        let none = Report {
            operations: Vec::new(),
            metadata: Vec::new(),
            repair: None,
            flat: Vec::new(),
            failed: Vec::new(),
            finished: false,
            ..report()
        };
        let text = of(&none);
        assert!(text.contains("primitive") && text.contains("unfinished"));
        for absent in ["uploads", "commits", "repair", "vault"] {
            assert!(!text.contains(absent), "{absent} is shown in\n{text}");
        }
    }

    #[test]
    fn sizes_have_their_unit() {
        assert_eq!((shown_size(4 << 10), shown_size(64 << 20)), ("4 KiB".to_owned(), "64 MiB".to_owned()));
    }
}
