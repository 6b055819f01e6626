//! What a TradingView data socket could say, and a stranger in its place.

mod forge;
mod session;
mod stream;

use ingest_tradingview::{Limits, SessionSettings, TradingViewSession};

pub(crate) use session::session;
pub(crate) use stream::stream;

/// Messages to the venue in a second.
const MESSAGES_PER_S: usize = 10;

fn new_session(token: Option<&str>) -> TradingViewSession {
    let limits = Limits { messages_per_s: MESSAGES_PER_S, symbols_per_session: 3, symbols_max: 8 };
    let url = "ws://127.0.0.1:9/socket.io/websocket?type=chart";
    let token = token.map(|token| token.to_owned().into());
    let settings = SessionSettings::new(url, "https://www.example.com", token, limits).unwrap();
    TradingViewSession::with_seed(settings, 7)
}
