//! Two venues at once: whatever is wrong with one, the other's status, symbol states and ticks do not know of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::{Value, json};
use sim_e2e::{
    Client, Feed, Setup, Spine, Variables, Venue, axes, cause_code, eventually, fetch_json, for_each_venue,
    tick_numbers,
};

// Each test is of trouble in this venue; the other one stands beside it.
for_each_venue! {
    a_cut_is_told_of_the_one_that_is_cut,
    a_half_open_link_is_told_of_the_one_that_is_silent,
    a_mute_venue_is_stale_alone,
    a_venue_that_refuses_connections_reconnects_alone,
    refused_credentials_are_told_of_the_one_that_is_refused,
    a_killed_ingest_is_gone_alone,
    a_venue_that_floods_with_garbage_disturbs_only_itself,
    a_venue_that_writes_slowly_is_late_alone,
}

/// A client that gets ticks of two symbols of each venue. Trouble comes to the first; what the client is told of the other
/// since then is looked at in the end.
struct Scene {
    spine: Spine,
    client: Client,
    venue: Venue,
    other: Venue,
    mark: usize,
}

impl Scene {
    /// `ingest`: settings of the ingest of the venue that will be in trouble.
    async fn start(venue: Venue, ingest: Variables) -> Self {
        let (other, venues): (_, &'static [Venue]) = match venue {
            Venue::CTrader => (Venue::TradingView, &[Venue::CTrader, Venue::TradingView]),
            Venue::TradingView => (Venue::CTrader, &[Venue::TradingView, Venue::CTrader]),
        };
        let spine = Spine::start(Setup { venues, ingest, ..Setup::default() }).await;
        let mut client = spine.client().await;
        for of in [venue, other] {
            let answer = client.subscribe_at(of.name(), &of.symbols()).await;
            assert_eq!(answer["results"][0]["source"], of.name(), "{answer}");
            // All that is told of a beginning is told before the trouble begins.
            for symbol in of.symbols() {
                client.back_to(0);
                client.symbol_state(symbol, "live").await;
                client.tick(symbol).await;
            }
            client.back_to(0);
            client.expect("both to be well", |message| is_status(message, of) && is_well(message)).await;
        }
        // From here on the waits are for what is new.
        for symbol in other.symbols() {
            let last = client.seen_since(0).into_iter().rfind(|message| is_tick(message, symbol)).unwrap();
            client
                .expect("a tick after all that", |message| {
                    is_tick(message, symbol) && tick_numbers(message) > tick_numbers(&last)
                })
                .await;
        }
        let mark = client.mark();
        Self { spine, client, venue, other, mark }
    }

    /// Waits for a status of the venue in trouble.
    async fn told(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let venue = self.venue;
        self.client.expect(what, |message| is_status(message, venue) && wanted(message)).await
    }

    /// Waits until the last status of the venue in trouble is such a one; it may have come already.
    async fn is_now(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        eventually(what, async || {
            let told = self.client.seen_since(self.mark);
            let last = told.iter().rfind(|message| is_status(message, self.venue));
            last.filter(|status| wanted(status)).map(drop).ok_or_else(|| format!("{last:?}"))
        })
        .await;
    }

    /// Waits for ticks of the other venue that come after what was last waited for.
    async fn other_ticks(&mut self) {
        for _ in 0..5 {
            for symbol in self.other.symbols() {
                self.client.tick(symbol).await;
            }
        }
    }

    /// Ends all trouble, waits until its venue is well and ticks, and looks at what was told of the other meanwhile.
    async fn ends_well(mut self) {
        self.other_ticks().await;
        self.spine.sim.heal_all().await;
        self.is_now("the venue to be well again", is_well).await;
        for symbol in self.venue.symbols() {
            let name = self.venue.name();
            self.client
                .expect(&format!("{symbol} to tick again"), |message| {
                    is_tick(message, symbol) && message["source"] == name && message.get("snapshot").is_none()
                })
                .await;
        }
        self.spine.sim.holds(&self.venue.symbols()).await;
        self.other_ticks().await;
        self.other_was_left_alone().await;
    }

    /// Nothing was told of the other venue but ticks, each numbered one above the one before.
    async fn other_was_left_alone(&self) {
        let told = self.client.seen_since(self.mark);
        let of_other: Vec<_> = told.iter().filter(|message| message["source"] == self.other.name()).collect();
        let strange: Vec<_> = of_other.iter().filter(|message| message["type"] != "tick").collect();
        assert!(strange.is_empty(), "told of the other venue: {strange:?}");
        for symbol in self.other.symbols() {
            let numbers: Vec<_> = of_other
                .iter()
                .filter(|message| is_tick(message, symbol))
                .map(|tick| tick_numbers(tick))
                .collect();
            assert!(numbers.len() >= 10, "{symbol}: {numbers:?}");
            for (before, next) in numbers.iter().zip(&numbers[1..]) {
                assert_eq!(*next, (before.0, before.1 + 1), "{symbol}");
            }
        }
        let Feed { sim, ingest } = self.spine.other.as_ref().unwrap();
        assert_eq!(sim.opened().await, 1, "the other venue was dialled again");
        assert_eq!(ingest.role().await.unwrap()["role"], "leading");
        // What the gateway tells by HTTP is the same.
        let status = fetch_json(self.spine.gateways[0].addr, "/api/v1/status").await.unwrap();
        let venues = status["data"]["venues"].as_array().unwrap();
        let other = venues.iter().find(|venue| venue["source"] == self.other.name());
        assert!(other.is_some_and(is_well), "{status}");
    }
}

