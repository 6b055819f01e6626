//! Uses tvdata-rs against the simulator as a client program would: history over chart sessions, plain `ws`.
//!
//! usage: tradingview-peers HOST PORT
//!
//! Prints one line, and exits 1 where something was not as it must be. The crate counts frames in bytes, so only what is
//! ASCII is asked for; it obeys the declared lengths, which most clients do not. Its single histories pass over `symbol_error` until they time out,
//! so no unknown symbol is asked for.

use std::process::ExitCode;

use tvdata_rs::{Endpoints, HistoryRequest, Interval, TradingViewClient};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match live().await {
        Ok(count) => {
            println!("ok, {count} bars");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn live() -> Result<usize, String> {
    let mut arguments = std::env::args().skip(1);
    let (Some(host), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("no HOST and PORT".to_owned());
    };
    let said = |problem: tvdata_rs::Error| problem.to_string();
    let url = format!("ws://{host}:{port}/socket.io/websocket");
    let endpoints = Endpoints::default().with_websocket_url(url).map_err(said)?;
    let client = TradingViewClient::builder().endpoints(endpoints).build().map_err(said)?;

    let mut count = 0;
    for (symbol, interval, seconds, wanted) in [
        ("OANDA:EURUSD", Interval::Min1, 60, 300),
        ("NASDAQ:AAPL", Interval::Day1, 86_400, 100),
        ("BINANCE:BTCUSDT", Interval::Hour1, 3_600, 2_000),
    ] {
        let series = client.history(&HistoryRequest::new(symbol, interval, wanted)).await.map_err(said)?;
        let bars = &series.bars;
        count += bars.len();
        if bars.len() != wanted as usize {
            return Err(format!("{symbol}: {} bars, not {wanted}", bars.len()));
        }
        for pair in bars.windows(2) {
            if (pair[1].time - pair[0].time).whole_seconds() != seconds || pair[0].close != pair[1].open {
                return Err(format!("{symbol}: these do not follow each other: {pair:?}"));
            }
        }
        let sound = |bar: &tvdata_rs::Bar| {
            bar.low <= bar.open.min(bar.close) && bar.high >= bar.open.max(bar.close) && bar.volume.is_some()
        };
        if !bars.iter().all(sound) {
            return Err(format!("{symbol}: a bar is not sound"));
        }
    }
    Ok(count)
}
