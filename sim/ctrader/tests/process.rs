//! The simulator as a process: TLS, the faults that act on sockets, the admin port and the end.

#![cfg(test)]

use std::io;

use serde_json::{Value, json};
use sim_ctrader::wire::{
    ProtoHeartbeatEvent, ProtoOaAccountAuthReq, ProtoOaAccountAuthRes, ProtoOaApplicationAuthReq,
    ProtoOaApplicationAuthRes, ProtoOaSpotEvent, ProtoOaSubscribeSpotsReq, ProtoOaSubscribeSpotsRes,
};
use sim_ctrader::{FrameDecoder, Payload, put_frame};
use sim_kit::testing::{DEADLINE, NEVER, Process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

const ACCOUNT: i64 = 1_000_001;

struct Simulator(Process);

struct Client {
    stream: TlsStream<TcpStream>,
    decoder: FrameDecoder,
}

impl Simulator {
    async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    async fn start_with(name: &str, more: &[(&str, &str)]) -> Self {
        let mut settings = vec![("SIM_SYMBOLS", "5")];
        settings.extend_from_slice(more);
        Self(Process::start(env!("CARGO_BIN_EXE_sim-ctrader"), name, &settings).await)
    }

    async fn dial(&self) -> io::Result<Client> {
        Ok(Client { stream: self.0.tls().await?, decoder: FrameDecoder::new(1 << 20) })
    }

    /// Status code and body of a request to the admin port.
    async fn admin(&self, method: &str, path: &str) -> (u16, Value) {
        self.send(method, path, "").await
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.0.request(method, path, body).await
    }

    async fn switch(&self, method: &str, fault: &str) {
        assert_eq!(self.admin(method, &format!("/faults/{fault}")).await.0, 200);
    }
}

impl Client {
    async fn ask<P: Payload>(&mut self, request: &P) {
        let mut frame = bytes::BytesMut::new();
        put_frame(&mut frame, request, Some("1"));
        self.stream.write_all(&frame).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn answer<P: Payload + Default>(&mut self) -> P {
        loop {
            if let Some(envelope) = self.decoder.next_envelope().unwrap() {
                assert_eq!(envelope.payload_type, P::TYPE);
                return P::decode(envelope.payload.unwrap()).unwrap();
            }
            let mut buffer = [0; 4_096];
            let count = timeout(DEADLINE, self.stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(count > 0, "the end came before the answer");
            self.decoder.push(&buffer[..count]);
        }
    }

    async fn log_in(&mut self) {
        self.ask(&ProtoOaApplicationAuthReq {
            payload_type: None,
            client_id: "sim-app".into(),
            client_secret: "sim-secret".into(),
        })
        .await;
        self.answer::<ProtoOaApplicationAuthRes>().await;
        self.ask(&ProtoOaAccountAuthReq {
            payload_type: None,
            ctid_trader_account_id: ACCOUNT,
            access_token: "sim-token".into(),
        })
        .await;
        self.answer::<ProtoOaAccountAuthRes>().await;
    }

    async fn subscribe(&mut self, symbol: i64) {
        self.ask(&ProtoOaSubscribeSpotsReq {
            payload_type: None,
            ctid_trader_account_id: ACCOUNT,
            symbol_id: vec![symbol],
            subscribe_to_spot_timestamp: Some(true),
        })
        .await;
        self.answer::<ProtoOaSubscribeSpotsRes>().await;
        self.answer::<ProtoOaSpotEvent>().await;
    }

    /// Reads until the connection ends; what ended it, and the bytes after the last whole frame.
    async fn end(mut self) -> (io::Result<()>, usize) {
        let mut rest = Vec::new();
        let mut buffer = [0; 4_096];
        let ended = loop {
            match timeout(DEADLINE, self.stream.read(&mut buffer)).await.unwrap() {
                Ok(0) => break Ok(()),
                Ok(count) => rest.extend_from_slice(&buffer[..count]),
                Err(error) => break Err(error),
            }
        };
        while let Some(prefix) = rest.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*prefix) as usize;
            if end > rest.len() {
                break;
            }
            rest.drain(..end);
        }
        (ended, rest.len())
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_gets_prices_and_the_status_page_shows_it() {
    let simulator = Simulator::start("status").await;
    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    client.subscribe(1).await;
    for _ in 0..5 {
        let event = client.answer::<ProtoOaSpotEvent>().await;
        let age_ms = unix_ms() - event.timestamp();
        assert!((-1_000..20_000).contains(&age_ms), "stamped with the wall clock: {age_ms}");
    }
    let (code, status) = simulator.admin("GET", "/status").await;
    assert_eq!(code, 200);
    let venue = &status["venue"];
    assert_eq!((&venue["connections_opened"], &venue["connections_current"]), (&1.into(), &1.into()));
    assert_eq!(venue["connections"][0]["symbols"], serde_json::json!(["EURUSD"]));
    assert_eq!(venue["connections"][0]["accounts"], serde_json::json!([ACCOUNT]));
    assert_eq!(simulator.admin("GET", "/readyz").await.0, 200);
}

fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

#[tokio::test]
async fn faults_are_listed_switched_and_cleared_by_name() {
    let simulator = Simulator::start("names").await;
    let names: Vec<&str> = sim_ctrader::FAULTS.iter().map(|row| row.name).collect();
    let lasting: Vec<&str> = sim_ctrader::FAULTS
        .iter()
        .filter(|row| row.lasting == sim_ctrader::Lasting::UntilSwitchedOff)
        .map(|row| row.name)
        .collect();
    let on = async || -> Vec<String> {
        let (_, list) = simulator.admin("GET", "/faults").await;
        let list = list.as_array().unwrap().clone();
        assert_eq!(list.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
        list.iter()
            .filter(|row| row["on"] == true)
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(on().await.is_empty());
    for name in &names {
        simulator.switch("POST", name).await;
    }
    assert_eq!(on().await, lasting);
    simulator.switch("DELETE", "mute").await;
    assert_eq!(on().await, lasting.iter().filter(|name| **name != "mute").copied().collect::<Vec<_>>());
    assert_eq!(simulator.admin("DELETE", "/faults").await.0, 200);
    assert!(on().await.is_empty());
    assert_eq!(simulator.admin("POST", "/faults/earthquake").await.0, 404);
}

#[tokio::test]
async fn parameters_are_taken_shown_and_refused_by_name() {
    let simulator = Simulator::start("params").await;
    let mute = json!({ "symbols": ["EURUSD"], "for_ms": 600_000 });
    let (code, shown) = simulator.send("POST", "/faults/mute", &mute.to_string()).await;
    assert_eq!((code, &shown["chosen"], &shown["on"]), (200, &mute, &true.into()));
    assert!(shown["left_ms"].as_u64().unwrap() > 500_000);
    assert_eq!(shown["params"]["symbols"]["type"], "array of strings");
    for (path, body, words) in [
        ("/faults/mute", r#"{"symbols":["NOSUCH"]}"#, "NOSUCH"),
        ("/faults/mute", r#"{"loud":true}"#, "loud"),
        ("/faults/mute", "{", "no JSON"),
    ] {
        let (code, answer) = simulator.send("POST", path, body).await;
        assert_eq!(code, 400);
        assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
    }
    // Over by itself, with nobody connected.
    simulator.send("POST", "/faults/stall", r#"{"for_ms":20}"#).await;
    let over = async {
        loop {
            let (_, list) = simulator.admin("GET", "/faults").await;
            if list.as_array().unwrap().iter().all(|row| row["name"] != "stall" || row["on"] == false) {
                return;
            }
        }
    };
    timeout(DEADLINE, over).await.unwrap();
    simulator.dial().await.unwrap().log_in().await;
}

#[tokio::test]
async fn a_scenario_is_played_from_a_file_or_from_the_admin_port() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/bad-monday.json");
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/eurusd.jsonl");
    let simulator =
        Simulator::start_with("scenario", &[("SIM_SCENARIO", folder), ("SIM_PLAYBACK", recording)]).await;
    let (_, scenario) = simulator.admin("GET", "/scenario").await;
    assert_eq!((&scenario["name"], &scenario["faults"]), (&"bad Monday".into(), &0.into()));
    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    let text = r#"{"name":"now","steps":[{"at_s":0.05,"fault":"close"}]}"#;
    let (code, scenario) = simulator.send("POST", "/scenario", text).await;
    assert_eq!((code, &scenario["name"]), (200, &"now".into()));
    let (ended, _) = client.end().await;
    assert!(ended.is_ok(), "{ended:?}");
    for text in ["{", r#"{"name":"x","steps":[{"at_s":1,"fault":"mute","params":{"symbols":["NOSUCH"]}}]}"#] {
        assert_eq!(simulator.send("POST", "/scenario", text).await.0, 400);
    }
    let (code, scenario) = simulator.admin("DELETE", "/scenario").await;
    assert_eq!((code, scenario), (200, Value::Null));
    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    client.subscribe(1).await;
    let event = client.answer::<ProtoOaSpotEvent>().await;
    assert_eq!((event.bid, event.ask), (Some(114_810), Some(114_812)));
}

#[tokio::test]
async fn a_handshake_may_be_reset_and_a_close_may_come_without_notify() {
    let simulator = Simulator::start("reset").await;
    let mut before = simulator.dial().await.unwrap();
    simulator.switch("POST", "reset-handshake").await;
    let error = simulator.dial().await.err().unwrap();
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error:?}");
    before.log_in().await;
    simulator.switch("DELETE", "reset-handshake").await;
    let mut orderly = simulator.dial().await.unwrap();
    orderly.log_in().await;
    simulator.switch("POST", "close").await;
    let (ended, rest) = orderly.end().await;
    assert!(ended.is_ok() && rest == 0, "{ended:?}");
    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    simulator.switch("POST", "close-without-notify").await;
    let (ended, rest) = client.end().await;
    assert_eq!((ended.unwrap_err().kind(), rest), (io::ErrorKind::UnexpectedEof, 0));
}

#[tokio::test]
async fn one_byte_at_a_time_is_what_reaches_the_client() {
    let simulator = Simulator::start("bytes").await;
    simulator.switch("POST", "one-byte-writes").await;
    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    client.subscribe(1).await;
    let mut buffer = [0; 4_096];
    // Otherwise a read brings whole frames; now it brings less than the length of one, sooner or later.
    let short = async {
        loop {
            let count = client.stream.read(&mut buffer).await.unwrap();
            if (1..4).contains(&count) {
                return;
            }
        }
    };
    timeout(DEADLINE, short).await.unwrap();
}

#[tokio::test]
async fn a_cut_is_a_reset_and_a_cut_inside_a_frame_leaves_half_of_one() {
    let simulator = Simulator::start("cut").await;
    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    simulator.switch("POST", "cut").await;
    let (ended, _) = client.end().await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    client.subscribe(1).await;
    simulator.switch("POST", "cut-inside-frame").await;
    let (ended, rest) = client.end().await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "no close of TLS");
    assert!(rest > 4, "{rest} bytes after the last frame");
}

#[tokio::test]
async fn hanging_tls_holds_new_connections_only_and_lets_them_go_later() {
    let simulator = Simulator::start("hang").await;
    let mut before = simulator.dial().await.unwrap();
    simulator.switch("POST", "hang-tls").await;
    let mut held = std::pin::pin!(simulator.dial());
    assert!(timeout(NEVER, &mut held).await.is_err());
    before.log_in().await;
    simulator.switch("DELETE", "hang-tls").await;
    timeout(DEADLINE, held).await.unwrap().unwrap().log_in().await;
}

#[tokio::test]
async fn a_stalled_venue_says_nothing_to_anyone_until_it_goes_on() {
    let simulator = Simulator::start("stall").await;
    let mut client = simulator.dial().await.unwrap();
    client.log_in().await;
    client.subscribe(1).await;
    simulator.switch("POST", "stall").await;
    // What was on its way when the fault was switched may still come.
    let mut buffer = [0; 4_096];
    while let Ok(count) = timeout(NEVER, client.stream.read(&mut buffer)).await {
        client.decoder.push(&buffer[..count.unwrap()]);
    }
    while client.decoder.next_envelope().unwrap().is_some() {}
    let mut held = std::pin::pin!(simulator.dial());
    assert!(timeout(NEVER, &mut held).await.is_err());
    simulator.switch("DELETE", "stall").await;
    let event = client.answer::<ProtoOaSpotEvent>().await;
    assert!(event.bid.is_some() && event.ask.is_some());
    timeout(DEADLINE, held).await.unwrap().unwrap().log_in().await;
}

#[tokio::test]
async fn a_refusing_venue_has_no_listener_and_opens_the_same_port_again() {
    let simulator = Simulator::start("refuse").await;
    let mut before = simulator.dial().await.unwrap();
    simulator.switch("POST", "refuse").await;
    let refused = timeout(DEADLINE, async {
        loop {
            if let Err(error) = simulator.dial().await
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                return;
            }
        }
    });
    refused.await.unwrap();
    before.log_in().await;
    simulator.switch("DELETE", "refuse").await;
    let dialled = timeout(DEADLINE, async {
        loop {
            if let Ok(client) = simulator.dial().await {
                return client;
            }
        }
    });
    dialled.await.unwrap().log_in().await;
}

#[tokio::test]
async fn a_stop_closes_connections_in_order_and_ends_with_zero() {
    let mut simulator = Simulator::start("stop").await;
    let mut client = simulator.dial().await.unwrap();
    client.ask(&ProtoHeartbeatEvent { payload_type: None }).await;
    client.log_in().await;
    simulator.0.ask_to_stop().await;
    let (ended, rest) = client.end().await;
    assert!(ended.is_ok() && rest == 0, "closed as TLS should be: {ended:?}");
    let code = simulator.0.ended().await;
    assert_eq!(code.code(), Some(0));
}
