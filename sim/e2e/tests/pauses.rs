//! What an ingest does that stood still: the system on real sockets, with the process stopped by a signal.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::Value;
use sim_e2e::{Setup, Signal, Spine, Venue, eventually, for_each_venue};

for_each_venue! {
    a_paused_ingest_trusts_no_old_socket_and_sells_no_old_quote_as_new,
}

/// Longer than any pause that goes unnoticed, in seconds' worth of quotes.
const PAUSE_S: u64 = 8;
/// Quotes older than this on arrival were lying in the old socket.
const AGE_MAX_MS: i64 = 3_000;

async fn a_paused_ingest_trusts_no_old_socket_and_sells_no_old_quote_as_new(venue: Venue) {
    let mut spine = Spine::start(Setup {
        // Nothing but the pause can be what ends the connection.
        ingest: &[("SILENCE_TIMEOUT_MS", "60000"), ("STALE_AFTER_MS", "60000")],
        ..Setup::of(venue)
    })
    .await;
    let mut client = spine.client().await;
    let symbols = venue.symbols();
    client.subscribe(&symbols).await;
    for symbol in symbols {
        client.tick(symbol).await;
    }

    spine.ingest.process.signal(Signal::STOP);
    // Until so many quotes of both symbols lie in the old socket.
    let quotes = async || {
        let venue = spine.sim.status().await["venue"].take();
        let sent = venue["spot_events_sent"].as_u64().or(venue["quotes_sent"].as_u64());
        (sent.unwrap(), venue["ticks_per_s"].as_u64().unwrap())
    };
    let (before, per_s) = quotes().await;
    eventually("the pause to be long enough", async || {
        let missed = quotes().await.0 - before;
        if missed >= 2 * per_s * PAUSE_S { Ok(()) } else { Err(format!("{missed} quotes")) }
    })
    .await;
    let mark = client.mark();
    spine.ingest.process.signal(Signal::CONT);

    eventually("a second connection and no first one", async || -> Result<(), String> {
        let (opened, open) = (spine.sim.opened().await, spine.sim.connections().await.len());
        if (opened, open) == (2, 1) { Ok(()) } else { Err(format!("{opened} opened, {open} open")) }
    })
    .await;
    spine.sim.holds(&symbols).await;
    client.status("connected").await;
    for symbol in symbols {
        client.tick(symbol).await;
    }
    let old = |message: &Value| {
        let stamp = |name: &str| message[name].as_i64().unwrap_or_default();
        message["type"] == "tick"
            && message["snapshot"] != true
            && stamp("receivedAt") - stamp("timestamp") > AGE_MAX_MS
    };
    let sold: Vec<Value> = client.seen_since(mark).into_iter().filter(old).collect();
    assert!(sold.is_empty(), "{sold:?}");
    client.assert_unbroken();
}
