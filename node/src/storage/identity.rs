//! The identity file: which disk this is, and which member of which cluster lives on it.
//!
//! ```text
//! {"format":1,"store_id":"6e3c...","cluster_id":"c1","node_id":1,"seed":null,"former":null}
//! 1f2e3d4c
//! ```
//! One line of JSON, and one with its CRC-32C (`line`).
//!
//! Invariants:
//! * A disk draws its store id once, and it is durable before anybody hears it.
//! * A disk that has a cluster and a node id never takes others. Reset, it becomes another disk (`reset`).

use super::base::invalid;
use super::line;
use schedia_apps::{ClusterId, NodeId, StoreId};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

const FILE: &str = "identity";
const FORMAT_VERSION: u32 = 1;

/// Who lives on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This disk, for ever.
    pub store_id: StoreId,
    /// The member on it. `None`: a blank disk.
    pub assigned: Option<Assigned>,
    /// What this directory was before it was reset for the last time.
    pub former: Option<Former>,
}

/// A member that a directory was reset from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its disk.
    pub store_id: StoreId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its id in it.
    pub node_id: NodeId,
    /// Whether its data are out of the way. Until then nothing else is written here.
    pub moved: bool,
}

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member's id in it.
    pub node_id: NodeId,
    /// Set on the node that begins the cluster until that is done: what it needs to go on after a crash. Opaque here.
    pub seed: Option<String>,
}

/// Why a disk did not become a member's.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// It is another's.
    #[error("this disk belongs to node {} of cluster {}", .0.node_id, .0.cluster_id)]
    Other(Assigned),
    /// It could not be written.
    #[error("failed to write the identity file: {0}")]
    Io(#[from] io::Error),
}

/// The first line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    format: u32,
    store_id: StoreId,
    #[serde(flatten)]
    assigned: Option<Assigned>,
    #[serde(default)]
    former: Option<Former>,
}

/// What a file of any format begins with.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Identity {
    /// A blank disk with an id of its own.
    pub(super) fn draw() -> io::Result<Identity> {
        let store_id = StoreId::try_from(uuid::Uuid::new_v4().to_string()).map_err(io::Error::other)?;
        Ok(Identity { store_id, assigned: None, former: None })
    }

    /// Reads the file of a data directory, if there is one.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Identity>> {
        line::load(dir, FILE)?.map(|text| Identity::decode(&text)).transpose()
    }

    /// Writes the file; durable on return.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        line::save(dir, FILE, &self.encode()?)
    }

    /// This disk as a member's: a blank one, or the same one again with another seed.
    pub(super) fn assign(&self, assigned: Assigned) -> Result<Identity, AssignError> {
        match &self.assigned {
            Some(is) if (&is.cluster_id, is.node_id) != (&assigned.cluster_id, assigned.node_id) => {
                Err(AssignError::Other(is.clone()))
            }
            _ => Ok(Identity { assigned: Some(assigned), ..self.clone() }),
        }
    }

    pub(super) fn encode(&self) -> io::Result<String> {
        let Identity { store_id, assigned, former } = self.clone();
        line::encode(&Line { format: FORMAT_VERSION, store_id, assigned, former })
    }

    pub(super) fn decode(text: &str) -> io::Result<Identity> {
        let line = line::decode(text)?;
        let Format { format } = serde_json::from_str(line)?;
        if format != FORMAT_VERSION {
            let words =
                format!("format {format} is not known to this release, which reads format {FORMAT_VERSION}");
            return Err(invalid(words));
        }
        let Line { format: _, store_id, assigned, former } = serde_json::from_str(line)?;
        Ok(Identity { store_id, assigned, former })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node_id: u64, seed: Option<&str>) -> Assigned {
        let cluster_id = "c1".parse().unwrap();
        Assigned { cluster_id, node_id: NodeId(node_id), seed: seed.map(str::to_owned) }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        let blank = Identity::draw().unwrap();
        blank.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(blank.clone()));
        let seed = blank.assign(member(1, Some("shards=1"))).unwrap();
        seed.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(seed));
    }

    #[test]
    fn a_member_stays_the_same_and_only_its_seed_changes() {
        let seed = Identity::draw().unwrap().assign(member(1, Some("shards=1"))).unwrap();
        assert_eq!(seed.assign(member(1, None)).unwrap().assigned, Some(member(1, None)));
        let error = seed.assign(member(2, None)).unwrap_err();
        assert_eq!(error.to_string(), "this disk belongs to node 1 of cluster c1");
    }

    #[test]
    fn a_flipped_bit_is_refused() {
        let text = Identity::draw().unwrap().assign(member(7, None)).unwrap().encode().unwrap();
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Identity::decode(&String::from_utf8(bytes).unwrap()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_format_is_named() {
        let line = r#"{"format":9,"members":[]}"#;
        let text = format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes()));
        let error = Identity::decode(&text).unwrap_err();
        assert_eq!(error.to_string(), "format 9 is not known to this release, which reads format 1");
    }
}
