//! What the bus remembers: the stream of all ticks, who makes it, and what gateways make of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use async_nats::jetstream::stream::{Info, StorageType};
use serde_json::{Value, json};
use sim_e2e::{Client, Setup, Spine, eventually, fetch, tick_numbers};

/// What the server says of the stream.
async fn stream(spine: &Spine) -> Result<Info, String> {
    let bus = async_nats::connect(spine.nats.url()).await.map_err(|error| error.to_string())?;
    let stream = async_nats::jetstream::new(bus).get_stream("TICKS").await;
    Ok(stream.map_err(|error| error.to_string())?.cached_info().clone())
}

/// Waits until the stream is there and like this.
async fn stream_with(spine: &Spine, what: &str, is: impl Fn(&Info) -> bool) -> Info {
    eventually(&format!("a stream with {what}"), async || {
        let info = stream(spine).await?;
        if is(&info) { Ok(info) } else { Err(format!("{info:?}")) }
    })
    .await
}

/// Goes on from a position, or from the last known tick: whether it could, and the tick that comes first.
async fn resume(client: &mut Client, position: (u64, u64)) -> (bool, Value) {
    let position = json!({"EURUSD": {"epoch": position.0.to_string(), "seq": position.1}});
    client.send(json!({"type": "subscribe", "symbols": ["EURUSD"], "resume": position})).await;
    let answer = client.expect("an answer", |message| message["type"] == "subscribeResponse").await;
    let recovered = answer["results"][0]["recovered"].as_bool().unwrap_or_else(|| panic!("{answer}"));
    (recovered, client.expect("a tick", |message| message["type"] == "tick").await)
}

async fn metric(spine: &Spine, name: &str) -> String {
    let (_, text) = fetch(spine.gateways[0].admin, "GET", "/metrics").await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("none").trim().to_owned()
}

#[tokio::test]
async fn a_client_goes_on_at_a_gateway_that_was_killed_and_started_again() {
    let mut spine = Spine::start(Setup::default()).await;
    stream_with(&spine, "the default bounds", |info| {
        let config = &info.config;
        (config.storage, config.max_messages_per_subject, config.max_bytes)
            == (StorageType::Memory, 256, 64 * 1024 * 1024)
            && config.max_age.as_secs() == 24 * 3_600
            && config.no_ack
    })
    .await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    let last = tick_numbers(&client.tick("EURUSD").await);
    spine.gateways[0].process.kill_9();
    client.closed().await;
    spine.restart_gateway(0).await;

    let mut again = spine.client().await;
    let (recovered, tick) = resume(&mut again, last).await;
    assert!(recovered, "{}", again.transcript());
    assert_eq!(tick_numbers(&tick), (last.0, last.1 + 1));
    assert_eq!(tick.get("snapshot"), None);
    again.tick("EURUSD").await;
    assert_eq!(metric(&spine, "tickcast_history_reads_total{result=\"read\"}").await, "1");
}

#[tokio::test]
async fn a_new_incarnation_is_told_apart_from_the_old_one_by_a_gateway_that_knew_neither() {
    let mut spine = Spine::start(Setup::default()).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    let last = tick_numbers(&client.tick("EURUSD").await);
    spine.ingest.process.kill_9();
    spine.gateways[0].process.kill_9();
    client.closed().await;
    spine.restart_ingest().await;
    spine.ingest.leads().await;
    spine.restart_gateway(0).await;
    let mut again = spine.client().await;
    let (recovered, tick) = resume(&mut again, last).await;
    assert!(!recovered, "{}", again.transcript());
    assert!(tick_numbers(&tick).0 > last.0 && tick["snapshot"] == true, "{tick}");
}

#[tokio::test]
async fn a_bus_that_lost_its_memory_remembers_again_by_itself() {
    let mut spine = Spine::start(Setup::default()).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    let before = stream_with(&spine, "ticks", |info| info.state.messages > 0).await;
    spine.nats.kill_9();
    client.status("disconnected").await;
    spine.nats.start_again();
    let after = stream_with(&spine, "ticks of another life", |info| {
        info.created > before.created && info.state.messages > 0
    })
    .await;
    assert_eq!(after.config, before.config);
    client.tick("EURUSD").await;
}

#[tokio::test]
async fn several_ingests_keep_one_history_and_the_newest_settings_count() {
    let spine = Spine::start(Setup { ingest: &[("HISTORY_TICKS", "32")], ..Setup::default() }).await;
    stream_with(&spine, "32 ticks", |info| info.config.max_messages_per_subject == 32).await;
    let _same = spine.standby().await;
    let off = spine.standby_with(&[("HISTORY", "off")]).await;
    let larger = &[("HISTORY_TICKS", "64"), ("HISTORY_MAX_AGE_MS", "60000"), ("HISTORY", "file")];
    let other = spine.standby_with(larger).await;
    let info =
        stream_with(&spine, "64 ticks of a minute", |info| info.config.max_messages_per_subject == 64).await;
    assert_eq!((info.config.max_age.as_secs(), info.config.storage), (60, StorageType::Memory));
    eventually("the second to say that it lies elsewhere", async || {
        let log = other.process.log_text();
        if log.contains("history lies elsewhere") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(!off.process.log_text().contains("history"));
}

#[tokio::test]
async fn without_history_everything_else_works_and_a_server_without_room_says_so() {
    for (setting, words) in
        [(("HISTORY", "off"), None), (("HISTORY_MAX_BYTES", "1000000000000"), Some("history is not kept"))]
    {
        let settings: &[_] = Box::leak(Box::new([setting]));
        let spine = Spine::start(Setup { ingest: settings, ..Setup::default() }).await;
        let mut client = spine.client().await;
        let (recovered, tick) = resume(&mut client, (1, 1)).await;
        assert!(!recovered && tick["snapshot"] == true);
        client.tick("EURUSD").await;
        assert!(stream(&spine).await.is_err());
        let log = spine.ingest.process.log_text();
        assert_eq!(log.contains("history is not kept"), words.is_some(), "{log}");
        assert_eq!(metric(&spine, "tickcast_history_reads_total{result=\"absent\"}").await, "1");
    }
}
