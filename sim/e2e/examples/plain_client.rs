//! A client with `tokio-tungstenite` and nothing else, as `docs/clients.md` shows it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "the shortest client there is")]

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Map, Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

async fn follow(url: &str, resume: &mut Map<String, Value>) -> Result<(), Error> {
    let (mut socket, _) = connect_async(url).await?;
    let subscribe = json!({"type": "subscribe", "symbols": ["EURUSD", "GBPUSD"], "resume": resume});
    socket.send(Message::text(subscribe.to_string())).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "tick" {
            let position = json!({"epoch": message["epoch"], "seq": message["seq"]});
            resume.insert(message["symbol"].as_str().unwrap().to_owned(), position);
        }
        println!("{text}");
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    let url = format!("ws://{}/ws", std::env::var("TICKCAST").unwrap());
    let mut resume = Map::new();
    loop {
        let _ = follow(&url, &mut resume).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
