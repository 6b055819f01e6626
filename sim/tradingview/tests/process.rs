//! The simulator as a process: ws and wss, the faults that act on sockets, the admin port and the end.

#![cfg(test)]

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sim_kit::testing::{DEADLINE, NEVER, Process};
use sim_tradingview::{payloads, put_frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Simulator(Process);

struct Client {
    link: WebSocketStream<Box<dyn Stream>>,
}

impl Simulator {
    async fn start(name: &str) -> Self {
        let settings = [("SIM_SYMBOLS", "20"), ("SIM_TICKS_PER_S", "20")];
        Self(Process::start(env!("CARGO_BIN_EXE_sim-tradingview"), name, &settings).await)
    }

    /// Connects as far as a socket, with TLS that checks the certificate or without.
    async fn socket(&self, tls: bool) -> std::io::Result<Box<dyn Stream>> {
        if tls {
            return Ok(Box::new(self.0.tls().await?));
        }
        Ok(Box::new(TcpStream::connect(self.0.venue).await?))
    }

    async fn dial(&self, tls: bool) -> Result<Client, Error> {
        let scheme = if tls { "wss" } else { "ws" };
        let url = format!("{scheme}://localhost:{}/socket.io/websocket?type=chart", self.0.venue.port());
        let (link, _) = tokio_tungstenite::client_async(url, self.socket(tls).await?).await?;
        Ok(Client { link })
    }

    /// Status code and body of a request to the admin port.
    async fn admin(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.0.request(method, path, body).await
    }

    async fn on(&self, fault: &str, params: &str) {
        let (code, body) = self.admin("POST", &format!("/faults/{fault}"), params).await;
        assert_eq!(code, 200, "{body}");
    }

    async fn off(&self, fault: &str) {
        assert_eq!(self.admin("DELETE", &format!("/faults/{fault}"), "").await.0, 200);
    }
}

impl Client {
    async fn send(&mut self, method: &str, params: Value) {
        let mut message = String::new();
        put_frame(&mut message, &json!({ "m": method, "p": params }).to_string());
        self.link.send(Message::text(message)).await.unwrap();
    }

    /// The payloads of the next message.
    async fn next(&mut self) -> Vec<String> {
        let message = timeout(DEADLINE, self.link.next()).await.unwrap().unwrap().unwrap();
        payloads(message.to_text().unwrap()).map(|payload| payload.unwrap().to_owned()).collect()
    }

    /// Reads until a message holds this.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(found) = self.next().await.into_iter().find(|payload| payload.contains(text)) {
                return found;
            }
        }
    }

    async fn watch(&mut self, key: &str) {
        self.send("set_auth_token", json!(["unauthorized_user_token"])).await;
        self.send("quote_create_session", json!(["qs_1"])).await;
        self.send("quote_add_symbols", json!(["qs_1", key])).await;
        self.until("quote_completed").await;
    }

    /// Reads until the connection ends: a close code, or none, or an error.
    async fn end(mut self) -> Result<Option<u16>, Error> {
        loop {
            match timeout(DEADLINE, self.link.next()).await.unwrap() {
                Some(Ok(Message::Close(frame))) => return Ok(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }
}

#[tokio::test]
async fn ws_and_wss_share_a_port_and_the_status_page_shows_who_is_there() {
    let simulator = Simulator::start("status").await;
    let mut plain = simulator.dial(false).await.unwrap();
    let mut secure = simulator.dial(true).await.unwrap();
    for client in [&mut plain, &mut secure] {
        assert!(client.next().await[0].starts_with("{\"session_id\":\"0.4321."));
        client.watch("KRX:005930").await;
    }
    let update = secure.until("\"lp\":").await;
    assert!(update.contains("KRX:005930"), "{update}");
    let status = simulator.admin("GET", "/status", "").await.1;
    let venue = &status["venue"];
    assert_eq!(venue["connections_current"], 2, "{status}");
    assert_eq!(venue["connections"][0]["symbols"], json!(["KRX:005930"]));
}

#[tokio::test]
async fn binary_messages_are_served_like_text() {
    let simulator = Simulator::start("binary").await;
    let mut client = simulator.dial(false).await.unwrap();
    for (method, params) in
        [("quote_create_session", json!(["qs_1"])), ("quote_add_symbols", json!(["qs_1", "BIST:ŞİŞE"]))]
    {
        let mut message = String::new();
        put_frame(&mut message, &json!({ "m": method, "p": params }).to_string());
        client.link.send(Message::binary(message.into_bytes())).await.unwrap();
    }
    assert!(client.until("quote_completed").await.contains("BIST:ŞİŞE"));
}

#[tokio::test]
async fn handshakes_are_refused_with_status_and_retry_after() {
    let simulator = Simulator::start("refused").await;
    for (status, params) in
        [(429, r#"{"code":"429","retry_after_s":7}"#), (403, r#"{"code":"403"}"#), (503, r#"{"code":"503"}"#)]
    {
        simulator.on("handshake-status", params).await;
        let Err(Error::Http(response)) = simulator.dial(true).await.map(drop) else {
            panic!("it was let in")
        };
        assert_eq!(response.status(), status);
        let wait = response.headers().get("retry-after").map(|wait| wait.to_str().unwrap());
        assert_eq!(wait, (status == 429).then_some("7"));
    }
    simulator.off("handshake-status").await;
    assert!(simulator.dial(true).await.is_ok());
}

#[tokio::test]
async fn handshakes_can_hang_and_be_reset_and_the_port_can_close() {
    let simulator = Simulator::start("hang").await;
    for fault in ["hang-tls", "hang-handshake", "stall"] {
        simulator.on(fault, "").await;
        let dial = simulator.dial(true);
        tokio::pin!(dial);
        assert!(timeout(NEVER, &mut dial).await.is_err(), "{fault}: it was answered");
        simulator.off(fault).await;
        assert!(timeout(DEADLINE, dial).await.unwrap().is_ok(), "{fault}: it goes on when the fault is over");
    }
    simulator.on("reset-handshake", "").await;
    assert!(simulator.dial(false).await.is_err());
    simulator.off("reset-handshake").await;
    let mut held = simulator.dial(false).await.unwrap();
    simulator.on("refuse", "").await;
    // The listener closes a moment after the answer.
    timeout(DEADLINE, async { while TcpStream::connect(simulator.0.venue).await.is_ok() {} }).await.unwrap();
    held.watch("OANDA:EURUSD").await;
    simulator.off("refuse").await;
    timeout(DEADLINE, async { while simulator.dial(false).await.is_err() {} }).await.unwrap();
}

#[tokio::test]
async fn connections_end_in_every_manner() {
    let simulator = Simulator::start("ends").await;
    for (fault, params) in [
        ("close", r#"{"code":"1001"}"#),
        ("close", r#"{"code":"1000"}"#),
        ("close", r#"{"code":"1005"}"#),
        ("close", r#"{"code":"1006"}"#),
        ("cut", ""),
        ("cut-inside-frame", ""),
        ("protocol-error", ""),
    ] {
        for tls in [false, true] {
            let mut client = simulator.dial(tls).await.unwrap();
            client.watch("OANDA:EURUSD").await;
            simulator.on(fault, params).await;
            let end = client.end().await;
            let name = format!("{fault} {params} tls={tls}: {end:?}");
            match params {
                r#"{"code":"1001"}"# => assert_eq!(end.unwrap(), Some(1001), "{name}"),
                r#"{"code":"1000"}"# => assert_eq!(end.unwrap(), Some(1000), "{name}"),
                r#"{"code":"1005"}"# => assert_eq!(end.unwrap(), None, "{name}"),
                _ if fault == "protocol-error" => assert_eq!(end.unwrap(), None, "{name}"),
                _ => assert!(end.is_err(), "{name}"),
            }
        }
    }
}

#[tokio::test]
async fn messages_in_fragments_and_single_bytes_arrive_whole() {
    let simulator = Simulator::start("parts").await;
    for fault in ["fragments", "one-byte-writes"] {
        simulator.on(fault, "").await;
        for tls in [false, true] {
            let mut client = simulator.dial(tls).await.unwrap();
            assert!(client.next().await[0].contains("session_id"));
            client.watch("BIST:ŞİŞE").await;
            assert!(client.until("qsd").await.ends_with("}]}"));
        }
        simulator.off(fault).await;
    }
    let mut client = simulator.dial(true).await.unwrap();
    client.watch("OANDA:EURUSD").await;
    simulator.on("oversized-message", r#"{"bytes":4000000}"#).await;
    assert!(client.until("oversized").await.len() > 4_000_000);
}

#[tokio::test]
async fn a_stalled_simulator_is_half_open_and_goes_on_afterwards() {
    let simulator = Simulator::start("stall").await;
    let mut client = simulator.dial(false).await.unwrap();
    client.watch("OANDA:EURUSD").await;
    simulator.on("stall", "").await;
    // What was on its way arrives yet; then there is silence and no end.
    while let Ok(message) = timeout(NEVER, client.link.next()).await {
        assert!(message.unwrap().is_ok());
    }
    client.send("quote_add_symbols", json!(["qs_1", "FX:EURUSD"])).await;
    assert!(timeout(NEVER, client.link.next()).await.is_err());
    simulator.off("stall").await;
    client.until("FX:EURUSD").await;
}

#[tokio::test]
async fn faults_are_listed_switched_and_refused_by_name() {
    let simulator = Simulator::start("faults").await;
    let (code, list) = simulator.admin("GET", "/faults", "").await;
    assert_eq!((code, list.as_array().unwrap().len()), (200, sim_tradingview::FAULTS.len()));
    let body = r#"{"symbols":["OANDA:EURUSD"],"for_ms":600000}"#;
    let (code, shown) = simulator.admin("POST", "/faults/mute", body).await;
    assert_eq!((code, &shown["on"], &shown["lasting"]), (200, &json!(true), &json!("until-switched-off")));
    assert_eq!(shown["chosen"]["symbols"], json!(["OANDA:EURUSD"]));
    assert!(shown["left_ms"].as_u64().unwrap() > 500_000);
    assert_eq!(shown["params"]["symbols"]["type"], "array of strings");
    for (path, body, code) in [
        ("/faults/earthquake", "", 404),
        ("/faults/mute", "{", 400),
        ("/faults/mute", r#"{"symbols":["NO:SUCH"]}"#, 400),
        ("/faults/cut", r#"{"for_ms":5}"#, 400),
    ] {
        let answer = simulator.admin("POST", path, body).await;
        assert!(answer.0 == code && answer.1["error"].is_string(), "{path} {body}: {answer:?}");
    }
    let (code, list) = simulator.admin("DELETE", "/faults", "").await;
    assert!(code == 200 && list.as_array().unwrap().iter().all(|row| row["on"] == json!(false)));
}

#[tokio::test]
async fn every_fault_is_switched_on_the_admin_port() {
    let simulator = Simulator::start("each").await;
    for row in sim_tradingview::FAULTS {
        let lasting = row.lasting == sim_tradingview::Lasting::UntilSwitchedOff;
        let path = format!("/faults/{}", row.name);
        let (code, shown) = simulator.admin("POST", &path, "").await;
        assert_eq!((code, &shown["on"], &shown["name"]), (200, &json!(lasting), &json!(row.name)));
        let (code, shown) = simulator.admin("DELETE", &path, "").await;
        assert_eq!((code, &shown["on"]), (200, &json!(false)), "{}", row.name);
    }
    let mut client = simulator.dial(true).await.unwrap();
    client.watch("OANDA:EURUSD").await;
}

#[tokio::test]
async fn a_stop_closes_connections_and_ends_well() {
    let mut simulator = Simulator::start("stop").await;
    let client = simulator.dial(true).await.unwrap();
    simulator.0.ask_to_stop().await;
    assert_eq!(client.end().await.unwrap(), Some(1001));
    let status = simulator.0.ended().await;
    assert_eq!(status.code(), Some(0));
}
