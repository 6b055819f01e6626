use std::time::Duration;

use ingest_ctrader::{CtraderSession, Memory, SessionSettings, TokenPair};
use sim_ctrader::{ConnectionId, Output, SimulatedVenue as _, Venue, VenueSettings};
use tickcast_model::{ChannelEvent, Lease, Symbol, VenueId};
use tickcast_session::{Action, DemandLimits, DialPace, Now, Supervisor, SupervisorSettings};

use crate::venue::spot_frames;

/// The pure half of an ingest, logged in at the pure half of the simulator and holding all its symbols.
pub struct Upstream {
    supervisor: Supervisor<CtraderSession>,
    now: Now,
    frames: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    next: usize,
}

const EPOCH: u64 = 1_795_132_800_000;
const FRAMES: usize = 8_192;

impl Upstream {
    /// Plays the login and the subscriptions of so many symbols.
    ///
    /// # Panics
    /// Where they do not come to an end: then there is nothing to measure.
    pub fn holding(symbols: usize) -> Self {
        let settings = VenueSettings { symbols, ticks_per_s: 1, ..VenueSettings::default() };
        let account_id = settings.account_id;
        let session = SessionSettings {
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone().into(),
            account_id,
            host: "demo.ctraderapi.com".into(),
            memory: Memory::new(
                TokenPair::new(settings.access_token.clone().into(), None),
                &settings.client_id,
                account_id,
            ),
            heartbeat: Duration::from_secs(10),
        };
        let mut venue = Venue::new(settings);
        let mut now = Now { elapsed: Duration::from_secs(1), unix_us: 1_795_132_800_000_000 };
        let mut supervisor =
            Supervisor::new(supervision(), now, move || CtraderSession::new(session.clone()));
        let names = venue.catalogue().listings().iter().filter_map(|listing| Symbol::new(&listing.name));
        let lease = Lease {
            holder: "bench".into(),
            generation: 1,
            ttl_ms: 3_600_000,
            symbols: names.collect(),
            repeat_last: false,
        };
        supervisor.lease(now, lease);
        let mut connection = None;
        for _ in 0..1_000 {
            now.elapsed += Duration::from_millis(50);
            supervisor.timeout(now);
            while let Some(action) = supervisor.poll() {
                meet(&mut supervisor, &mut venue, &mut connection, now, action);
            }
            if supervisor.session().is_some_and(|session| session.held().len() == symbols) {
                let (frames, ends) = spot_frames(venue.catalogue(), account_id, FRAMES);
                return Self { supervisor, now, frames, ends, next: 0 };
            }
        }
        unreachable!("the simulator grants every subscription");
    }

    /// Gives the supervisor the bytes of so many quotes at once, and `each` the events that come of them.
    pub fn receive(&mut self, quotes: usize, mut each: impl FnMut(ChannelEvent)) {
        let quotes = quotes.clamp(1, FRAMES);
        if self.next + quotes > self.ends.len() {
            self.next = 0;
        }
        let from = if self.next == 0 { 0 } else { self.ends[self.next - 1] };
        self.next += quotes;
        self.now.elapsed += Duration::from_micros(10);
        self.now.unix_us += 10;
        self.supervisor.received(self.now, &self.frames[from..self.ends[self.next - 1]]);
        while let Some(action) = self.supervisor.poll() {
            if let Action::Event(event) = action {
                each(event);
            }
        }
    }
}

fn meet(
    supervisor: &mut Supervisor<CtraderSession>,
    venue: &mut Venue,
    connection: &mut Option<ConnectionId>,
    now: Now,
    action: Action,
) {
    let there = sim_ctrader::Now { elapsed: now.elapsed, unix_ms: now.unix_ms() };
    match (action, *connection) {
        (Action::Dial, _) => {
            *connection = Some(venue.open(there));
            supervisor.dialled(now);
        }
        (Action::Send(bytes), Some(id)) => venue.receive(id, there, &bytes),
        _ => {}
    }
    while let Some(output) = venue.poll() {
        if let Output::Send { message: bytes, .. } = output {
            supervisor.received(now, &bytes);
        }
    }
}

fn supervision() -> SupervisorSettings {
    let hour = Duration::from_secs(3_600);
    SupervisorSettings {
        venue: VenueId::new("ctrader").expect("a venue's name"),
        epoch: EPOCH,
        connect_timeout: hour,
        silence_timeout: hour,
        stale_after: hour,
        symbol_stale_min: Duration::from_secs(5),
        symbol_stale_max: hour,
        backoff_min: Duration::from_millis(500),
        backoff_max: Duration::from_secs(30),
        auth_retry: hour,
        dials: DialPace::unlimited(),
        stable_after: Duration::from_secs(30),
        linger: Duration::from_secs(5),
        demand: DemandLimits { ttl_max: hour, ..DemandLimits::default() },
        channels_max: 100_000,
        seed: 1,
    }
}
