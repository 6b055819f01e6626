//! Prints the ticks of some symbols: `cargo run -p tickcast-bus --example ticks -- EURUSD GBPUSD`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::HashMap;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use async_nats::{Client, Event};
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use tickcast_bus::{BusSettings, Lease};
use tickcast_model::{Body, ChannelEvent, Position, Symbol, VenueId};

const TTL: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let venue = VenueId::new("ctrader").ok_or("not a venue")?;
    let symbols: Vec<Symbol> = std::env::args().skip(1).filter_map(|text| Symbol::new(&text)).collect();
    let url = std::env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".into());

    let (connected, mut reconnects) = tokio::sync::mpsc::channel(1);
    let settings = BusSettings { url, ..BusSettings::default() };
    let bus = tickcast_bus::connect(&settings, "example", 1024, move |event| {
        if matches!(event, Event::Connected) {
            let _ = connected.try_send(());
        }
    })
    .await?;

    // Subscribe first, then ask: what the lease brings is not missed.
    let mut events = SelectAll::new();
    for symbol in &symbols {
        events.push(bus.subscribe(tickcast_bus::tick_subject(&venue, symbol)).await?);
    }
    let mut asked = bus.subscribe(tickcast_bus::demand_subject(&venue)).await?;

    let mut lease = Lease {
        holder: format!("example-{:08x}", fastrand::u32(..)), // new in each run
        generation: 1,                                        // grows with each change of `symbols`
        ttl_ms: u64::try_from(TTL.as_millis())?,
        symbols,
        repeat_last: false,
    };
    let mut renew = tokio::time::interval(TTL / 3);
    let mut last = HashMap::new();
    // One future for the whole loop: a new one in each round would not know of a signal that came between two rounds.
    let mut stop = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            Some(message) = events.next() => {
                print(&tickcast_bus::decode_channel_event(&message.payload)?, &mut last);
                continue;
            }
            _ = renew.tick() => {}
            _ = asked.next() => {} // an ingest has started and knows of no lease
            _ = reconnects.recv() => lease.repeat_last = true, // events were missed
            _ = &mut stop => break,
        }
        say(&bus, &venue, &lease).await?;
        lease.repeat_last = false;
    }

    lease.ttl_ms = 0; // demand ends now, not with the TTL
    say(&bus, &venue, &lease).await?;
    #[expect(clippy::disallowed_methods, reason = "the process ends here")]
    bus.flush().await?;
    Ok(())
}

async fn say(bus: &Client, venue: &VenueId, lease: &Lease) -> Result<(), Box<dyn Error>> {
    Ok(bus.publish(tickcast_bus::lease_subject(venue), tickcast_bus::encode_lease(lease).into()).await?)
}

fn print(event: &ChannelEvent, last: &mut HashMap<Symbol, Position>) {
    let ChannelEvent { symbol, position, body } = event;
    let Body::Tick(tick) = body else {
        println!("{symbol} {body:?}");
        return;
    };
    let before = last.get(symbol).copied().unwrap_or_default();
    if *position <= before {
        return; // a repeat
    }
    last.insert(symbol.clone(), *position);
    if position.epoch == before.epoch && position.seq > before.seq + 1 {
        println!("{symbol} missed {}", position.seq - before.seq - 1);
    }
    let shown = |price: Option<tickcast_model::Price>| {
        price.map_or_else(|| "-".into(), |price| price.with_digits(tick.digits).to_string())
    };
    println!("{symbol} bid {} ask {} seq {}", shown(tick.bid), shown(tick.ask), position.seq);
}
