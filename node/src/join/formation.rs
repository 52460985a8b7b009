//! Whose turn it is when a static cluster forms. Pure: answers of the listed nodes in, turn out.
//!
//! Every blank node asks all others, again and again. Once one of them is a member, there is a cluster: ask to be let
//! in, the seed with a wiped disk too. Before that, only the seed may begin one, and only when every listed node has
//! answered that it is blank: a node that is silent may be a member.

use crate::config::Peers;
use crate::peer::HelloAnswer;
use reqwest::Url;
use std::collections::{BTreeMap, BTreeSet};

/// Another listed node.
#[derive(Clone, Debug)]
pub(super) struct Other {
    /// Its peer address: host:port.
    pub(super) address: String,
    /// What it answered, or why it did not.
    pub(super) answer: Result<HelloAnswer, String>,
}

/// What this node does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Begins the cluster, alone.
    Begin,
    /// Asks members, by their client URLs, to be let in.
    Ask(Vec<String>),
}

/// Whose turn it is: this node's, or in words why not yet.
pub(super) fn decide(listed: &Peers, others: &BTreeMap<String, Other>) -> Result<Turn, String> {
    let (mut clusters, mut urls, mut silent, mut marked) = (BTreeSet::new(), vec![], vec![], vec![]);
    for (name, Other { address, answer }) in others {
        match answer {
            Ok(HelloAnswer::Member { cluster_id, http_url, .. }) => {
                clusters.insert(cluster_id.to_string());
                urls.push(reachable(http_url, address));
            }
            Ok(HelloAnswer::Blank { seed: true }) => marked.push(name.as_str()),
            Ok(HelloAnswer::Blank { seed: false }) => {}
            Err(reason) => silent.push(format!("{name} ({reason})")),
        }
    }
    if clusters.len() > 1 {
        let clusters: Vec<String> = clusters.into_iter().collect();
        return Err(format!("the nodes of --peers belong to different clusters: {}", clusters.join(", ")));
    }
    if !urls.is_empty() {
        return Ok(Turn::Ask(urls));
    }
    if !silent.is_empty() {
        return Err(format!(
            "a cluster begins when every node of --peers answers; not yet: {}",
            silent.join(", ")
        ));
    }
    match (listed.marked, marked.first()) {
        (true, None) => Ok(Turn::Begin),
        (true, Some(other)) => {
            Err(format!("two nodes have --bootstrap, one may have it: this one and {other}"))
        }
        (false, Some(seed)) => Err(format!("{seed} begins the cluster")),
        (false, None) if listed.first => Ok(Turn::Begin),
        (false, None) => {
            Err(format!("{} begins the cluster", listed.nodes.keys().next().map_or("nobody", |name| name)))
        }
    }
}

/// A member that listens on every address is reached where its peers reach it.
fn reachable(http_url: &str, peer_address: &str) -> String {
    let host = peer_address.rsplit_once(':').map(|(host, _port)| host);
    if let (Ok(mut url), Some(host)) = (Url::parse(http_url), host)
        && matches!(url.host_str(), Some("0.0.0.0" | "[::]"))
        && url.set_host(Some(host)).is_ok()
    {
        return url.to_string();
    }
    http_url.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schedia_apps::NodeId;

    fn listed(me: &str, marked: bool) -> Peers {
        let nodes = ["n1", "n2", "n3"].map(|name| (name.to_owned(), format!("{name}:7000")));
        Peers { nodes: nodes.into(), marked, first: me == "n1" }
    }

    fn others(answers: [(&str, Result<HelloAnswer, String>); 2]) -> BTreeMap<String, Other> {
        let other =
            |(name, answer): (&str, _)| (name.to_owned(), Other { address: format!("{name}:7000"), answer });
        answers.map(other).into()
    }

    const BLANK: Result<HelloAnswer, String> = Ok(HelloAnswer::Blank { seed: false });
    const MARKED: Result<HelloAnswer, String> = Ok(HelloAnswer::Blank { seed: true });

    fn silent() -> Result<HelloAnswer, String> {
        Err("connection refused".to_owned())
    }

    fn member(cluster: &str, http_url: &str) -> Result<HelloAnswer, String> {
        let cluster_id = cluster.parse().unwrap();
        Ok(HelloAnswer::Member { cluster_id, node_id: NodeId(1), http_url: http_url.to_owned() })
    }

    #[test]
    fn the_first_by_name_begins_once_all_are_blank() {
        let n1 = listed("n1", false);
        assert_eq!(decide(&n1, &others([("n2", BLANK), ("n3", BLANK)])), Ok(Turn::Begin));
        let silent = decide(&n1, &others([("n2", BLANK), ("n3", silent())])).unwrap_err();
        assert_eq!(
            silent,
            "a cluster begins when every node of --peers answers; not yet: n3 (connection refused)"
        );
        let n2 = decide(&listed("n2", false), &others([("n1", BLANK), ("n3", BLANK)]));
        assert_eq!(n2.unwrap_err(), "n1 begins the cluster");
    }

    #[test]
    fn a_marked_seed_begins_instead_and_there_is_only_one() {
        let n1 = decide(&listed("n1", false), &others([("n2", MARKED), ("n3", BLANK)]));
        assert_eq!(n1.unwrap_err(), "n2 begins the cluster");
        let n2 = listed("n2", true);
        assert_eq!(decide(&n2, &others([("n1", BLANK), ("n3", BLANK)])), Ok(Turn::Begin));
        let two = decide(&n2, &others([("n1", BLANK), ("n3", MARKED)])).unwrap_err();
        assert_eq!(two, "two nodes have --bootstrap, one may have it: this one and n3");
    }

    #[test]
    fn where_there_is_a_member_nobody_begins() {
        for me in ["n1", "n2"] {
            let there = others([("n4", silent()), ("n3", member("c", "http://n3:8080"))]);
            let ask = Turn::Ask(vec!["http://n3:8080".to_owned()]);
            assert_eq!(decide(&listed(me, true), &there), Ok(ask));
        }
        let two = others([("n2", member("c", "http://n2:8080")), ("n3", member("d", "http://n3:8080"))]);
        let words = decide(&listed("n1", false), &two).unwrap_err();
        assert_eq!(words, "the nodes of --peers belong to different clusters: c, d");
    }

    #[test]
    fn a_member_that_listens_everywhere_is_asked_at_its_peer_host() {
        let there =
            others([("n2", member("c", "http://0.0.0.0:8080")), ("n3", member("c", "http://[::]:81"))]);
        let ask = Turn::Ask(vec!["http://n2:8080/".to_owned(), "http://n3:81/".to_owned()]);
        assert_eq!(decide(&listed("n1", false), &there), Ok(ask));
    }
}
