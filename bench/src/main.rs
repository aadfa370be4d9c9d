//! `kluis-bench`: what the cluster does a second, and what this machine could do at most.
//!
//! Reading order: [`plan`] (what is measured, in which order, with which warm-up), [`primitives`] (what the machine
//! can do), [`limit`] (what follows from that), [`cluster`] (processes of the real binary, what they cost), [`load`]
//! (requests) with [`refusals`] (what was refused), the parts [`objects`], [`metadata`], [`repair`] and [`flat`], then
//! [`report`] with [`table`] and [`plot`]. [`proc`], [`scrape`], [`stats`] and [`machine`] are small tools of these.
//!
//! Owns: the course of a run. Not: building the binary that it measures.
//! Holds: (1) primitives and everything else are measured in one run on one machine, so that their ratio means
//! something on any machine; (2) no figure is written down here: what is printed was measured or computed
//! from what was; (3) whatever it started it stops, also after an error; (4) what was measured is written after each
//! part, whatever fails or cuts the run later.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod cluster;
mod flat;
mod limit;
mod load;
mod machine;
mod metadata;
mod objects;
mod plan;
mod plot;
mod primitives;
mod proc;
mod refusals;
mod repair;
mod report;
mod scrape;
mod stats;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use machine::Machine;
use plan::{Grid, Part, Plan, wanted};
use report::{Failed, Report};

/// Measures a cluster of real processes and the machine that it runs on.
#[derive(Debug, Parser)]
#[command(name = "kluis-bench", version)]
struct Arguments {
    /// The `kluis` binary to measure; built with optimisation if the figures are to mean anything
    #[arg(long, value_name = "PATH")]
    binary: PathBuf,
    /// Short steps: to see that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Only these parts; primitives are measured in any case, because limits need them
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Time of a step of load, in the place of the usual
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Only documents of these sizes (4096, 65536, 1048576, 16777216, 67108864)
    #[arg(long = "size", value_delimiter = ',', value_name = "BYTES")]
    sizes: Vec<usize>,
    /// Only so many requests at a time (1, 16, 64)
    #[arg(long = "at-a-time", value_delimiter = ',', value_name = "REQUESTS")]
    concurrencies: Vec<usize>,
    /// Only clusters of so many nodes (9, 3)
    #[arg(long = "nodes", value_delimiter = ',', value_name = "NODES")]
    nodes: Vec<usize>,
    /// Where the figures go, as JSON; table (.txt) and curves (.svg) are put beside it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where disks and metadata are put for the time of the run; the disk that is measured
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A directory that goes with the value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where a cluster of the part has its directory.
    fn demo(&self) -> PathBuf {
        self.0.join("demo")
    }

    /// A directory in it, which goes before the next part begins: disks of two clusters need not lie side by side.
    fn part(&self, name: &str) -> Result<Self> {
        Self::create(self.0.join(name))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let plan = Plan::new(arguments.quick, arguments.seconds, Grid::new(&arguments.sizes, &arguments.concurrencies, &arguments.nodes));
    let binary = fs::canonicalize(&arguments.binary).with_context(|| format!("there is no {}", arguments.binary.display()))?;
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch::create(std::path::absolute(parent.join(format!("kluis-bench-{}", std::process::id())))?)?;
    let keep = |report: &Report| arguments.out.as_deref().map_or(Ok(()), |out| report.write(out));
    let report = measure(&binary, &scratch, &plan, &arguments.only, &keep).await?;
    print!("{}", table::of(&report));
    ensure!(report.failed.is_empty(), "{} of the parts could not be measured: see the end of the table", report.failed.len());
    Ok(())
}

/// Measures part by part. `keep` is called after each, so that a run that is cut leaves what it finished; a part that
/// fails is named in the report and the next one is measured.
async fn measure(binary: &Path, scratch: &Scratch, plan: &Plan, only: &[Part], keep: &dyn Fn(&Report) -> Result<()>) -> Result<Report> {
    let machine = Machine::of_this(&scratch.0)?;
    eprintln!("measuring the machine");
    let primitives = primitives::measure(&scratch.part("primitives")?.0, plan.primitive).await?;
    let mut report = Report {
        machine,
        version: env!("CARGO_PKG_VERSION"),
        quick: plan.quick,
        step_seconds: plan.step.as_secs_f64(),
        finished: false,
        failed: Vec::new(),
        primitives,
        operations: Vec::new(),
        metadata: Vec::new(),
        repair: None,
        flat: Vec::new(),
    };
    keep(&report)?;
    if wanted(only, Part::Objects) {
        for &shape in &plan.grid.shapes {
            let name = format!("objects-{}", shape.nodes());
            let part = scratch.part(&name)?;
            let measured = objects::measure(binary, &part.demo(), shape, plan, &mut report, keep).await;
            finish(&mut report, &name, measured, keep)?;
        }
    }
    if wanted(only, Part::Metadata) {
        let part = scratch.part("metadata")?;
        let measured = metadata::measure(&part.0, plan, &mut report.metadata).await;
        finish(&mut report, "metadata", measured, keep)?;
    }
    if wanted(only, Part::Repair) {
        let part = scratch.part("repair")?;
        let measured = repair::measure(binary, &part.demo(), plan).await.map(|repair| report.repair = Some(repair));
        finish(&mut report, "repair", measured, keep)?;
    }
    if wanted(only, Part::Flat) {
        let part = scratch.part("flat")?;
        let measured = flat::measure(binary, &part.demo(), plan, &mut report.flat).await;
        finish(&mut report, "flat", measured, keep)?;
    }
    report.finished = true;
    keep(&report)?;
    Ok(report)
}

/// Notes how a part ended, and keeps what there is.
fn finish(report: &mut Report, part: &str, measured: Result<()>, keep: &dyn Fn(&Report) -> Result<()>) -> Result<()> {
    if let Err(why) = measured {
        eprintln!("{part}: {why:#}");
        report.failed.push(Failed::new(part, &why));
    }
    keep(report)
}
