use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sim_ctrader::wire::ProtoOaSpotEvent;
use sim_ctrader::{Catalogue, Now, Output, SimulatedVenue as _, Venue, VenueSettings, put_frame};

use crate::error::BenchError;
use crate::pace::Pace;

/// A venue for one connection: it answers requests as the simulator does until all symbols are subscribed, and from then
/// on only sends quotes, at the pace it is told.
pub(crate) struct FloodVenue {
    pub(crate) addr: SocketAddr,
    pub(crate) pace: Pace,
    subscribed: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), BenchError>>>,
}

impl FloodVenue {
    /// Opens the listener and writes the certificate that the client has to trust.
    pub(crate) fn start(
        symbols: usize,
        quotes_per_record: usize,
        ca_file: &Path,
    ) -> Result<Self, BenchError> {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(ca_file, issued.cert.pem())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let (pace, subscribed) = (Pace::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (pace, subscribed) = (pace.clone(), Arc::clone(&subscribed));
            std::thread::spawn(move || {
                serve(&listener, &Arc::new(tls), symbols, quotes_per_record, &pace, &subscribed)
            })
        };
        Ok(Self { addr, pace, subscribed, thread: Some(thread) })
    }

    /// True once the client has subscribed to all symbols.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Acquire)
    }
}

impl Drop for FloodVenue {
    fn drop(&mut self) {
        self.pace.end();
        // A thread that still waits for its client ends with the process.
        if self.is_subscribed()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// The names a venue with so many symbols offers.
pub(crate) fn names(symbols: usize) -> Vec<String> {
    Catalogue::new(symbols).listings().iter().map(|listing| listing.name.clone()).collect()
}

fn serve(
    listener: &TcpListener,
    tls: &Arc<ServerConfig>,
    symbols: usize,
    quotes_per_record: usize,
    pace: &Pace,
    subscribed: &AtomicBool,
) -> Result<(), BenchError> {
    // `ticks_per_s` of one a symbol until the flood begins; its own quotes do no harm.
    let settings = VenueSettings { symbols, ticks_per_s: 1, ..VenueSettings::default() };
    let account = settings.account_id;
    let mut venue = Venue::new(settings);
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(tls))?, stream);
    let began = Instant::now();
    let id = venue.open(now(began));
    let mut bytes = vec![0; 64 * 1024];
    while venue.subscribed(id).len() < symbols {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        venue.receive(id, now(began), &bytes[..count]);
        while let Some(output) = venue.poll() {
            if let Output::Send { message: bytes, .. } = output {
                stream.write_all(&bytes)?;
            }
        }
        stream.flush()?;
    }
    subscribed.store(true, Ordering::Release);
    let mut quotes = Quotes::new(&venue, account);
    // Records are collected and leave in one write a turn: what a write costs is the sender's matter.
    stream.conn.set_buffer_limit(None);
    let flooded = pace.run(|events| {
        let mut left = events;
        while left > 0 {
            let count = left.min(quotes_per_record);
            stream.conn.writer().write_all(quotes.next(count))?;
            left -= count;
        }
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock)?;
        }
        Ok(())
    });
    // The end of the measured program ends the connection.
    match flooded {
        Err(error) if !is_end(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn now(began: Instant) -> Now {
    Now { elapsed: began.elapsed(), unix_ms: unix_ms() }
}

fn unix_ms() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)
}

/// Quotes as frames, made beforehand: every third changes both sides, the others one, all symbols in turn.
struct Quotes {
    frames: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    next: usize,
}

/// Frames made beforehand.
const FRAMES: usize = 8_192;

impl Quotes {
    fn new(venue: &Venue, account_id: i64) -> Self {
        let (frames, ends) = spot_frames(venue.catalogue(), account_id, FRAMES);
        Self { frames, ends, next: 0 }
    }

    /// The bytes of the next events, at most as many as there are up to the end of the round.
    fn next(&mut self, events: usize) -> &[u8] {
        // A round ends where a turn would not fit, so that a turn is one slice.
        if self.next + events > self.ends.len() {
            self.next = 0;
        }
        let from = if self.next == 0 { 0 } else { self.ends[self.next - 1] };
        self.next = (self.next + events).min(self.ends.len());
        &self.frames[from..self.ends[self.next - 1]]
    }
}

/// `events` spot events as frames, with the place where each ends.
pub(crate) fn spot_frames(catalogue: &Catalogue, account_id: i64, events: usize) -> (Vec<u8>, Vec<usize>) {
    let mut out = BytesMut::new();
    let mut ends = Vec::with_capacity(events);
    let listings = catalogue.listings().iter().enumerate().cycle().take(events);
    for (number, (_, listing)) in listings.enumerate() {
        let step = u64::try_from(number % 17).unwrap_or(0) * listing.tick();
        let bid = listing.start + step;
        let event = ProtoOaSpotEvent {
            ctid_trader_account_id: account_id,
            symbol_id: listing.id,
            bid: (number % 3 != 1).then_some(bid),
            ask: (number % 3 != 2).then_some(bid + listing.spread_ticks * listing.tick()),
            timestamp: Some(unix_ms()),
            ..ProtoOaSpotEvent::default()
        };
        put_frame(&mut out, &event, None);
        ends.push(out.len());
    }
    (out.to_vec(), ends)
}
