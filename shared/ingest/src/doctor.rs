//! Examines the way to a venue step by step and says in a line each what is right or what to do. It changes nothing: no
//! demand is said, nothing is published, nothing stored, no token renewed.

mod advice;
mod exam;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Event;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tickcast_bus::{BusSettings, connect, decode_health, health_subject};
use tickcast_model::{Cause, CauseKind, DataState, Symbol, VenueHealth, VenueId};
use tickcast_service::{Examiner, Finding, Verdict};
use tickcast_session::{Session, SessionOutput};
use tokio::sync::watch;
use tokio::time::timeout;

pub use advice::Names;
use exam::{Exam, Patience};

use crate::link::{Link, LinkEvent};
use crate::{Clock, IngestError, IngestSettings, TlsDialler, Transport};

/// What a doctor needs to know of a venue.
pub struct Patient<S> {
    /// Whose way is examined.
    pub venue: VenueId,
    /// The settings of its ingest.
    pub settings: IngestSettings,
    /// How it is dialled.
    pub dialler: Result<TlsDialler, IngestError>,
    /// A session that logs in with what is configured, and renews nothing.
    pub session: S,
    /// What its settings are called.
    pub names: Names,
    /// Symbols worth looking at, the best first; where the venue has none of them, its first one is taken.
    pub favourites: Vec<Symbol>,
}

/// Time to hear of an ingest that runs already: more than two beats (contract, section 4).
const LISTEN_FOR: Duration = Duration::from_millis(2_500);
/// Time to reach the bus.
const BUS_WITHIN: Duration = Duration::from_secs(2);
/// Every step, in its order.
const STEPS: [&str; 8] = ["settings", "running", "dns", "tcp", "tls", "login", "symbols", "tick"];

/// Examines settings, DNS, TCP, TLS, login, symbols and one tick, and tells what it finds.
///
/// A venue allows an account one connection (the service's), so where an ingest runs that is connected and logged in,
/// nothing is dialled and what that ingest says counts, unless the examiner insists. Where the bus cannot be reached it
/// is not known whether one runs; then the venue is dialled for the seconds this takes. Each step has an end:
/// `CONNECT_TIMEOUT_MS` for dialling, TLS, login and symbols each, `STALE_AFTER_MS` for the tick.
pub async fn doctor<S: Session>(patient: Patient<S>, examiner: &Examiner) {
    let Patient { venue, settings, dialler, session, names, favourites } = patient;
    let dialler = match dialler {
        Ok(dialler) => dialler,
        Err(error) => {
            let advice = format!("see {} and {}", names.host, names.ca_file);
            examiner.tell(&Finding::wrong("settings", error.to_string(), advice));
            return skip(examiner, "settings", "the settings come first");
        }
    };
    let (host, port) = dialler.target();
    examiner.tell(&Finding::new("settings", Verdict::Right, format!("complete, for {host}:{port}")));

    let running = running(&settings.bus, &venue).await;
    examiner.tell(&told(&venue, &running, examiner.force));
    if let Running::Holds(health) = &running
        && health.is_ready()
        && !examiner.force
    {
        return skip(
            examiner,
            "running",
            "the ingest that runs holds the connection (--force dials beside it)",
        );
    }

    let within = settings.connect_timeout();
    match way(&dialler, names, within, examiner).await {
        Ok(stream) => {
            let patience = Patience { answer: within, tick: settings.stale_after() };
            examine(session, stream, names, patience, favourites, examiner).await;
        }
        Err(step) => skip(examiner, step, "no connection"),
    }
}

/// Says that the steps after this one were not come to.
fn skip(examiner: &Examiner, after: &str, words: &str) {
    let left = STEPS.iter().skip_while(|step| **step != after).skip(1);
    left.for_each(|step| examiner.tell(&Finding::new(step, Verdict::Skipped, words)));
}

/// Whether an ingest of the venue runs, as the bus tells.
enum Running {
    /// The bus cannot be asked.
    Unknown(String),
    /// No beat was heard.
    Nobody,
    /// This one beats.
    Holds(Box<VenueHealth>),
}

async fn running(bus: &BusSettings, venue: &VenueId) -> Running {
    let (is_up, mut connected) = watch::channel(false);
    let notice = move |event| _ = is_up.send_replace(matches!(event, Event::Connected));
    let client = match connect(bus, "doctor", 16, notice).await {
        Ok(client) => client,
        Err(error) => return Running::Unknown(error.to_string()),
    };
    if !matches!(timeout(BUS_WITHIN, connected.wait_for(|is_up| *is_up)).await, Ok(Ok(_))) {
        return Running::Unknown("the bus of NATS_URL is not reached".into());
    }
    let Ok(mut beats) = client.subscribe(health_subject(venue)).await else {
        return Running::Unknown("the bus takes no subscription".into());
    };
    let heard = async {
        while let Some(message) = beats.next().await {
            if let Ok(health) = decode_health(&message.payload)
                && health.venue == *venue
            {
                return Some(health);
            }
        }
        None
    };
    match timeout(LISTEN_FOR, heard).await {
        Ok(Some(health)) => Running::Holds(Box::new(health)),
        Ok(None) | Err(_) => Running::Nobody,
    }
}