fn is_status(message: &Value, venue: Venue) -> bool {
    message["type"] == "status" && message["source"] == venue.name()
}

fn is_well(status: &Value) -> bool {
    axes(status) == ["up", "ok", "live"]
}

fn is_tick(message: &Value, symbol: &str) -> bool {
    message["type"] == "tick" && message["symbol"] == symbol
}

async fn a_cut_is_told_of_the_one_that_is_cut(venue: Venue) {
    let mut scene = Scene::start(venue, &[("BACKOFF_MIN_MS", "1000"), ("BACKOFF_MAX_MS", "1500")]).await;
    for _ in 0..3 {
        scene.spine.sim.fault("cut").await;
        scene.told("the cut", |status| status["status"] == "reconnecting").await;
        scene.other_ticks().await;
        scene.is_now("the link to be made again", |status| status["health"]["link"] == "up").await;
    }
    scene.ends_well().await;
}

async fn a_half_open_link_is_told_of_the_one_that_is_silent(venue: Venue) {
    let mut scene = Scene::start(
        venue,
        &[("STALE_AFTER_MS", "1000"), ("SILENCE_TIMEOUT_MS", "2000"), ("CONNECT_TIMEOUT_MS", "1000")],
    )
    .await;
    scene.spine.sim.fault("stall").await;
    scene.told("the silence", |status| cause_code(status) == "silence").await;
    scene.other_ticks().await;
    scene.told("a dial in vain", |status| cause_code(status) == "connect_timeout").await;
    scene.ends_well().await;
}

async fn a_mute_venue_is_stale_alone(venue: Venue) {
    let mut scene = Scene::start(venue, &[("STALE_AFTER_MS", "1000")]).await;
    scene.spine.sim.fault("mute").await;
    scene.told("the staleness", |status| status["status"] == "stale").await;
    scene.ends_well().await;
}

async fn a_venue_that_refuses_connections_reconnects_alone(venue: Venue) {
    let mut scene = Scene::start(venue, &[]).await;
    scene.spine.sim.fault("refuse").await;
    scene.spine.sim.fault("cut").await;
    let vain =
        |status: &Value| cause_code(status) == "refused" && status["health"]["attempt"].as_u64() >= Some(3);
    scene.told("three attempts in vain", vain).await;
    scene.ends_well().await;
}

async fn refused_credentials_are_told_of_the_one_that_is_refused(venue: Venue) {
    let mut scene = Scene::start(venue, &[("AUTH_RETRY_MS", "1000")]).await;
    scene.spine.ingest.process.allow_error("venue refused the credentials");
    scene.spine.sim.fault("reject-credentials").await;
    scene.spine.sim.fault("cut").await;
    scene.told("the refusal", |status| status["health"]["auth"] == "refused").await;
    scene.ends_well().await;
}

async fn a_killed_ingest_is_gone_alone(venue: Venue) {
    let mut scene = Scene::start(venue, &[]).await;
    scene.spine.ingest.process.kill_9();
    scene.told("the end of its ingest", |status| cause_code(status) == "ingest_gone").await;
    scene.other_ticks().await;
    scene.spine.restart_ingest().await;
    scene.ends_well().await;
}

async fn a_venue_that_floods_with_garbage_disturbs_only_itself(venue: Venue) {
    let flood = match venue {
        Venue::CTrader => [
            ("unknown-field", json!({})),
            ("burst", json!({ "count": 5_000 })),
            ("unknown-payload-type", json!({ "count": 500 })),
            ("garbage-envelope", json!({})),
        ],
        Venue::TradingView => [
            ("garbage-between-frames", json!({})),
            ("burst", json!({ "count": 5_000 })),
            ("unknown-message", json!({ "count": 500 })),
            ("wrong-length", json!({ "which": "too-long" })),
        ],
    };
    let mut scene = Scene::start(venue, &[]).await;
    for _ in 0..5 {
        for (fault, params) in &flood {
            scene.spine.sim.fault_with(fault, params).await;
        }
        scene.other_ticks().await;
    }
    // The flood may have ended a connection or not; one that ends for certain tells when it is over.
    scene.spine.sim.fault("cut").await;
    scene.told("the cut", |status| status["health"]["link"] != "up").await;
    scene.ends_well().await;
}

async fn a_venue_that_writes_slowly_is_late_alone(venue: Venue) {
    let slow = match venue {
        Venue::CTrader => ("trickle", json!({ "bytes_per_s": 20 })),
        Venue::TradingView => ("delayed-answer", json!({ "delay_ms": 3_000 })),
    };
    let mut scene = Scene::start(venue, &[("STALE_AFTER_MS", "1000")]).await;
    scene.spine.sim.fault_with(slow.0, &slow.1).await;
    scene.spine.sim.fault("cut").await;
    scene.told("the cut", |status| status["health"]["link"] != "up").await;
    scene.other_ticks().await;
    scene.ends_well().await;
}
