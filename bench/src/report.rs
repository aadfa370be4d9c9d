//! Everything that a run found, and the files that it is kept in.
//!
//! | file | what |
//! |---|---|
//! | `NAME.json` | all figures, for programs |
//! | `NAME.txt` | the table, for people ([`crate::table`]) |
//! | `NAME.svg` | the curves ([`crate::plot`]) |
//!
//! Owns: these three forms of one value. Not: measuring. Holds: (1) parts that were not measured are absent in all of
//! them, those that failed are named, and so is a run that was cut; (2) the machine is described in each; (3) a file
//! is the one before or the new one, whole.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    flat,
    load::Direction,
    machine::Machine,
    metadata,
    objects::Operation,
    plan::{CONCURRENCIES, METADATA_CLIENTS, SHAPES},
    plot::{self, Panel, Series},
    primitives::Primitives,
    repair::Repair,
    table,
};

/// Something that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// What.
    pub part: String,
    /// Why.
    pub why: String,
}

impl Failed {
    /// `part` failed by `why`.
    pub fn new(part: impl Into<String>, why: &anyhow::Error) -> Self {
        Self { part: part.into(), why: format!("{why:#}") }
    }
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// Version of the product.
    pub version: &'static str,
    /// Whether steps were short: the figures show that it works, not how fast.
    pub quick: bool,
    /// Time of a step of load, in seconds.
    pub step_seconds: f64,
    /// Whether the run came to its end: what is absent then was not asked for, or is in `failed`.
    pub finished: bool,
    /// What could not be measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// What the machine can do.
    pub primitives: Primitives,
    /// Uploads and downloads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// Commits a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<metadata::Row>,
    /// The repair of a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
    /// Cost while documents grow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flat: Vec<flat::Row>,
}

