//! A service process from outside: this test starts itself as the service and looks at its exit codes, its log lines,
//! its pages and what it exports.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tickcast_service::{About, Context, Reader, trace};

/// Set in the environment of the process that plays the service; its value says what the service does.
const PART: &str = "SERVICE_UNDER_TEST";

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    if std::env::var_os(PART).is_some() {
        let about = About {
            name: "probe",
            version: "1.2.3",
            purpose: "Is looked at by tests.",
            admin_default: "127.0.0.1:0",
        };
        return tickcast_service::main(about, read, run);
    }
    let trials: [(&str, fn()); 13] = [
        ("problems_with_the_settings_are_told_at_once_before_a_port_opens", problems_are_told),
        ("help_names_every_variable_with_default_and_unit", help_names_every_variable),
        ("version_is_name_and_number", version_is_told),
        ("unknown_arguments_are_refused", unknown_arguments_are_refused),
        ("pages_are_served_and_sigterm_ends_the_service_with_0", pages_are_served),
        ("sigint_ends_the_service_with_0", sigint_ends_the_service),
        ("a_service_that_fails_ends_with_1_and_says_why", failure_is_told),
        ("a_service_that_does_not_stop_is_given_up_with_1", a_hanging_service_is_given_up),
        ("a_second_signal_ends_the_service_at_once_with_130", a_second_signal_ends_at_once),
        ("a_panic_is_logged_with_its_place", a_panic_is_logged),
        ("a_service_whose_pages_have_failed_ends_with_1", failed_pages_end_the_service),
        ("spans_are_exported_in_the_trace_they_were_called_from", spans_are_exported),
        ("a_collector_that_is_away_disturbs_nothing", a_missing_collector_disturbs_nothing),
    ];
    let trials = trials.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

// The service.

struct Settings {
    part: &'static str,
    token: secrecy::SecretString,
}

fn read(reader: &mut Reader) -> Settings {
    let parts = ["wait", "fail", "hang", "panic", "span", "clash"];
    let part = reader.choice(PART, &parts, "wait", "what the service does");
    let token = reader.secret("PROBE_TOKEN", "a token");
    reader.number("PROBE_SIZE", 7_u32, 1..=9, "bytes", "a size");
    Settings { part, token }
}

async fn run(settings: Settings, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    assert_eq!(settings.token.expose_secret(), "hush-hush");
    context.status.provide("probe", || serde_json::json!({ "answer": 42 }));
    let ready = context.ready.clone();
    let routes = axum::Router::new().route(
        "/set-ready",
        axum::routing::post(async move || {
            ready.set("probe", Ok(()));
        }),
    );
    context.admin.add(routes);
    context.ready.declare("probe");
    tracing::info!(max_level = %tracing::level_filters::LevelFilter::current(), "running");
    match settings.part {
        "fail" => return Err("the disk is full".into()),
        "hang" => std::future::pending().await,
        "panic" => _ = tokio::spawn(async { panic!("out of cheese") }).await,
        "clash" => {
            // Found by the first connection, within the task that serves all of them.
            context.admin.add(axum::Router::new().route("/healthz", axum::routing::get("mine")));
            tracing::info!("clashing");
            context.stop.cancelled().await;
        }
        "span" => {
            let span = tracing::info_span!("probe-span");
            trace::adopt(&span, |name| (name == "traceparent").then(|| CALLER.to_owned()));
            span.in_scope(|| trace::inject(|name, value| tracing::info!(name, value, "header")));
        }
        _ => context.stop.cancelled().await,
    }
    Ok(())
}

/// A trace context as a caller sends it.
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

// The tests.

fn problems_are_told() {
    let environment =
        [("ADMIN_ADDR", "nowhere"), ("PROBE_SIZE", "12"), ("LOG", "x=y=z"), ("PROBE_TOKEN", "")];
    let (code, stdout, stderr) = Service::start("wait", &environment, &[]).end();
    assert_eq!(code, Some(64));
    assert_eq!(stdout, "");
    for part in ["ADMIN_ADDR: ", "PROBE_SIZE: ", "LOG: ", "PROBE_TOKEN: is required"] {
        assert!(stderr.contains(part), "{part} is missing in {stderr}");
    }
    assert!(!stderr.contains("listening"), "{stderr}");
}

