//! Many clients, a slow one among them, and what the pages say of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::Value;
use sim_e2e::{Client, Place, Process, Setup, Spine, binary, eventually, fetch};

#[tokio::test]
async fn the_load_tool_finds_every_promise_kept_for_many_clients_of_many_symbols() {
    let spine = Spine::start(Setup::default()).await;
    let place = Place::new();
    let url = format!("ws://{}/ws", spine.gateways[0].addr);
    let pid = spine.gateways[0].process.pid().to_string();
    let arguments = [
        "--url",
        &url,
        "--pid",
        &pid,
        "--clients",
        "100",
        "--symbol-count",
        "40",
        "--random-per-client",
        "10",
        "--seconds",
        "2",
        "--warmup",
        "1",
        "--json",
        "report.json",
    ];
    let mut loadgen = Process::start(place.path(), "loadgen", &binary("loadgen"), &arguments, &[]);
    let status = loadgen.ended().await;
    assert_eq!(status.code(), Some(0), "{}", loadgen.log_text());
    let report: Value =
        serde_json::from_slice(&std::fs::read(place.path().join("report.json")).unwrap()).unwrap();
    assert_eq!((report["connected"].as_u64(), report["open_at_end"].as_u64()), (Some(100), Some(100)));
    assert_eq!(report["audit"]["snapshots"], 1000, "one for each client and symbol: {report}");
    assert!(report["ticks"].as_u64().unwrap() > 1000, "{report}");
    assert!(report["server"]["rss_after_bytes"].as_u64().unwrap() > 1_000_000, "{report}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_what_it_missed_and_slows_nobody_down() {
    let spine = Spine::start(Setup {
        sim: &[("SIM_TICKS_PER_S", "50")],
        gateway: &[("RING_TICKS", "64")],
        ..Setup::default()
    })
    .await;
    let mut watcher = spine.client().await;
    watcher.send(serde_json::json!({"type": "connect"})).await;
    let status = watcher.status("connected").await;
    let symbols: Vec<&str> = status["availableSymbols"]
        .as_array()
        .unwrap()
        .iter()
        .map(|symbol| symbol.as_str().unwrap())
        .collect();
    watcher.subscribe(&symbols).await;

    let mut slow = Client::connect_narrow(spine.gateways[0].addr).await;
    slow.subscribe(&symbols).await;
    slow.tick("EURUSD").await;
    slow.pause(true);
    // More than the rings (64 ticks a symbol) and the sockets' buffers hold.
    let start = watcher.findings().ticks;
    eventually("the watcher to get 10000 ticks meanwhile", async || {
        let got = watcher.findings().ticks - start;
        if got >= 10_000 { Ok(()) } else { Err(got) }
    })
    .await;
    slow.pause(false);

    slow.expect("a gap", |message| message["type"] == "gap").await;
    for symbol in ["EURUSD", "GBPUSD", "EURUSD"] {
        slow.tick(symbol).await;
    }
    slow.assert_unbroken();
    assert_eq!(watcher.findings().gaps, 0, "{:?}", watcher.findings());
    assert!(slow.is_open() && watcher.is_open());
}

#[tokio::test]
async fn every_process_serves_its_health_and_its_metrics() {
    let spine = Spine::start(Setup::default()).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    for (name, admin) in [
        ("sim-ctrader", spine.sim.admin),
        ("ingest-ctrader", spine.ingest.admin),
        ("ws-gateway", spine.gateways[0].admin),
        ("ws-gateway", spine.gateways[0].addr),
    ] {
        assert_eq!(fetch(admin, "GET", "/healthz").await.unwrap().0, 200, "{name}");
        let (status, text) = fetch(admin, "GET", "/metrics").await.unwrap();
        assert_eq!(status, 200, "{name}");
        let samples = || text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        for sample in samples() {
            let is_named_well = ["tickcast_", "process_"].iter().any(|prefix| sample.starts_with(prefix));
            assert!(is_named_well, "{name}: {sample}");
            let value = sample.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{name}: {sample}");
        }
        assert!(samples().any(|sample| sample.contains("build_info")), "{name}: {text}");
        assert!(samples().any(|sample| sample.contains(&format!("\"{name}\""))), "{name}: {text}");
        // Something was counted on the way of the tick.
        let moved = samples()
            .any(|sample| sample.contains("tick") && sample.contains("_total") && !sample.ends_with(" 0"));
        assert!(moved || name == "sim-ctrader", "{name} counted no ticks:\n{text}");
    }
}
