//! Golden scripts: a scene in YAML, a line, and the plan in words. `SCHEDIA_BLESS=1` rewrites what stands below the line.

use super::{Operation, Plan, Step, plan};
use crate::build::build;
use crate::census::Census;
use crate::testing::{Scene, id};
use std::fmt::Write;
use std::path::Path;

fn tell(text: &str) -> String {
    let scene: Scene = serde_yaml::from_str(text).unwrap();
    let (cluster, observed) = scene.stage();
    let census = Census::of(&cluster, &observed);
    let built = build(&cluster, &census, &observed.live);
    let plan = plan(&cluster, &observed, &census, &built, &id("fresh"));
    let set = built.stateful_set.spec.unwrap();
    let mut told = String::new();
    let Plan { reason, message, blocked, refused, operation, step, apply, .. } = &plan;
    let Plan { objects: _, resize: _, quorum, unsupported, roles, .. } = &plan;
    writeln!(told, "{}: {message}", reason.as_str()).unwrap();
    writeln!(told, "quorum: {quorum:?}").unwrap();
    if let Some(kind) = blocked {
        writeln!(told, "blocked: {kind}").unwrap();
    }
    if let Some(kind) = refused {
        writeln!(told, "refused: {kind}").unwrap();
    }
    if let Some(Operation { kind, step, member }) = operation {
        writeln!(told, "operation: {kind} {step} {}", member.as_deref().unwrap_or("-")).unwrap();
    }
    match step {
        Some(step) => writeln!(told, "step: {} {}", step.kind(), precondition(step)).unwrap(),
        None => writeln!(told, "step: none").unwrap(),
    }
    writeln!(told, "next: {}", plan.next_action()).unwrap();
    match apply {
        true => writeln!(told, "pods: {}", set.replicas.unwrap()).unwrap(),
        false => writeln!(told, "nothing is applied").unwrap(),
    }
    for unsupported in unsupported {
        writeln!(told, "unsupported: {}: {}", unsupported.reason, unsupported.message).unwrap();
    }
    if !roles.is_empty() {
        let roles: Vec<_> = roles.iter().map(|(ordinal, role)| format!("demo-{ordinal}={role}")).collect();
        writeln!(told, "labels: {}", roles.join(" ")).unwrap();
    }
    told
}

fn precondition(step: &Step) -> String {
    match step {
        Step::Latch(latched) => format!("{:?}", latched.annotations()),
        Step::Recreate { pod, uid } => format!("{pod} if its uid is {uid}"),
        Step::Initialize { pod, store_id, verb } => {
            format!("{pod} if its disk is {store_id}: {}, shards {}", verb.cluster_id, verb.shards)
        }
        Step::Assign { leader, pod, store_id, cluster_id } => {
            format!("{pod} if its disk is {store_id}: {cluster_id}, id from {leader}")
        }
        Step::AddLearner { leader, verb } => {
            format!("{} as {} via {leader} if the generation is {}", verb.name, verb.node_id, verb.expected)
        }
        Step::Reset { pod, verb } => {
            format!("{pod} if its disk is {}: node {} of {}", verb.store_id, verb.node_id, verb.cluster_id)
        }
        Step::TransferLeader { leader, to, verb } => format!("from {leader} to {to}, node {}", verb.to),
        Step::RemoveMember { leader, pod, verb } => {
            format!("{pod}, node {}, via {leader} if the generation is {}", verb.node_id, verb.expected)
        }
        Step::DeleteClaim { claim, uid, .. } => format!("{claim} if its uid is {uid}"),
        Step::SetVoters { leader, verb } | Step::Settle { leader, verb } => {
            let voters: Vec<_> = verb.voters.iter().map(ToString::to_string).collect();
            format!("[{}] via {leader} if the generation is {}", voters.join(", "), verb.expected)
        }
    }
}

#[test]
fn every_script_tells_its_plan() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 20, "only {} scripts", scripts.len());
    let bless = std::env::var_os("SCHEDIA_BLESS").is_some();
    let mut wrong = String::new();
    for script in scripts {
        let text = std::fs::read_to_string(&script).unwrap();
        let (scene, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let told = tell(scene);
        if told == expected {
            continue;
        }
        if bless {
            std::fs::write(&script, format!("{scene}---\n{told}")).unwrap();
        } else {
            writeln!(wrong, "{}\nexpected:\n{expected}told:\n{told}", script.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
