#![allow(clippy::unwrap_used, reason = "a test; the lint knows only functions marked as one")]

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Browser, FakeIngest, Gateway, Nats};

/// Certificate and key for localhost as files, and a browser's connector that trusts them.
pub(crate) fn certificate() -> (PathBuf, PathBuf, TlsConnector) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let name = format!("tickcast-gateway-{}-{:x}", std::process::id(), fastrand::u64(..));
    let [certificate, key] =
        ["cert", "key"].map(|part| std::env::temp_dir().join(format!("{name}-{part}.pem")));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let mut anchors = RootCertStore::empty();
    anchors.add(issued.cert.der().clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(anchors).with_no_client_auth();
    (certificate, key, TlsConnector::from(Arc::new(config)))
}

#[tokio::test]
async fn browsers_are_served_over_tls_like_over_a_plain_connection() {
    let (certificate, key, connector) = certificate();
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    let files = [certificate.to_str().unwrap(), key.to_str().unwrap()];
    let settings = [("TLS_CERT_FILE", files[0]), ("TLS_KEY_FILE", files[1])];
    let gateway = Gateway::start(&nats, &settings).await;
    let open = async || {
        let socket = TcpStream::connect(gateway.addr).await.unwrap();
        let socket = connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
        Browser::over(socket, gateway.addr, "/ws", &[]).await.unwrap()
    };
    let mut browser = open().await;
    browser.see_status("ctrader", "connected").await;
    browser.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;
    ingest.tick("EURUSD", 1, 1).await;
    assert_eq!(browser.until_type("tick").await["seq"], 1);

    // A browser that does not read for a while: what it gets then is in order, and what it does not get is declared.
    let mut slow = open().await;
    slow.see_status("ctrader", "connected").await;
    slow.subscribe(&["EURUSD"]).await;
    assert_eq!(slow.until_type("tick").await["snapshot"], true);
    let last = 30_000;
    for seq in 2..=last {
        ingest.tick("EURUSD", 1, seq).await;
        if seq % 500 == 0 {
            // Both sides of the test share a thread: give the bus and the gateway their turn.
            browser.say(json!({"type": "ping"})).await;
            browser.until_type("pong").await;
        }
    }
    let mut expected = 2;
    while expected <= last {
        let message = slow.until(|message| message["type"] == "tick" || message["type"] == "gap").await;
        if message["type"] == "gap" {
            assert_eq!(message["from"], expected);
            expected = message["to"].as_u64().unwrap() + 1;
        } else {
            assert_eq!(message["seq"], expected);
            expected += 1;
        }
    }
    drop((browser, slow));
    gateway.stop().await;
    for file in files {
        std::fs::remove_file(file).unwrap();
    }
}
