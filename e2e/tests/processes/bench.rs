//! The benchmark itself, in seconds: what it reports is measured, and nothing of it stays.

use clap::Parser;
use schedia_e2e::bench::{self, options::Options};
use schedia_e2e::kube::Programs;
use schedia_e2e::paths;
use schedia_e2e::process::binary;

/// The peer takes part where it was built before: a usual run builds it for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_benchmark_reports_every_figure_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    let mut words =
        "bench-cluster --only puts,mixed,failover,restart --clients 4 --keys 200 --restart-keys 200 \
                     --seconds 1 --rounds 1 --trials 1"
            .split_whitespace()
            .map(Into::into)
            .collect::<Vec<std::ffi::OsString>>();
    words.extend(["--schedia".into(), binary::schedia().into()]);
    words.extend(["--data-dir".into(), data.clone().into(), "--out".into(), out.clone().into()]);
    let peer = Programs::new(&paths::cache()).peer_built();
    if !peer {
        words.push("--ours-only".into());
    }

    bench::run(Options::try_parse_from(words).unwrap()).await.unwrap();

    let text = std::fs::read_to_string(out.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2, "{text}");
    for cell in cells {
        let phases = [&cell["ours"], &cell["theirs"]].map(|phases| phases.as_array().unwrap());
        assert_eq!(phases.map(Vec::len), [1, usize::from(peer)], "{text}");
        for phase in phases.into_iter().flatten() {
            assert!(phase["void"].is_null(), "{text}");
            for measured in ["ops", "p50_us", "log_syncs", "puts_per_log_sync", "leader_resident_bytes"] {
                assert!(phase[measured].as_f64().unwrap() > 0.0, "{measured}: {text}");
            }
        }
    }
    // The leader killed: both settings of ours and the peer. All killed: each side.
    let outages = report["outages"].as_array().unwrap();
    assert_eq!(outages.len(), if peer { 5 } else { 3 }, "{text}");
    for outage in outages {
        assert!(outage["milliseconds"][0].as_f64().unwrap() > 0.0, "{text}");
    }
    assert!(std::fs::read_to_string(out.join("report.md")).unwrap().contains("## Figures"));
    assert!(std::fs::read_to_string(out.join("report.svg")).unwrap().ends_with("</svg>\n"));
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "a directory was left behind");
}