fn help_names_every_variable() {
    let (code, stdout, _) = Service::start("wait", &[("PROBE_TOKEN", "")], &["--help"]).end();
    assert_eq!(code, Some(0));
    let line = |name: &str| {
        let found = stdout.lines().find(|line| line.split_whitespace().next() == Some(name));
        found
            .unwrap_or_else(|| panic!("{name} is missing in {stdout}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(line("PROBE_SIZE"), ["PROBE_SIZE", "7", "bytes", "a", "size"]);
    assert_eq!(line("PROBE_TOKEN"), ["PROBE_TOKEN", "required", "a", "token", "(secret)"]);
    assert_eq!(line("ADMIN_ADDR")[1], "127.0.0.1:0");
    for name in ["LOG", "LOG_FORMAT", "OTEL_EXPORTER_OTLP_ENDPOINT", "STOP_TIMEOUT_MS"] {
        line(name);
    }
    assert!(stdout.starts_with("probe 1.2.3\nIs looked at by tests.\n"), "{stdout}");
}

fn version_is_told() {
    let (code, stdout, _) = Service::start("wait", &[], &["--version"]).end();
    assert_eq!((code, stdout.as_str()), (Some(0), "probe 1.2.3\n"));
}

fn unknown_arguments_are_refused() {
    let (code, stdout, stderr) = Service::start("wait", &[], &["--verbose"]).end();
    assert_eq!((code, stdout.as_str()), (Some(64), ""));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

fn pages_are_served() {
    let mut service = Service::start("wait", &[], &[]);
    let admin = service.admin();
    // What is below the wanted level must cost one comparison, with and without an exporter.
    assert_eq!(service.line("running")["max_level"], "info");

    let (head, body) = fetch(admin, "GET", "/healthz");
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok\n", "{head}{body}");

    let (head, body) = fetch(admin, "GET", "/readyz");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(json(&body), json(r#"{"ready":false,"reasons":["probe: starting"]}"#));
    fetch(admin, "POST", "/set-ready");
    let (head, body) = fetch(admin, "GET", "/readyz");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(json(&body), json(r#"{"ready":true,"reasons":[]}"#));

    let (head, body) = fetch(admin, "GET", "/metrics");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(
        body.contains("tickcast_build_info{service=\"probe\",version=\"1.2.3\",instance=\"probe-"),
        "{body}"
    );

    let status = json(&fetch(admin, "GET", "/status").1);
    assert_eq!((&status["name"], &status["version"]), (&"probe".into(), &"1.2.3".into()));
    assert_eq!((&status["ready"], &status["probe"]["answer"]), (&true.into(), &42.into()));
    assert!(status["uptime_s"].is_u64() && status["instance"].is_string(), "{status}");

    service.signal("TERM");
    let (code, _, stderr) = service.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("hush-hush"), "{stderr}");
    assert!(TcpStream::connect(admin).is_err(), "the port is still open");
}

fn sigint_ends_the_service() {
    let mut service = Service::start("wait", &[], &[]);
    service.line("running");
    service.signal("INT");
    assert_eq!(service.end().0, Some(0));
}

fn failure_is_told() {
    let (code, _, stderr) = Service::start("fail", &[], &[]).end();
    assert_eq!(code, Some(1));
    let told =
        stderr.lines().map(json).any(|line| line["level"] == "ERROR" && line["error"] == "the disk is full");
    assert!(told, "{stderr}");
}

fn a_hanging_service_is_given_up() {
    let mut service = Service::start("hang", &[("STOP_TIMEOUT_MS", "100")], &[]);
    service.line("running");
    service.signal("TERM");
    let line = service.line("the service did not stop, given up");
    assert_eq!((&line["level"], &line["waited_ms"]), (&"ERROR".into(), &100.into()));
    assert_eq!(service.end().0, Some(1));
}

fn a_second_signal_ends_at_once() {
    let mut service = Service::start("hang", &[], &[]);
    service.line("running");
    service.signal("TERM");
    service.line("stopping");
    service.signal("INT");
    assert_eq!(service.end().0, Some(130));
}

fn a_panic_is_logged() {
    let mut service = Service::start("panic", &[], &[]);
    let line = service.line("panicked");
    assert_eq!((&line["level"], &line["text"]), (&"ERROR".into(), &"out of cheese".into()));
    assert!(line["place"].as_str().unwrap().contains("process.rs:"), "{line}");
    assert_eq!(service.end().0, Some(0));
}

fn failed_pages_end_the_service() {
    let mut service = Service::start("clash", &[], &[]);
    let admin = service.admin();
    service.line("clashing");
    let _connection = TcpStream::connect(admin).unwrap();
    let line = service.line("a task has ended that is needed to serve, the service ends with it");
    assert_eq!((&line["level"], &line["task"]), (&"ERROR".into(), &"admin".into()));
    assert_eq!(service.line("failed")["error"], "the admin task has failed");
    assert_eq!(service.end().0, Some(1));
}

fn spans_are_exported() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", sink.local_addr().unwrap());
    let (send, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in sink.incoming() {
            let _ = send.send(take_request(&mut stream.unwrap()));
        }
    });
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "key=abc")];
    let mut service = Service::start("span", &environment, &[]);
    assert_eq!(service.line("running")["max_level"], "info");
    let header = service.line("header");
    assert_eq!(header["name"], "traceparent");
    assert!(
        header["value"].as_str().unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{header}"
    );
    assert_eq!(service.end().0, Some(0));

    let (head, body) = requests.recv_timeout(DEADLINE).unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf") && head.contains("key: abc"), "{head}");
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert!(holds(b"probe-span") && holds(b"service.name") && holds(b"service.instance.id"));
    assert!(holds(&[0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd]), "the caller's trace is missing");
    // The export's own request must not cause another one.
    assert!(!holds(b"POST"), "the exporter exported itself");
    assert!(requests.try_recv().is_err(), "a second export came for one span");
}

fn a_missing_collector_disturbs_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{free}");
    let (code, _, stderr) = Service::start("span", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], &[]).end();
    assert_eq!(code, Some(0), "{stderr}");
    let warnings = stderr.lines().map(json).filter(|line| line["level"] == "WARN").count();
    assert_eq!(warnings, 1, "{stderr}");
}

// What the tests use.

struct Service {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Service {
    fn start(part: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env_clear()
            .env("LOG_FORMAT", "json")
            .env("PROBE_TOKEN", "hush-hush")
            .env(PART, part)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for the log line with this message.
    fn line(&mut self, message: &str) -> Value {
        loop {
            let Ok(line) = self.lines.recv_timeout(DEADLINE) else {
                panic!("no line {message:?} in {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            let line = json(&line);
            if line["message"] == message {
                return line;
            }
        }
    }

    /// The address of the admin pages, as the service logs it.
    fn admin(&mut self) -> SocketAddr {
        let line = self.line("listening");
        assert_eq!(line["what"], "admin");
        line["addr"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end: exit code, standard output, standard error from its beginning.
    fn end(mut self) -> (Option<i32>, String, String) {
        // The line channel closes when the process has ended; a process that does not end fails the wait.
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("does not end: {:#?}", self.seen),
            }
        }
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, stdout, std::mem::take(&mut self.seen).join("\n"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only a failed test leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP request, its bytes sent one at a time; head (in small letters) and body of the answer.
fn fetch(addr: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for byte in request.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Reads one HTTP request with a body and answers it with 200 and nothing.
fn take_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut reader = BufReader::new(&*stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    (head, body)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}
