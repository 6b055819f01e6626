//! The whole tool against a server of another make, scripted for each behaviour.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use loadgen::{Arguments, Report, Settings, run};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

type Socket = WebSocketStream<TcpStream>;

/// Serves each connection with `serve` and runs the tool against it with these options.
async fn report_of<F>(options: &[&str], serve: impl Fn(Socket) -> F + Send + 'static) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            tokio::spawn(serve(socket));
        }
    });
    let report = run_against(address, options).await;
    accepting.abort();
    report
}

async fn run_against(address: SocketAddr, options: &[&str]) -> Report {
    let url = format!("ws://{address}/ws");
    let mut arguments = vec!["loadgen", "--url", &url, "--warmup", "0", "--seconds", "1"];
    arguments.extend_from_slice(options);
    let settings = Settings::read(&Arguments::try_parse_from(arguments).unwrap()).unwrap();
    tokio::task::spawn_blocking(move || run(&settings)).await.unwrap().unwrap()
}

/// The next JSON message, answering nothing.
async fn next(socket: &mut Socket) -> Option<Value> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            return Some(serde_json::from_str(&text).unwrap());
        }
    }
    None
}

async fn say(socket: &mut Socket, message: &Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

fn tick(symbol: &str, seq: u64) -> Value {
    let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    json!({"type": "tick", "source": "ctrader", "symbol": symbol, "bid": 1.1, "timestamp": now_ms, "receivedAt": now_ms,
           "epoch": "5", "seq": seq})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_subscribes_and_its_ticks_are_counted_and_audited() {
    let report =
        report_of(&["--clients", "20", "--symbols", "A,B", "--threads", "2"], |mut socket| async move {
            let subscribe = next(&mut socket).await.unwrap();
            assert_eq!(subscribe, json!({"type": "subscribe", "symbols": ["A", "B"]}));
            for seq in 1..=50 {
                say(&mut socket, &tick("A", seq)).await;
                say(&mut socket, &tick("B", seq)).await;
            }
            while next(&mut socket).await.is_some() {}
        })
        .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connected, report.open_at_end), (20, 20));
    assert_eq!(report.audit.ticks, 20 * 2 * 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_leaves_out_doubles_or_announces_is_told_apart() {
    let report = report_of(&["--clients", "1", "--symbols", "A"], |mut socket| async move {
        next(&mut socket).await.unwrap();
        for seq in [1, 2, 2, 5] {
            say(&mut socket, &tick("A", seq)).await;
        }
        let gap = json!({"type": "gap", "source": "ctrader", "symbol": "A", "missed": 4, "from": 6, "to": 9});
        say(&mut socket, &gap).await;
        say(&mut socket, &tick("A", 10)).await;
        say(&mut socket, &json!({"type": "error", "code": "RATE_LIMITED", "message": "x"})).await;
        socket.send(Message::text("{half")).await.unwrap();
        while next(&mut socket).await.is_some() {}
    })
    .await;
    let audit = &report.audit;
    assert_eq!((audit.duplicates, audit.holes, audit.lost, audit.gaps, audit.missed), (1, 1, 2, 1, 4));
    assert_eq!((report.errors["RATE_LIMITED"], report.unreadable, report.messages["gap"]), (1, 1, 1));
    assert!(!report.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_are_learned_from_the_venue_and_drawn_for_each_client() {
    let options =
        ["--clients", "8", "--symbol-count", "30", "--random-per-client", "3", "--source", "ctrader"];
    let report = report_of(&options, |mut socket| async move {
        while let Some(message) = next(&mut socket).await {
            if message["type"] == "connect" {
                say(&mut socket, &json!({"type": "status", "source": "other", "availableSymbols": ["X"]}))
                    .await;
                let offered: Vec<String> = (0..40).map(|index| format!("S{index}")).collect();
                let status = json!({"type": "status", "source": "ctrader", "availableSymbols": offered});
                say(&mut socket, &status).await;
            } else {
                assert_eq!(message["source"], "ctrader");
                for symbol in message["symbols"].as_array().unwrap() {
                    say(&mut socket, &tick(symbol.as_str().unwrap(), 1)).await;
                }
            }
        }
    })
    .await;
    assert_eq!((report.symbols_per_client, report.audit.ticks), (3, 24));
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_send_nothing_but_answers_to_pings_and_a_close() {
    let report = report_of(&["--clients", "5", "--idle"], |mut socket| async move {
        socket.send(Message::Ping("p".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
        match socket.next().await {
            Some(Ok(Message::Close(Some(close)))) => assert_eq!(close.code, CloseCode::Normal),
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.pings, report.open_at_end), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_made_by_the_server_are_counted_by_their_code() {
    let report = report_of(&["--clients", "4", "--idle"], |mut socket| async move {
        let close = CloseFrame { code: CloseCode::Library(4003), reason: "limit".into() };
        socket.close(Some(close)).await.unwrap();
        while socket.next().await.is_some() {}
    })
    .await;
    assert_eq!(report.closes["4003"], 4);
    assert_eq!(report.open_at_end, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_cannot_be_made_are_counted_by_kind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let report = run_against(address, &["--clients", "3", "--idle"]).await;
    assert_eq!(report.connect_failures["refused"], 3);
    assert_eq!(report.connected, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_whose_server_ends_go_to_the_other_one_at_once_even_where_ticks_came_with_the_end() {
    let refuge = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", refuge.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = refuge.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            tokio::spawn(async move { while next(&mut socket).await.is_some() {} });
        }
    });
    let options = ["--clients", "50", "--symbols", "A", "--reconnect-to", &url];
    let report = report_of(&options, |mut socket| async move {
        next(&mut socket).await.unwrap();
        // Bytes and the end in one go: the client may see both at once.
        say(&mut socket, &tick("A", 1)).await;
    })
    .await;
    assert_eq!((report.connected, report.reconnect.count, report.open_at_end), (50, 50, 50), "{report}");
    assert_eq!(report.audit.ticks, 50, "{report}");
    assert!(report.replaced.to_us >= report.replaced.from_us);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_resume_are_audited_over_both_servers() {
    let refuge = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", refuge.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = refuge.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            tokio::spawn(async move {
                let message = next(&mut socket).await.unwrap();
                // Of C nothing came before.
                assert_eq!(
                    message["resume"],
                    json!({"A": {"epoch": "5", "seq": 7}, "B": {"epoch": "5", "seq": 7}})
                );
                let result = |name: &str, recovered: bool| json!({"symbol": name, "status": "subscribed", "recovered": recovered});
                let results =
                    json!([result("A", true), result("B", false), {"symbol": "C", "status": "subscribed"}]);
                say(&mut socket, &json!({"type": "subscribeResponse", "results": results})).await;
                // A goes on, with one tick lost and not announced; B begins anew.
                for (name, seq) in [("A", 8), ("A", 10), ("B", 20), ("B", 21), ("C", 1)] {
                    say(&mut socket, &tick(name, seq)).await;
                }
                while next(&mut socket).await.is_some() {}
            });
        }
    });
    let options = ["--clients", "10", "--symbols", "A,B,C", "--reconnect-to", &url, "--resume"];
    let report = report_of(&options, |mut socket| async move {
        next(&mut socket).await.unwrap();
        for name in ["A", "B"] {
            say(&mut socket, &tick(name, 7)).await;
        }
    })
    .await;
    assert_eq!((report.resume.count, report.recovered, report.begun_anew), (10, 10, 10), "{report}");
    assert_eq!((report.audit.ticks, report.audit.holes, report.audit.lost), (70, 10, 10), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_read_their_share_and_stalled_ones_nothing() {
    let options = [
        "--clients",
        "3",
        "--symbols",
        "A",
        "--slow",
        "1",
        "--slow-bytes-per-s",
        "2000",
        "--stalled",
        "1",
        "--audit-every",
        "1",
    ];
    let report = report_of(&options, |mut socket| async move {
        next(&mut socket).await.unwrap();
        for seq in 1..=100 {
            say(&mut socket, &tick("A", seq)).await;
        }
        while next(&mut socket).await.is_some() {}
    })
    .await;
    // All of the quick one, some of the slow one (2,000 bytes are some 15 ticks a second), none of the stalled one.
    assert!((101..160).contains(&report.audit.ticks), "{report}");
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_is_asked_for_and_what_it_folds_is_no_loss() {
    let options = [
        "--clients",
        "2",
        "--symbols",
        "A",
        "--mode",
        "latest",
        "--min-interval-ms",
        "100",
        "--on-slow",
        "merge",
    ];
    let report = report_of(&options, |mut socket| async move {
        let asked = next(&mut socket).await.unwrap();
        assert_eq!(
            (&asked["mode"], &asked["minIntervalMs"], &asked["onSlow"]),
            (&json!("latest"), &json!(100), &json!("merge"))
        );
        say(&mut socket, &tick("A", 1)).await;
        let mut folded = tick("A", 5);
        folded["merged"] = json!(4);
        say(&mut socket, &folded).await;
        while next(&mut socket).await.is_some() {}
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.audit.folded, 2 * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_is_spoken_to_in_its_own_way() {
    let report =
        report_of(&["--clients", "2", "--symbols", "A,B", "--protocol", "nats"], |mut socket| async move {
            let Some(Ok(Message::Binary(greeting))) = socket.next().await else { panic!("no greeting") };
            let greeting = String::from_utf8(greeting.to_vec()).unwrap();
            assert!(greeting.contains("SUB json.bench.A 1\r\nSUB json.bench.B 2\r\n"), "{greeting}");
            let payload = tick("B", 7).to_string();
            let text = format!("INFO {{}}\r\nPING\r\nMSG json.bench.B 2 {}\r\n{payload}\r\n", payload.len());
            // A message may begin in one frame and end in the next.
            let (start, rest) = text.split_at(text.len() / 2);
            socket.send(Message::binary(start.as_bytes().to_vec())).await.unwrap();
            socket.send(Message::binary(rest.as_bytes().to_vec())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(b"PONG\r\n".to_vec()));
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.audit.ticks, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_make_one_report() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            tokio::spawn(async move {
                next(&mut socket).await.unwrap();
                say(&mut socket, &tick("A", 1)).await;
                while next(&mut socket).await.is_some() {}
            });
        }
    });
    let place = std::env::temp_dir().join(format!("loadgen-parts-{}.json", std::process::id()));
    let json = place.to_str().unwrap().to_owned();
    let status = tokio::task::spawn_blocking(move || {
        std::process::Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["--url", &url, "--clients", "21", "--processes", "3", "--symbols", "A", "--json", &json])
            .args(["--seconds", "1", "--warmup", "0"])
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
    std::fs::remove_file(&place).unwrap();
    assert_eq!((&report["connected"], &report["open_at_end"]), (&json!(21), &json!(21)), "{report}");
    assert_eq!(report["audit"]["ticks"], 21);
}
