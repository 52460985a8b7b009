//! The Kubernetes API of Schedia: `RaftCluster` (`schedia.dev/v1alpha1`), its defaults and its rules.
//!
//! The rules (CEL) stand beside the fields; the API server enforces them on apply, patch and scale, and [`RaftCluster::validate_cel`]
//! evaluates the very same ones without a server. `deploy/manifests/crd.yaml` is what [`yaml`] returns; a test compares.
//!
//! Invariants:
//! * No field is without effect: a later release adds its fields together with what they do.
//! * Whatever the schema accepts deserialises into [`RaftCluster`].
//!
//! Not here: what the operator does with a cluster (`schedia-operator`).

// The derive of KubeSchema repeats each struct inside a function, where `pub` reaches nobody.
#[allow(unreachable_pub)]
mod cluster;
mod schema;
#[allow(unreachable_pub)]
mod status;

pub use cluster::{
    PullPolicy, RaftCluster, RaftClusterSpec, RaftSettings, Reclaim, RetentionPolicy, ServiceSpec,
    ServiceType, Storage,
};
pub use schema::{crd, yaml};
pub use status::{JointVoters, MemberStatus, Operation, RaftClusterStatus, Target};
