//! What nodes export is what `docs/metrics.md` says, and nothing else.

use super::queue::Queues;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::paths::workspace;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Type and labels, by name.
type Table = BTreeMap<String, (String, BTreeSet<String>)>;

/// The rows of the page: name, type, unit, labels, words.
fn documented() -> Table {
    let page = std::fs::read_to_string(workspace().join("docs/metrics.md")).unwrap();
    let mut table = Table::new();
    for row in page.lines().filter(|line| line.starts_with("| `schedia_")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, unit, labels, words] = cells[..] else { panic!("not five cells: {row}") };
        let name = name.trim_matches('`');
        for unit_of_name in ["seconds", "bytes"] {
            let base = name.trim_end_matches("_total");
            assert_eq!(base.ends_with(unit_of_name), unit == unit_of_name, "unit of {name}");
        }
        assert!(!words.is_empty(), "{name} is not explained");
        let labels =
            labels.split(',').map(|label| label.trim().to_owned()).filter(|l| !l.is_empty()).collect();
        let before = table.insert(name.to_owned(), (kind.to_owned(), labels));
        assert!(before.is_none(), "{name} stands twice");
    }
    table
}

/// Adds what one node exports.
fn exported(text: &str, table: &mut Table) {
    let mut kind = "";
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            kind = declared.split_once(' ').unwrap().1;
        } else if !line.starts_with('#') {
            let (sample, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let name = match kind {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap()
                }
                _ => name,
            };
            let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label);
            let entry = table.entry(name.to_owned()).or_insert((kind.to_owned(), BTreeSet::new()));
            entry.1.extend(labels.filter(|label| *label != "le").map(str::to_owned));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_export_is_what_the_page_says() {
    let queues = Queues::start(&[]).await;
    let cluster = &queues.cluster;
    queues.create(0, &json!({ "command": "A", "payload": 1 })).await;
    let written = Wire::new().put(&cluster.endpoints()[0], "metrics", "v".into()).await;
    assert!(matches!(written, Answer::Done { .. }), "{written:?}");
    let mut table = Table::new();
    for node in &cluster.nodes {
        exported(&node.metrics().await.unwrap(), &mut table);
    }
    for (name, row) in &table {
        assert_eq!(documented().get(name), Some(row), "docs/metrics.md on {name}");
    }
    let exported: BTreeSet<_> = table.into_keys().collect();
    let gone: Vec<_> = documented().into_keys().filter(|name| !exported.contains(name)).collect();
    assert!(gone.is_empty(), "docs/metrics.md names what no node exports: {gone:?}");
}
