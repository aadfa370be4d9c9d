//! `kluis cluster`: init and apply-topology.
//!
//! Owns: these commands' arguments, the plan as people see it. Not: what they do (`join`, `admin`).
//! Holds: a change is planned and shown; only `--apply` makes it, and only the plan that was seen.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use kluis_chunkstore::{code::Code, ids::SiteName};
use kluis_raft::model::{VaultId, cluster::NodeRole};

use super::{
    Output, json_line,
    node::{ListenArgs, show_member},
    print,
    status::AdminArgs,
};
use crate::{
    admin::VaultLimits,
    admin_client::{PlannedDisk, TopologyPlan},
    config::units::parse_size,
    exit::ExitError,
    options::{InitOptions, check_cluster_name},
};

/// `kluis cluster ...`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Makes a new cluster, whose first node is this machine; once
    Init(InitArgs),
    /// Takes announced disks into use, and removed ones out: shows the plan, or makes it
    ApplyTopology(TopologyArgs),
    /// Changes the limits of one vault
    VaultLimits(VaultLimitsArgs),
}

/// `kluis cluster init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Name of the cluster: part of every certificate, never changes
    #[arg(long, value_parser = check_cluster_name)]
    name: String,
    /// Site of the first node
    #[arg(long)]
    site: SiteName,
    /// Directory of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where the first operator's certificate, key and the CA go
    #[arg(long, value_name = "DIR")]
    operator_dir: PathBuf,
    #[command(flatten)]
    listen: ListenArgs,
    /// Erasure code of documents, K+M
    #[arg(long, default_value_t = Code::STANDARD)]
    code: Code,
    /// Quota of a new vault
    #[arg(long, value_parser = parse_size, default_value = "1 GB")]
    quota: u64,
}

/// `kluis cluster apply-topology`
#[derive(Debug, Args)]
pub struct TopologyArgs {
    /// Makes the change; without it the plan is only shown
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// `kluis cluster vault-limits`
#[derive(Debug, Args)]
pub struct VaultLimitsArgs {
    /// The vault, as its owner's `GET /v1/me` names it
    vault: VaultId,
    /// New quota, as 2GB
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    quota: Option<u64>,
    /// Whether uploads are refused rather than acknowledged with reduced redundancy
    #[arg(long, value_name = "BOOL")]
    strict: Option<bool>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs `kluis cluster`.
///
/// # Errors
/// Unreachable, or a refusal.
pub async fn run(command: ClusterCommand, output: Output) -> Result<(), ExitError> {
    match command {
        ClusterCommand::Init(args) => {
            let InitArgs { name, site, dir, operator_dir, listen, code, quota } = args;
            let ListenArgs { quic, admin, gateway, disks } = listen;
            let roles = [Some(NodeRole::Metadata), (!disks.is_empty()).then_some(NodeRole::Chunk), gateway.map(|_| NodeRole::Gateway)];
            let options = InitOptions {
                dir,
                operator_dir,
                cluster_name: name,
                site,
                roles: roles.into_iter().flatten().collect(),
                quic,
                admin,
                gateway,
                disks,
                code,
                quota_bytes: quota,
            };
            let member = crate::join::init_cluster(options, crate::assemble::real_env()).await?;
            show_member(&member, output)
        }
        ClusterCommand::ApplyTopology(args) => apply_topology(&args, output).await,
        ClusterCommand::VaultLimits(args) => vault_limits(&args, output).await,
    }
}

async fn apply_topology(args: &TopologyArgs, output: Output) -> Result<(), ExitError> {
    let client = args.admin.client()?;
    let plan = client.plan_topology().await?;
    match output {
        Output::Json => print(&json_line(&plan)?)?,
        Output::Table => print(&show_plan(&plan))?,
    }
    if let Some(reason) = &plan.refused {
        return Err(ExitError::refused(
            format!("the plan cannot be applied: {reason}"),
            "add disks or nodes where they are missing, then plan again",
        ));
    }
    if !args.apply {
        eprintln!("nothing was changed; --apply makes this change");
        return Ok(());
    }
    if plan.next_version == plan.current_version {
        return Ok(());
    }
    let applied = client.apply_topology(plan.next_version).await?;
    eprintln!("topology {} is in force", applied.next_version);
    Ok(())
}

async fn vault_limits(args: &VaultLimitsArgs, output: Output) -> Result<(), ExitError> {
    let limits = VaultLimits { quota_bytes: args.quota, strict: args.strict };
    let now = args.admin.client()?.set_vault_limits(args.vault, &limits).await?;
    match output {
        Output::Json => print(&json_line(&now)?),
        Output::Table => print(&format!("{} of {} bytes used, strict {}\n", now.used_bytes, now.quota_bytes, now.strict)),
    }
}

fn show_plan(plan: &TopologyPlan) -> String {
    if plan.next_version == plan.current_version && plan.refused.is_none() {
        return format!("topology {}: nothing to change\n", plan.current_version);
    }
    let mut out = format!("topology {} -> {}\n", plan.current_version, plan.next_version);
    let mut list = |sign: char, disks: &[PlannedDisk]| {
        for disk in disks {
            let _ = writeln!(out, "  {sign} {}/{}  {}  weight {}", disk.site, disk.node, disk.disk, disk.weight);
        }
    };
    list('+', &plan.added);
    list('-', &plan.removed);
    out
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::ids::{DiskId, NodeId};

    use super::*;

    #[test]
    fn a_plan_shows_what_comes_and_goes() {
        let disk = |id| PlannedDisk { disk: DiskId(id), node: NodeId(2), site: "dc1".parse().unwrap(), weight: 7 };
        let plan = TopologyPlan { current_version: 3, next_version: 4, added: vec![disk(1)], removed: vec![disk(2)], refused: None };
        let text = show_plan(&plan);
        assert!(text.starts_with("topology 3 -> 4\n  + dc1/n2  0000"), "{text}");
        assert!(text.contains("\n  - dc1/n2"), "{text}");
        let same = TopologyPlan { current_version: 3, next_version: 3, added: vec![], removed: vec![], refused: None };
        assert_eq!(show_plan(&same), "topology 3: nothing to change\n");
    }
}
