//! What each program says about its settings, and what it never says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use sim_e2e::{Place, Process, SECRETS, Setup, Spine, binary};

/// Runs a program to its end: exit code and everything it wrote.
async fn run_to_end(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let place = Place::new();
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut process = Process::start(place.path(), name, &binary(name), arguments, &environment);
    let status = process.ended().await;
    (status.code(), process.log_text())
}

/// A program with settings it cannot use, and required ones it is not given.
struct Program {
    name: &'static str,
    bad: &'static [(&'static str, &'static str)],
    missing: &'static [&'static str],
}

impl Program {
    fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.bad.iter().map(|(variable, _)| *variable).chain(self.missing.iter().copied())
    }
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "ingest-ctrader",
        bad: &[
            ("CTRADER_PORT", "99999"),
            ("CTRADER_ACCOUNT_ID", "mine"),
            ("STALE_AFTER_MS", "soon"),
            ("ADMIN_ADDR", "here"),
            ("LOG_FORMAT", "xml"),
        ],
        missing: &["CTRADER_CLIENT_ID", "CTRADER_CLIENT_SECRET", "CTRADER_ACCESS_TOKEN"],
    },
    Program {
        name: "ws-gateway",
        bad: &[
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
        name: "loadgen",
        bad: &[("LOADGEN_URL", "http://x"), ("LOADGEN_CLIENTS", "0"), ("LOADGEN_SECONDS", "601")],
        missing: &[],
    },
];

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
    }
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

#[tokio::test]
async fn no_log_shows_a_secret_not_even_at_trace_while_everything_fails() {
    let mut spine = Spine::start(Setup {
        all: &[("LOG", "trace")],
        ingest: &[("AUTH_RETRY_MS", "1000")],
        ..Setup::default()
    })
    .await;
    spine.ingest.process.allow_error("venue refused the credentials");
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    spine.sim.fault("reject-credentials").await;
    spine.sim.fault("cut").await;
    client.status("error").await;
    spine.sim.heal("reject-credentials").await;
    client.status("connected").await;
    client.tick("EURUSD").await;
    assert_eq!(spine.gateways[0].process.terminate().await.code(), Some(0));
    assert_eq!(spine.ingest.process.terminate().await.code(), Some(0));
    assert_eq!(spine.sim.process.terminate().await.code(), Some(0));

    let logs = [&spine.gateways[0].process, &spine.ingest.process, &spine.sim.process];
    for text in logs.map(Process::log_text) {
        assert!(text.lines().count() > 10, "that is no log at trace: {text}");
        for (name, secret) in SECRETS {
            // Its bytes too, as a dump of a frame would show them.
            let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            for shape in [secret.to_owned(), bytes.join(", "), hex] {
                let line = text.lines().find(|line| line.contains(&shape));
                assert_eq!(line, None, "{name} is in a log");
            }
        }
    }
}