fn told(venue: &VenueId, running: &Running, force: bool) -> Finding {
    let step = "running";
    match running {
        Running::Unknown(why) => Finding::new(
            step,
            Verdict::Note,
            format!(
                "whether an ingest of {venue} runs is not known: {why}; the service itself needs the bus"
            ),
        ),
        Running::Nobody => Finding::new(step, Verdict::Right, format!("no ingest of {venue} runs")),
        Running::Holds(health) => {
            let axes = format!(
                "link {}, login {}, data {}",
                health.link.as_str(),
                health.auth.as_str(),
                health.data.as_str()
            );
            let cause = health.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
            let words = format!("an ingest of {venue} runs: {axes}{cause}");
            if !health.is_ready() || force {
                let words = format!("{words}; for some seconds both may be connected");
                Finding::new(step, Verdict::Note, words)
            } else if health.data == DataState::Stale {
                Finding::wrong(step, words, "ask a gateway why: GET /api/v1/why?symbol=")
            } else {
                Finding::new(step, Verdict::Right, words)
            }
        }
    }
}

/// DNS, TCP and TLS, each with its own end. The error is the step that failed.
async fn way(
    dialler: &TlsDialler,
    names: Names,
    within: Duration,
    examiner: &Examiner,
) -> Result<Box<dyn Transport>, &'static str> {
    let failed = |step, cause: &Cause| {
        examiner.tell(&Finding::wrong(step, cause.to_string(), names.advice(cause.kind)));
        step
    };
    let too_long = |_| Cause::new(CauseKind::ConnectTimeout, format!("more than {} ms", within.as_millis()));
    let right = |step, words: String| examiner.tell(&Finding::new(step, Verdict::Right, words));

    let addresses: Vec<SocketAddr> = timeout(within, dialler.resolve())
        .await
        .unwrap_or_else(|_| {
            Err(Cause::new(CauseKind::Dns, format!("no answer within {} ms", within.as_millis())))
        })
        .map_err(|cause| failed("dns", &cause))?;
    let shown: Vec<String> =
        addresses.iter().take(ADDRESSES_SHOWN).map(|address| address.ip().to_string()).collect();
    right("dns", format!("{} is {}", dialler.target().0, shown.join(", ")));

    let (address, stream) = timeout(within, dialler.connect(&addresses))
        .await
        .unwrap_or_else(|elapsed| Err(too_long(elapsed)))
        .map_err(|cause| failed("tcp", &cause))?;
    right("tcp", format!("{address} takes connections"));

    let stream = timeout(within, dialler.secure(stream))
        .await
        .unwrap_or_else(|_| {
            let words = format!("the TLS handshake is not finished within {} ms", within.as_millis());
            Err(Cause::new(CauseKind::Silence, words))
        })
        .map_err(|cause| failed("tls", &cause))?;
    let secured = if dialler.is_plain() {
        "none, for the venue is on this machine"
    } else {
        "the certificate is trusted and names the host"
    };
    right("tls", secured.into());
    Ok(stream)
}

/// Addresses in one line.
const ADDRESSES_SHOWN: usize = 4;

/// Login, symbols and a tick, over a session that lives as long as that takes.
async fn examine<S: Session>(
    mut session: S,
    stream: Box<dyn Transport>,
    names: Names,
    patience: Patience,
    favourites: Vec<Symbol>,
    examiner: &Examiner,
) {
    let clock = Clock::start();
    let mut link = Link::over(stream);
    let mut received = BytesMut::new();
    let mut exam = Exam::new(clock.now(), names, patience, favourites);
    session.want(clock.now(), &Arc::default());
    session.start(clock.now());
    let mut result = Ok(());
    loop {
        while let Some(output) = session.poll() {
            let now = clock.now();
            match output {
                SessionOutput::Send(bytes) => link.send(&bytes),
                // A doctor changes nothing, so nothing is stored, and what is not stored must not be used.
                SessionOutput::Keep(_) => session.kept(now, Err("the doctor stores nothing".into())),
                output => {
                    if let Some(symbol) = exam.output(now, output) {
                        session.want(now, &Arc::new(BTreeSet::from([symbol])));
                    }
                }
            }
        }
        if let Err(cause) = std::mem::replace(&mut result, Ok(())) {
            exam.fail(&cause);
        }
        let left = exam.left();
        exam.findings().iter().for_each(|finding| examiner.tell(finding));
        left.iter().for_each(|step| examiner.tell(&Finding::new(step, Verdict::Skipped, "not come to")));
        let Some(deadline) = exam.deadline() else { break };
        let due = session.deadline().map_or(deadline, |due| due.min(deadline));
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(clock.instant(due)) => {
                result = session.timeout(clock.now()).map_err(|ending| ending.cause);
                exam.timeout(clock.now());
            }
            event = link.next(&mut received) => match event {
                LinkEvent::Received => {
                    result = session.receive(clock.now(), &received).map_err(|ending| ending.cause);
                    received.clear();
                }
                LinkEvent::Ended(cause) | LinkEvent::Dialled(Err(cause)) => result = Err(cause),
                LinkEvent::Dialled(Ok(())) => {}
            },
        }
    }
    link.close().await;
}
