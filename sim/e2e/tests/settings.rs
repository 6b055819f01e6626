//! What each program says about its settings, and what it never says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::net::SocketAddr;

use sim_e2e::{Collector, Place, Process, SECRETS, Setup, Spine, binary, fetch};

/// Runs a program to its end: exit code and everything it wrote.
async fn run_to_end(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let place = Place::new();
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut process = Process::start(place.path(), name, &binary(name), arguments, &environment);
    let status = process.ended().await;
    (status.code(), process.log_text())
}

/// Names with their values or defaults.
type Variables = &'static [(&'static str, &'static str)];

/// A program with settings it cannot use, and required ones it is not given.
struct Program {
    name: &'static str,
    bad: Variables,
    missing: &'static [&'static str],
}

impl Program {
    fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.bad.iter().map(|(variable, _)| *variable).chain(self.missing.iter().copied())
    }
}

const PROGRAMS: [Program; 6] = [
    Program {
        name: "ingest-ctrader",
        bad: &[
            ("NATS_URL", "nats://["),
            ("NATS_PASSWORD", "of-nobody"),
            ("CTRADER_PORT", "99999"),
            ("CTRADER_CA_FILE", "/nonexistent/anchors.pem"),
            ("CTRADER_ACCOUNT_ID", "mine"),
            ("CTRADER_TOKEN_FILE", "/proc/tokens.json"),
            ("STALE_AFTER_MS", "soon"),
            ("ADMIN_ADDR", "here"),
            ("LOG_FORMAT", "xml"),
        ],
        missing: &["CTRADER_CLIENT_ID", "CTRADER_CLIENT_SECRET", "CTRADER_ACCESS_TOKEN"],
    },
    Program {
        name: "ingest-tradingview",
        bad: &[
            ("NATS_CREDS", "/nonexistent/creds"),
            ("TRADINGVIEW_CA_FILE", "/nonexistent/anchors.pem"),
            ("TRADINGVIEW_URL", "wss://not a host/"),
            ("BACKOFF_MIN_MS", "0"),
            ("LINGER_MS", "1.5"),
        ],
        missing: &[],
    },
    Program {
        name: "ws-gateway",
        bad: &[
            ("NATS_CA_FILE", "/nonexistent/anchors.pem"),
            ("TLS_CERT_FILE", "/nonexistent/cert.pem"),
            ("WS_PORT", "none"),
            ("LEASE_TTL_MS", "-1"),
            ("MAX_CONNECTIONS", "many"),
            ("GATEWAY_VENUES", "not a venue!"),
            ("ADMIN_ADDR", "here"),
        ],
        missing: &[],
    },
    Program {
        name: "sim-ctrader",
        bad: &[
            ("SIM_ADDR", "there"),
            ("SIM_SYMBOLS", "-3"),
            ("SIM_TICKS_PER_S", "fast"),
            ("ADMIN_ADDR", "x"),
        ],
        missing: &[],
    },
    Program {
        name: "sim-tradingview",
        bad: &[("SIM_ADDR", "there"), ("SIM_ECHO_MS", "never"), ("SIM_BOOK", "beside"), ("ADMIN_ADDR", "x")],
        missing: &[],
    },
    Program {
        name: "loadgen",
        bad: &[("LOADGEN_URL", "http://x"), ("LOADGEN_CLIENTS", "0"), ("LOADGEN_SECONDS", "601")],
        missing: &[],
    },
];