impl Report {
    /// Writes the three files beside `out`, whose ending is replaced.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        for (ending, text) in [("json", json), ("txt", table::of(self)), ("svg", plot::svg(&self.title(), &self.panels()))] {
            let path = out.with_extension(ending);
            let unfinished = out.with_extension(format!("{ending}.part"));
            let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &path));
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// What it is and where it ran, in a line.
    pub fn title(&self) -> String {
        let Machine { cpu, cores, kernel, memory_bytes, disk, date } = &self.machine;
        format!("kluis {}, {cpu}, {cores} cores, {} GiB, {disk}, Linux {kernel}, {date}", self.version, memory_bytes >> 30)
    }

    /// The curves: rates of bytes over the size of documents, commits over clients, times over documents.
    pub fn panels(&self) -> Vec<Panel> {
        let mut panels = Vec::new();
        for shape in SHAPES {
            for (direction, name) in [(Direction::Put, "upload"), (Direction::Get, "download")] {
                let of = |concurrency: usize| {
                    let all = self.operations.iter();
                    all.filter(move |o| (o.shape, o.direction, o.concurrency) == (shape, direction, concurrency))
                };
                let mut series: Vec<Series> = Vec::new();
                for concurrency in CONCURRENCIES {
                    let points = of(concurrency).map(|o| (o.size_bytes as f64, o.cost.mib_per_second)).collect();
                    series.push(Series { name: format!("{concurrency} at a time"), points, dashed: false });
                }
                let widest = CONCURRENCIES.into_iter().max().unwrap_or(1);
                let limit = of(widest).map(|o| (o.size_bytes as f64, o.cost.mib_per_second / o.ratio)).collect();
                series.push(Series { name: format!("limit, {widest} at a time"), points: limit, dashed: true });
                panels.push(Panel {
                    title: format!("{name}, {} processes", shape.nodes()),
                    x: "bytes of a document".to_owned(),
                    y: "MiB/s".to_owned(),
                    series,
                });
            }
        }
        panels.push(self.commits());
        panels.push(self.growth());
        panels.retain(|panel| panel.series.iter().any(|series| !series.points.is_empty()));
        panels
    }

    fn commits(&self) -> Panel {
        let mut series: Vec<Series> = Vec::new();
        for row in &self.metadata {
            let Some(figures) = row.figures else { continue };
            let point = (row.clients as f64, figures.commits_per_second);
            match series.iter_mut().find(|series| series.name == row.system) {
                Some(found) => found.points.push(point),
                None => series.push(Series { name: row.system.clone(), points: vec![point], dashed: false }),
            }
        }
        Panel { title: "metadata".to_owned(), x: format!("clients {METADATA_CLIENTS:?}"), y: "commits/s".to_owned(), series }
    }

    fn growth(&self) -> Panel {
        let of = |name: &str, time: fn(&flat::Row) -> f64| Series {
            name: name.to_owned(),
            points: self.flat.iter().map(|row| (row.documents as f64, time(row))).collect(),
            dashed: false,
        };
        let series = vec![
            of("upload 4 KiB", |row| row.upload.p50_ms),
            of("download 4 KiB", |row| row.download.p50_ms),
            of("list a page", |row| row.list.p50_ms),
        ];
        Panel { title: "one vault that grows".to_owned(), x: "documents".to_owned(), y: "p50 ms".to_owned(), series }
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        cluster::Shape,
        limit::{Bound, Limit, tests::even},
        objects::Cost,
        refusals::Trouble,
        stats::Latency,
    };

    /// A run with everything in it.
    pub fn report() -> Report {
        let latency = Latency::new(5.0, 9.0, 12.0);
        let cost = Cost {
            operations: 100,
            operations_per_second: 50.0,
            mib_per_second: 50.0,
            latency,
            server_cpu_seconds_per_gib: 12.5,
            client_cpu_seconds_per_gib: 1.25,
        };
        let limit = Limit { operations_per_second: 200.0, bound: Bound::Processor, cpu_seconds: 0.01 };
        let mut trouble = Trouble::default();
        trouble.refused.insert("503 no_quorum".to_owned(), 12);
        trouble.given_up.insert("503 no_quorum".to_owned(), 1);
        let operation = |shape: Shape, direction, size_bytes| Operation {
            shape,
            direction,
            size_bytes,
            concurrency: 64,
            cost,
            stored_bytes_per_byte: (direction == Direction::Put).then_some(2.251),
            site_bytes_per_byte: 1.5,
            peak_memory_bytes: BTreeMap::from([("n1".to_owned(), 32 << 20), ("n2".to_owned(), 64 << 20)]),
            peak_memory_of_step: true,
            trouble: trouble.clone(),
            limit,
            ratio: 0.25,
        };
        let [nine, three] = SHAPES;
        let figures = metadata::Figures { commits: 9, commits_per_second: 4_321.0, latency, cpu_ms_per_commit: 0.5 };
        Report {
            machine: Machine {
                cpu: "A <fast> & odd CPU".to_owned(),
                cores: 2,
                kernel: "6.1".to_owned(),
                memory_bytes: 8 << 30,
                disk: "ext4 on /dev/a".to_owned(),
                date: "2026-01-01T00:00:00Z".to_owned(),
            },
            version: "0",
            quick: true,
            step_seconds: 2.0,
            finished: true,
            failed: vec![Failed::new("9 nodes, get", &anyhow::anyhow!("a node has ended"))],
            primitives: even(),
            operations: vec![
                operation(nine, Direction::Put, 4 << 10),
                operation(nine, Direction::Put, 1 << 20),
                operation(three, Direction::Get, 64 << 20),
            ],
            metadata: vec![
                metadata::Row { system: "kluis, 3 voters".to_owned(), clients: 16, figures: Some(figures), note: "here".to_owned() },
                metadata::Row { system: "etcd".to_owned(), clients: 16, figures: None, note: "not installed".to_owned() },
            ],
            repair: Some(Repair {
                document_bytes: 64 << 20,
                shards_before: 576,
                shards_lost: 32,
                repaired_bytes: 8 << 20,
                seconds: 4.0,
                mib_per_second: 2.0,
                budget_mib_per_second: 64.0,
                server_cpu_seconds_per_gib: 3.0,
                trouble: Trouble::default(),
            }),
            flat: vec![flat::tests::row(1_000), flat::tests::row(1_000_000)],
        }
    }

    #[test]
    fn panels_are_of_what_was_measured() {
        let whole = report();
        let titles: Vec<String> = whole.panels().into_iter().map(|panel| panel.title).collect();
        assert_eq!(titles, ["upload, 9 processes", "download, 3 processes", "metadata", "one vault that grows"]);
        let none = Report { operations: Vec::new(), metadata: Vec::new(), repair: None, flat: Vec::new(), ..whole };
        assert!(none.panels().is_empty());
        let json = serde_json::to_value(&none).unwrap();
        assert!(json.get("operations").is_none() && json.get("repair").is_none());
        assert!(json.get("machine").is_some() && json.get("primitives").is_some());
    }

    #[test]
    fn what_was_refused_and_what_failed_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run.json");
        report().write(&out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
        assert_eq!(json["operations"][0]["trouble"]["refused"]["503 no_quorum"], 12);
        assert_eq!(json["operations"][0]["peak_memory_bytes"]["n1"], 32 << 20);
        assert_eq!(json["failed"][0]["why"], "a node has ended");
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn the_limit_is_drawn_at_the_rate_that_the_ratio_says() {
        let panels = report().panels();
        let dashed = panels[0].series.iter().find(|series| series.dashed).unwrap();
        assert_eq!(dashed.points, [(4_096.0, 200.0), (1_048_576.0, 200.0)]);
    }
}
