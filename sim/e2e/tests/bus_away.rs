//! A bus that was never there: each service says why, once, and shows no password.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::net::TcpListener;

use sim_e2e::{Place, Process, binary, eventually, fetch};

const PASSWORD: &str = "of-the-bus-alone";

#[tokio::test]
async fn each_service_says_on_its_page_and_once_in_its_log_why_the_bus_cannot_be_reached() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let common = [
        ("NATS_URL", format!("nats://me:{PASSWORD}@{free}")),
        ("LOG", "debug".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
    ];
    let ingest = [
        ("CTRADER_CLIENT_ID", "app"),
        ("CTRADER_CLIENT_SECRET", "sec"),
        ("CTRADER_ACCESS_TOKEN", "tok"),
        ("CTRADER_ACCOUNT_ID", "7"),
    ];
    let gateway = [("WS_ADDR", "127.0.0.1"), ("WS_PORT", "0")];
    for (name, own) in [("ingest-ctrader", &ingest[..]), ("ws-gateway", &gateway[..])] {
        let place = Place::new();
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment: Vec<_> =
            common.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).chain(own).collect();
        let mut process = Process::start(place.path(), name, &binary(name), &[], &environment);
        let admin = process.listening("admin").await;
        let page = eventually(&format!("{name} to say why"), async || {
            let (status, page) = fetch(admin, "GET", "/readyz").await?;
            let says = status == 503 && page.contains("bus: connecting: nats: IO error");
            if says { Ok(page) } else { Err(format!("{status} {page}")) }
        })
        .await;
        let complaints = |process: &Process, level: &str| {
            let lines = process.log_lines();
            lines.iter().filter(|line| line["level"] == level && line["error"] == "nats: IO error").count()
        };
        eventually(&format!("{name} to try again"), async || match complaints(&process, "DEBUG") {
            repeats @ 0..3 => Err(format!("{repeats} repeats")),
            _ => Ok(()),
        })
        .await;
        assert_eq!(complaints(&process, "WARN"), 1, "{name} warns once for the same reason");
        assert!(!process.log_text().contains(PASSWORD) && !page.contains(PASSWORD), "{name} shows a secret");
        assert_eq!(process.terminate().await.code(), Some(0));
    }
}
