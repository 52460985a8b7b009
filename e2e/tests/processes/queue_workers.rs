//! Workers of the queue, `schedia queue work`: programs that succeed, fail and are killed, leases that are lost, nodes that go away.

use super::PATIENCE;
use super::queue_command_line::Queue;
use rustix::process::Signal;
use schedia_e2e::wait::eventually;
use std::time::Duration;

/// Whether a process runs.
fn runs(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_a_program_per_task_and_its_exit_status_decides() {
    let queue = Queue::on(1).await;
    let script = r#"
        payload=$(cat)
        case $payload in
            '"json"') echo "{\"task\":\"$SCHEDIA_TASK_ID\",\"try\":$SCHEDIA_TASK_ATTEMPT,\"token\":\"${SCHEDIA_TOKEN-none}\"}" ;;
            '"long"') sleep 5; echo slow ;;
            '"bad"') echo first >&2; echo 'no such address' >&2; exit 65 ;;
            '"fails"') echo "try $SCHEDIA_TASK_ATTEMPT of $SCHEDIA_TASK_COMMAND" >&2; exit 1 ;;
        esac"#;
    let mut worker = queue
        .worker(&["--command", "MAIL", "--command", "OTHER", "--parallel", "3", "--lease", "3s"], script);
    let long = queue.create("MAIL", r#""long""#, &[]).await;
    let json = queue.create("MAIL", r#""json""#, &[]).await;
    let bad = queue.create("other", r#""bad""#, &[]).await;
    let fails = queue.create("MAIL", r#""fails""#, &["--max-attempts", "1"]).await;
    let done = queue.until(&json, "completed").await;
    assert_eq!(done["result"], serde_json::json!({ "task": json, "try": 1, "token": "none" }));
    let failed = queue.until(&bad, "failed").await;
    assert_eq!((failed["error"].as_str(), failed["attempts"].as_u64()), (Some("no such address"), Some(1)));
    assert_eq!(queue.until(&fails, "dead").await["error"], "try 1 of MAIL");
    // Longer than its lease: it was extended.
    let slow = queue.until(&long, "completed").await;
    assert_eq!((&slow["result"]["stdout"], slow["attempts"].as_u64()), (&"slow\n".into(), Some(1)));
    for line in [
        format!("completed {json} MAIL 1"),
        format!("failed {bad} other 1"),
        format!("retried {fails} MAIL 1"),
    ] {
        worker.until_out(&line).await;
    }
    assert!(worker.err().contains("try 1 of MAIL\n"), "what programs say to people is passed on");
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_lease_is_lost_is_killed() {
    let queue = Queue::on(1).await;
    let id = queue.create("LOST", "1", &[]).await;
    let script = r#"echo $$ > "$DIR/pid"; sleep 600"#;
    let mut worker = queue.worker(&["--command", "LOST", "--lease", "3s"], script);
    queue.until(&id, "in-progress").await;
    let file = queue.dir.path().join("pid");
    let program = eventually("the program runs", PATIENCE, || async {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.strip_suffix('\n').map(str::to_owned).ok_or_else(|| "it has not begun".to_owned())
    })
    .await;
    worker.signal(Signal::STOP);
    // Nobody extends it: it ends, and the task waits for its next try.
    queue.until(&id, "delayed").await;
    assert!(runs(&program), "whoever is stopped kills nobody");
    worker.signal(Signal::CONT);
    worker.until_out(&format!("lost {id} LOST 1")).await;
    assert!(!runs(&program), "{program} runs on");
    assert!(
        worker.err().contains(&format!("task {id} is not this worker's any more, its program is killed: "))
    );
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_takes_no_more_and_waits_or_gives_back() {
    let queue = Queue::on(1).await;
    let waits = queue.create("ENDS", "1", &[]).await;
    let mut worker = queue.worker(
        &["--command", "ENDS"],
        r#"touch "$DIR/begun"; while [ ! -e "$DIR/go" ]; do sleep 0.1; done"#,
    );
    queue.until(&waits, "in-progress").await;
    worker.signal(Signal::TERM);
    let next = queue.create("ENDS", "2", &[]).await;
    std::fs::write(queue.dir.path().join("go"), "").unwrap();
    assert!(worker.ended().await.success());
    assert_eq!(worker.out(), format!("completed {waits} ENDS 1\n"));
    assert_eq!(queue.task(&next).await["state"], "ready", "it took no more");

    let mut worker = queue.worker(&["--command", "ENDS", "--grace", "1s"], "sleep 600");
    queue.until(&next, "in-progress").await;
    worker.signal(Signal::INT);
    assert!(worker.ended().await.success());
    assert_eq!(worker.out(), format!("abandoned {next} ENDS 1\n"));
    let task = queue.task(&next).await;
    assert_eq!((&task["state"], &task["attempts"]), (&"ready".into(), &0.into()), "no try is counted");

    // The second signal does not wait.
    let mut worker = queue.worker(&["--command", "ENDS", "--grace", "10m"], "sleep 600");
    queue.until(&next, "in-progress").await;
    worker.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success());
    assert_eq!(worker.out(), format!("abandoned {next} ENDS 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_on_with_the_next_node_and_says_so_once() {
    let mut queue = Queue::on(3).await;
    let worker = queue.worker(&["--command", "ON", "--wait", "1s"], "echo done");
    let first = queue.create("ON", "1", &[]).await;
    worker.until_out(&format!("completed {first} ON 1")).await;
    queue.cluster.nodes[0].kill();
    for payload in ["2", "3"] {
        let id = eventually("a task is created", PATIENCE, || async {
            let said = queue.say_with("producer", &["create", "ON", payload], b"").await;
            if said.exit == 0 { Ok(said.out) } else { Err(said.err) }
        });
        worker.until_out(&format!("completed {} ON 1", id.await.trim_end())).await;
    }
    let err = worker.err();
    assert!(err.contains("schedia: going on with http://"), "{err}");
    assert!(err.matches("trying again").count() <= 1, "{err}");
}
