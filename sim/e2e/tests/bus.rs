//! The bus as a service of somebody else uses it: demand by lease, ticks, health and the catalogue by request.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use sim_e2e::{DEADLINE, Setup, Spine, eventually};
use tickcast_bus::{
    catalogue_subject, decode_catalogue, decode_channel_event, decode_health, encode_lease, health_subject,
    lease_subject, tick_subject,
};
use tickcast_model::{
    Body, ChannelEvent, DataState, Lease, LinkState, Position, Symbol, VenueHealth, VenueId,
};
use tokio::time::{Instant, timeout};

fn venue() -> VenueId {
    VenueId::new("ctrader").unwrap()
}

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).unwrap()
}

/// A service that wants symbols.
struct Service {
    bus: Client,
    generation: u64,
}

impl Service {
    async fn start(spine: &Spine) -> Self {
        Self { bus: async_nats::connect(spine.nats.url()).await.unwrap(), generation: 0 }
    }

    async fn want(&mut self, symbols: &[&str], ttl_ms: u64, repeat_last: bool) {
        self.generation += 1;
        let lease = Lease {
            holder: "a-service-of-the-test".into(),
            generation: self.generation,
            ttl_ms,
            symbols: symbols.iter().map(|name| symbol(name)).collect(),
            repeat_last,
        };
        self.bus.publish(lease_subject(&venue()), encode_lease(&lease).into()).await.unwrap();
    }

    async fn listen(&self, name: &str) -> Subscriber {
        self.bus.subscribe(tick_subject(&venue(), &symbol(name))).await.unwrap()
    }
}

/// The next tick of a channel: position and whether it is marked as a snapshot.
async fn next_tick(channel: &mut Subscriber) -> (Position, bool) {
    loop {
        let message = timeout(DEADLINE, channel.next()).await.expect("a tick in time").unwrap();
        let ChannelEvent { position, body, .. } = decode_channel_event(&message.payload).unwrap();
        if let Body::Tick(tick) = body {
            return (position, tick.snapshot);
        }
    }
}

async fn next_health(health: &mut Subscriber) -> VenueHealth {
    let message = timeout(DEADLINE, health.next()).await.expect("health in time").unwrap();
    decode_health(&message.payload).unwrap()
}

#[tokio::test]
async fn a_lease_brings_ticks_until_it_ends() {
    let spine = Spine::start(Setup { gateways: 0, ..Setup::default() }).await;
    let mut service = Service::start(&spine).await;
    let mut euro = service.listen("EURUSD").await;
    let mut dax = service.listen("GER40.cash").await;
    let asked = Instant::now();
    service.want(&["EURUSD", "GER40.cash"], 3000, false).await;

    let (first, _) = next_tick(&mut euro).await;
    for seq in first.seq + 1..first.seq + 20 {
        assert_eq!(next_tick(&mut euro).await.0, Position { epoch: first.epoch, seq });
    }
    next_tick(&mut dax).await;
    spine.sim.holds(&["EURUSD", "GER40.cash"]).await;

    // Nobody renews it.
    spine.sim.holds(&[]).await;
    assert!(asked.elapsed() > Duration::from_secs(3), "the lease ended before its time");
}

#[tokio::test]
async fn a_lease_is_the_whole_of_what_is_wanted_and_can_be_withdrawn() {
    let spine = Spine::start(Setup { gateways: 0, ..Setup::default() }).await;
    let mut service = Service::start(&spine).await;
    service.want(&["EURUSD", "GBPUSD"], 600_000, false).await;
    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
    service.want(&["GBPUSD", "USDJPY"], 600_000, false).await;
    spine.sim.holds(&["GBPUSD", "USDJPY"]).await;
    service.want(&[], 0, false).await;
    spine.sim.holds(&[]).await;
}

#[tokio::test]
async fn a_holder_that_may_have_missed_something_is_told_the_last_ticks_again() {
    let spine = Spine::start(Setup { gateways: 0, ..Setup::default() }).await;
    let mut service = Service::start(&spine).await;
    let mut euro = service.listen("EURUSD").await;
    service.want(&["EURUSD"], 600_000, false).await;
    let mut last = next_tick(&mut euro).await;
    // No quote moves any more, so what comes is the last one.
    spine.sim.fault("mute").await;
    service.want(&["EURUSD"], 600_000, true).await;
    loop {
        let next = next_tick(&mut euro).await;
        if next.1 && next.0 == last.0 {
            break;
        }
        assert!(next.0 > last.0, "{next:?} after {last:?}");
        last = next;
    }
}

#[tokio::test]
async fn health_beats_each_second_and_tells_changes_at_once() {
    let spine = Spine::start(Setup { gateways: 0, ..Setup::default() }).await;
    let mut service = Service::start(&spine).await;
    let mut health = service.bus.subscribe(health_subject(&venue())).await.unwrap();
    let first = next_health(&mut health).await;
    assert_eq!((first.link, first.data), (LinkState::Up, DataState::Idle));
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(next_health(&mut health).await.epoch, first.epoch);
    }
    assert!(began.elapsed() > Duration::from_secs(2), "three beats in {:?}", began.elapsed());

    service.want(&["EURUSD"], 600_000, false).await;
    while next_health(&mut health).await.data != DataState::Live {}
    spine.sim.fault("cut").await;
    loop {
        let health = next_health(&mut health).await;
        if health.link != LinkState::Up {
            assert!(health.cause.is_some(), "{health:?}");
            break;
        }
    }
    while next_health(&mut health).await.data != DataState::Live {}
}

#[tokio::test]
async fn the_catalogue_is_given_on_request_with_details_once_they_are_known() {
    let spine = Spine::start(Setup { gateways: 0, ..Setup::default() }).await;
    let mut service = Service::start(&spine).await;
    let ask = async |bus: &Client| {
        let answer = bus.request(catalogue_subject(&venue()), Vec::new().into()).await.unwrap();
        decode_catalogue(&answer.payload).unwrap().1
    };
    let catalogue = ask(&service.bus).await;
    assert!(catalogue.is_known() && !catalogue.open);
    assert_eq!(catalogue.instruments.len(), 50);
    assert!(catalogue.instruments.iter().is_sorted_by_key(|instrument| instrument.symbol.as_str()));

    service.want(&["GER40.cash"], 600_000, false).await;
    eventually("the digits of what is wanted", async || {
        let catalogue = ask(&service.bus).await;
        let wanted = symbol("GER40.cash");
        let instrument = catalogue.instruments.into_iter().find(|instrument| instrument.symbol == wanted);
        match instrument {
            Some(instrument) if (instrument.digits, instrument.pip_position) == (Some(1), Some(0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