/// Section 1 of the contract: who reads which variable, and what it is where it is not set.
const CONTRACT: [(&[&str], Variables); 5] = [
    (
        &["ingest-ctrader", "ingest-tradingview", "ws-gateway"],
        &[
            ("NATS_URL", "nats://127.0.0.1:4222"),
            ("NATS_CREDS", "unset"),
            ("NATS_USER", "unset"),
            ("NATS_PASSWORD", "unset"),
            ("NATS_CA_FILE", "unset"),
            ("ADMIN_ADDR", "127.0.0.1:0"),
            ("LOG", "info"),
            ("LOG_FORMAT", "text"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "unset"),
        ],
    ),
    (
        &["ingest-ctrader", "ingest-tradingview"],
        &[
            ("STALE_AFTER_MS", "30000 ms"),
            ("SILENCE_TIMEOUT_MS", "60000 ms"),
            ("CONNECT_TIMEOUT_MS", "15000 ms"),
            ("BACKOFF_MIN_MS", "500 ms"),
            ("BACKOFF_MAX_MS", "30000 ms"),
            ("LINGER_MS", "5000 ms"),
        ],
    ),
    (
        &["ingest-ctrader"],
        &[
            ("CTRADER_HOST", "demo.ctraderapi.com"),
            ("CTRADER_PORT", "5035"),
            ("HOST", "unset"),
            ("PORT", "unset"),
            ("CTRADER_CLIENT_ID", "required"),
            ("CTRADER_CLIENT_SECRET", "required"),
            ("CTRADER_ACCESS_TOKEN", "required"),
            ("CTRADER_ACCOUNT_ID", "required"),
            ("CTRADER_REFRESH_TOKEN", "unset"),
            ("CTRADER_TOKEN_FILE", "unset"),
            ("CTRADER_CA_FILE", "unset"),
            ("HEARTBEAT_MS", "10000 ms"),
        ],
    ),
    (
        &["ingest-tradingview"],
        &[
            ("TRADINGVIEW_URL", "required"),
            ("TRADINGVIEW_AUTH_TOKEN", "unset"),
            ("TRADINGVIEW_CA_FILE", "unset"),
            ("TRADINGVIEW_LIVE", "unset"),
        ],
    ),
    (
        &["ws-gateway"],
        &[
            ("WS_ADDR", "0.0.0.0"),
            ("WS_PORT", "8080"),
            ("PORT", "unset"),
            ("GATEWAY_VENUES", "ctrader,tradingview"),
            ("LEASE_TTL_MS", "15000 ms"),
            ("MAX_CONNECTIONS", "18000 connections"),
            ("MAX_CONNECTIONS_PER_USER", "20 connections"),
            ("MAX_CONNECTIONS_PER_IP", "0 connections"),
            ("MAX_SUBSCRIPTIONS", "1000 symbols"),
            ("MAX_MESSAGE_BYTES", "65536 bytes"),
            ("MAX_MESSAGES_PER_S", "50 messages"),
            ("ALLOWED_ORIGINS", "*"),
            ("AUTH", "none"),
            ("TLS_CERT_FILE", "unset"),
            ("TLS_KEY_FILE", "unset"),
            ("FLUSH_MS", "5 ms"),
            ("DRAIN_MS", "10000 ms"),
            ("ALLOW_ANONYMOUS_ADMIN", "false"),
        ],
    ),
];

