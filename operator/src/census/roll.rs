//! How the voters answer.

use crate::observed::Observed;
use crate::validate::Cluster;
use schedia_apps::NodeId;

/// The voters of one set, by how they answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// The voters, by id or, where no node told, by pod name only.
    pub voters: usize,
    /// How many of them are needed.
    pub quorum: usize,
    /// Names of voters whose node answers as that voter.
    pub answering: Vec<String>,
    /// Names of voters whose pod runs but does not answer the operator.
    pub silent: Vec<String>,
    /// Names of voters whose pod does not run.
    pub down: Vec<String>,
    /// Names of voters whose pod answers from another disk.
    pub lost: Vec<String>,
}

impl Roll {
    /// Of these voters: id, where it is known, and pod name.
    pub(super) fn call(
        cluster: &Cluster,
        observed: &Observed,
        voters: Vec<(Option<NodeId>, String)>,
    ) -> Roll {
        let mut roll = Roll { voters: voters.len(), quorum: voters.len() / 2 + 1, ..Roll::default() };
        for (id, name) in voters {
            let pod = cluster.names.ordinal(&name).and_then(|ordinal| observed.pods.get(&ordinal));
            let list = match pod {
                Some(pod) => match &pod.node {
                    Ok(status) if id.is_some() && status.node_id == id => &mut roll.answering,
                    Ok(_) => &mut roll.lost,
                    Err(_) if pod.running => &mut roll.silent,
                    Err(_) => &mut roll.down,
                },
                None => &mut roll.down,
            };
            list.push(name);
        }
        roll
    }

    /// Whether a majority answers.
    pub fn has_quorum(&self) -> bool {
        self.voters > 0 && self.answering.len() >= self.quorum
    }

    /// How many more voters may be lost; negative: how many are missing.
    pub fn margin(&self) -> isize {
        self.answering.len() as isize - self.quorum as isize
    }
}
