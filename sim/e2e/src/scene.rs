//! What many tests begin and end with: a client that gets prices, and prices that go on after a fault.

use serde_json::Value;

use crate::client::{Client, tick_numbers};
use crate::spine::{Setup, Spine};

impl Spine {
    /// A system with a client that gets ticks of both [`symbols`](crate::Venue::symbols) of the first venue, and the last
    /// tick of the first symbol.
    pub async fn ticking(setup: Setup) -> (Self, Client, Value) {
        let spine = Self::start(setup).await;
        let mut client = spine.client().await;
        let [first, second] = spine.venue().symbols();
        client.subscribe(&[first, second]).await;
        client.tick(second).await;
        let before = client.tick(first).await;
        (spine, client, before)
    }

    /// Waits for ticks of both symbols, that of the first with a number above `before` in the same epoch, and for the venue to
    /// have one connection with exactly these symbols. Nothing went missing unannounced.
    pub async fn goes_on(&self, client: &mut Client, before: &Value) {
        let symbols = self.venue().symbols();
        client.tick(symbols[1]).await;
        let tick = client.tick(symbols[0]).await;
        assert_eq!(tick_numbers(&tick).0, tick_numbers(before).0, "the ingest is the same");
        assert!(tick_numbers(&tick).1 > tick_numbers(before).1, "{tick} after {before}");
        client.assert_unbroken();
        self.sim.holds(&symbols).await;
    }
}

impl Client {
    /// Waits for a status with this cause.
    pub async fn cause(&mut self, code: &str) -> Value {
        self.expect(&format!("a status with the cause {code}"), |message| {
            message["type"] == "status" && cause_code(message) == code
        })
        .await
    }

    /// Waits until all three axes of a venue are well.
    pub async fn well(&mut self) -> Value {
        self.expect("the venue to be well on all axes", |message| axes(message) == ["up", "ok", "live"]).await
    }

    /// Waits until a symbol is said to be in a state.
    pub async fn symbol_state(&mut self, symbol: &str, state: &str) -> Value {
        self.expect(&format!("{symbol} to be {state}"), |message| {
            message["type"] == "symbolState" && message["symbol"] == symbol && message["state"] == state
        })
        .await
    }
}

/// The code of the cause in a status; nothing where it has none.
pub fn cause_code(status: &Value) -> &str {
    status["health"]["causeCode"].as_str().unwrap_or_default()
}

/// Link, auth and data of a status.
pub fn axes(status: &Value) -> [&Value; 3] {
    ["link", "auth", "data"].map(|axis| &status["health"][axis])
}