#[tokio::test]
async fn each_program_reads_the_variables_of_the_contract_with_its_defaults_and_units() {
    for program in PROGRAMS {
        let (_, help) = run_to_end(program.name, &["--help"], &[]).await;
        let expected = CONTRACT.iter().filter(|(readers, _)| readers.contains(&program.name));
        for (name, default) in expected.flat_map(|(_, variables)| variables.iter()) {
            let line = help.lines().find(|line| line.split_whitespace().next() == Some(name));
            let said = line.unwrap_or_else(|| panic!("{} does not know {name}:\n{help}", program.name));
            let rest = said.trim_start().trim_start_matches(name).trim_start();
            assert!(rest.starts_with(&format!("{default}  ")), "{}: {default} in {said:?}", program.name);
        }
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_end_each_program_with_64_naming_every_one_before_a_port_opens() {
    for program in PROGRAMS {
        let name = program.name;
        let (code, text) = run_to_end(name, &[], program.bad).await;
        assert_eq!(code, Some(64), "{name}: {text}");
        for variable in program.variables() {
            assert!(text.contains(variable), "{name} does not name {variable}:\n{text}");
        }
        assert!(!text.contains("listening"), "{name} opened a port:\n{text}");
        assert!(!text.contains("of-nobody"), "{name} shows a secret:\n{text}");
    }
}

#[tokio::test]
async fn the_vendors_own_host_is_not_dialled_without_the_operators_word() {
    let vendor = ("TRADINGVIEW_URL", "wss://data.tradingview.com/socket.io/websocket");
    let (code, text) = run_to_end("ingest-tradingview", &[], &[vendor]).await;
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("TRADINGVIEW_LIVE") && text.contains("accept-terms"), "{text}");
    assert!(!text.contains("listening"), "{text}");
}

#[tokio::test]
async fn every_program_tells_its_version_and_all_its_settings() {
    for program in PROGRAMS {
        let name = program.name;
        let (code, version) = run_to_end(name, &["--version"], &[]).await;
        assert_eq!(code, Some(0));
        assert!(version.starts_with(name) && version.contains(char::is_numeric), "{version}");
        let (code, help) = run_to_end(name, &["--help"], &[]).await;
        assert_eq!(code, Some(0));
        for variable in program.variables() {
            assert!(help.contains(variable), "{name} --help does not name {variable}:\n{help}");
        }
        let (code, text) = run_to_end(name, &["--no-such-option"], &[]).await;
        assert_eq!(code, Some(64), "{name}: {text}");
    }
}

/// Every page that tells of a service, after a look at whether it does.
async fn pages(name: &str, admin: SocketAddr) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for (path, holds) in [("/metrics", "tickcast_build_info"), ("/status", "instance"), ("/readyz", "ready")]
    {
        let (_, page) = fetch(admin, "GET", path).await.unwrap();
        assert!(page.contains(holds), "{path} of {name}: {page}");
        pages.push((format!("{path} of {name}"), page));
    }
    pages
}

#[tokio::test]
async fn no_log_page_metric_or_span_shows_a_secret_even_at_trace_while_everything_fails() {
    let collector = Collector::start().await;
    let mut spine = Spine::start(Setup {
        all: [&[("LOG", "trace")], collector.settings()].concat().leak(),
        ingest: &[("AUTH_RETRY_MS", "1000")],
        ..Setup::default()
    })
    .await;
    spine.ingest.process.allow_error("venue refused the credentials");
    let (ingest, gateway) = (spine.ingest.admin, spine.gateways[0].admin);
    let mut said = Vec::new();
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    said.extend(pages("the ingest", ingest).await);
    said.extend(pages("the gateway", gateway).await);
    spine.sim.fault("reject-credentials").await;
    spine.sim.fault("cut").await;
    client.status("error").await;
    said.extend(pages("the refused ingest", ingest).await);
    said.extend(pages("the gateway of a refused ingest", gateway).await);
    spine.sim.heal("reject-credentials").await;
    client.status("connected").await;
    client.tick("EURUSD").await;
    let why = "/api/v1/why?source=ctrader&symbol=EURUSD";
    said.push((why.to_owned(), fetch(spine.gateways[0].addr, "GET", why).await.unwrap().1));
    assert_eq!(spine.gateways[0].process.terminate().await.code(), Some(0));
    assert_eq!(spine.ingest.process.terminate().await.code(), Some(0));
    assert_eq!(spine.sim.process.terminate().await.code(), Some(0));

    for service in ["ingest-ctrader", "ws-gateway"] {
        assert!(collector.spans().iter().any(|span| span.service == service), "{service} exported no span");
    }
    let exports = collector.exports();
    said.extend(
        exports.iter().map(|spans| ("a span".to_owned(), String::from_utf8_lossy(spans).into_owned())),
    );
    let logs = [&spine.gateways[0].process, &spine.ingest.process, &spine.sim.process];
    for text in logs.map(Process::log_text) {
        assert!(text.lines().count() > 10, "that is no log at trace: {text}");
        said.push(("a log".to_owned(), text));
    }
    for (place, text) in said {
        for (name, secret) in SECRETS {
            // Its bytes too, as a dump of a frame would show them.
            let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            for shape in [secret.to_owned(), bytes.join(", "), hex] {
                let line = text.lines().find(|line| line.contains(&shape));
                assert_eq!(line, None, "{name} is in {place}");
            }
        }
    }
}
