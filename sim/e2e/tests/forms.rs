//! The same ticks in another form.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::collections::HashMap;

use serde_json::{Value, json};
use sim_e2e::{Client, Setup, Spine, eventually, tick_numbers};

/// What a tick says, by its symbol and place; how a client came to it does not count.
fn ticks(client: &Client) -> HashMap<(String, (u64, u64)), Value> {
    let ticks = client.seen_since(0).into_iter().filter(|message| message["type"] == "tick");
    ticks
        .map(|mut tick| {
            let (symbol, numbers) = (tick["symbol"].as_str().unwrap().to_owned(), tick_numbers(&tick));
            let fields = tick.as_object_mut().unwrap();
            fields.remove("snapshot");
            // A price without decimals is a whole number in text.
            fields.values_mut().for_each(|value| *value = value.as_f64().map_or(value.take(), Value::from));
            ((symbol, numbers), tick)
        })
        .collect()
}

#[tokio::test]
async fn binary_ticks_say_the_same_as_json_and_none_is_missing() {
    let spine = Spine::start(Setup { sim: &[("SIM_TICKS_PER_S", "100")], ..Setup::default() }).await;
    let addr = spine.gateways[0].addr;
    let (mut text, mut binary) = (Client::connect(addr).await, Client::connect_binary(addr).await);
    text.send(json!({"type": "connect"})).await;
    let status = text.status("connected").await;
    let symbols = status["availableSymbols"].as_array().unwrap();
    let symbols: Vec<&str> = symbols.iter().map(|symbol| symbol.as_str().unwrap()).collect();
    text.subscribe(&symbols).await;
    let answer = binary.subscribe(&symbols).await;
    assert_eq!(answer["results"].as_array().unwrap().len(), symbols.len());
    // Left and taken up again: the channel's number may mean another symbol in between.
    for _ in 0..3 {
        let mark = binary.mark();
        binary.send(json!({"type": "unsubscribe", "symbols": ["EURUSD", "GBPUSD"]})).await;
        binary.expect("the answer", |message| message["type"] == "unsubscribeResponse").await;
        binary.subscribe(&["GBPUSD", "EURUSD"]).await;
        for symbol in ["EURUSD", "GBPUSD"] {
            binary.back_to(mark);
            binary
                .expect("its snapshot", |message| message["symbol"] == symbol && message["snapshot"] == true)
                .await;
        }
    }
    eventually("both to have thousands of ticks", async || {
        let got = text.findings().ticks.min(binary.findings().ticks);
        if got >= 5_000 { Ok(()) } else { Err(got) }
    })
    .await;
    let (in_text, in_binary) = (ticks(&text), ticks(&binary));
    let both: Vec<_> =
        in_binary.iter().filter_map(|(place, tick)| Some((tick, in_text.get(place)?))).collect();
    assert!(both.len() > 4_000, "{} of {}", both.len(), in_binary.len());
    for (binary, text) in both {
        assert_eq!(binary, text);
    }
    text.assert_unbroken();
    binary.assert_unbroken();
    assert!(!binary.transcript().contains("not the binary form"));
}
