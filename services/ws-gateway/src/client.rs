use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Future as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::debug;

use crate::bulletin::{BulletinSeat, Note};
use crate::feed::Step;
use crate::gateway::Gateway;
use crate::hub::Seat;
use crate::mailbox::Mailbox;
use crate::metrics::seconds_between;
use crate::protocol;
use crate::session::{Action, ClientSession, World as _};
use crate::venues::unix_us;

/// Small: ten thousand idle clients must fit. Larger messages grow it while they last.
const READ_BUFFER_BYTES: usize = 4_096;

/// What is collected before a write to the socket.
const WRITE_BUFFER_BYTES: usize = 8_192;

/// Replies that wait for a client that does not read; one more closes the connection with 4002.
const REPLIES_MAX: usize = 256;

/// Messages put into the socket before others get their turn.
const BURST: usize = 256;

/// A heartbeat is sent after this time without anything else (contract section 2).
const HEARTBEAT_AFTER: Duration = Duration::from_secs(15);

/// A write that makes no progress for this long ends the connection.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Time for the last words.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// Close codes of the contract.
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const PROTOCOL: u16 = 1002;
    /// Never sent: the connection ended without a close frame.
    pub(super) const ABNORMAL: u16 = 1006;
    pub(super) const NOT_TEXT: u16 = 1007;
    pub(super) const TOO_BIG: u16 = 1009;
    pub(super) const NOT_KEPT_UP: u16 = 4002;
    pub(super) const LIMIT: u16 = 4003;
    pub(super) const SILENT: u16 = 4408;
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// We close it, with this code and reason.
    Close(u16, &'static str),
    /// The client closed it, with this code.
    Peer(u16),
    /// It broke.
    Lost,
    /// The client took nothing for too long.
    Stuck,
}

impl End {
    /// The connection limit is reached.
    pub const FULL: Self = Self::Close(code::LIMIT, "connection limit reached");

    fn code(self) -> u16 {
        match self {
            Self::Close(code, _) | Self::Peer(code) => code,
            Self::Lost | Self::Stuck => code::ABNORMAL,
        }
    }
}

/// Serves one browser from the handshake to the end. `early` is what it sent right behind the handshake.
///
/// Everything that goes to the browser goes through here, and nothing else knows how.
pub async fn serve<S>(socket: S, early: Vec<u8>, gateway: Arc<Gateway>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let began = Instant::now();
    gateway.metrics.opened.inc();
    gateway.metrics.connections.inc();
    let mut client = Client::new(open(socket, early, &gateway).await, gateway.clone());
    let end = client.live().await;
    debug!(?end, subscriptions = client.session.subscription_count(), "client gone");
    let socket = client.leave();
    close(socket, end).await;
    gateway.metrics.connections.dec();
    gateway.metrics.closed(end.code());
    gateway.metrics.duration.observe(began.elapsed().as_secs_f64());
}

/// Ends a connection before it began, with a code that says why.
pub async fn refuse<S>(socket: S, early: Vec<u8>, gateway: Arc<Gateway>, end: End)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    gateway.metrics.opened.inc();
    gateway.metrics.closed(end.code());
    close(open(socket, early, &gateway).await, end).await;
}

async fn open<S>(socket: S, early: Vec<u8>, gateway: &Gateway) -> WebSocketStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A message somewhat over the limit is read, so that the connection can be closed in order.
    let most = gateway.limits.message_bytes_max.saturating_mul(2);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    WebSocketStream::from_partially_read(socket, early, Role::Server, Some(config)).await
}

/// Says the last words and waits shortly until the client has heard them.
async fn close<S>(mut socket: WebSocketStream<S>, end: End)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        match end {
            End::Close(code, reason) => {
                let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
                socket.send(Message::Close(Some(frame))).await.ok()?;
            }
            // The answer to the client's own close frame is written already.
            End::Peer(_) => socket.flush().await.ok()?,
            End::Lost | End::Stuck => return None,
        }
        // What the client still sends is read and thrown away: a socket closed with unread data is reset, and the reset
        // can overtake the close frame.
        let raw = socket.get_mut();
        raw.shutdown().await.ok()?;
        let mut rubbish = [0; 1024];
        while raw.read(&mut rubbish).await.ok()? > 0 {}
        Some(())
    };
    // A client that does not take it in time is left alone.
    let _ = tokio::time::timeout(FAREWELL_WITHIN, farewell).await;
}

/// What happened.
enum Turn {
    Received(Message),
    Ended(Option<Error>),
    Notice,
    Timer,
}

struct Client<S> {
    socket: WebSocketStream<S>,
    gateway: Arc<Gateway>,
    session: ClientSession,
    mailbox: Arc<Mailbox>,
    news: BulletinSeat,
    /// Joined channels by the session's slots.
    seats: Vec<Option<Seat>>,
    /// Slots that have something.
    due: VecDeque<u32>,
    replies: VecDeque<Message>,
    /// True where more replies wait than may.
    is_overfull: bool,
    /// What was put into the socket since it was empty.
    burst: Burst,
    timer: Pin<Box<Sleep>>,
    heard_at: Instant,
    said_at: Instant,
    ping_at: Instant,
    blocked_since: Option<Instant>,
    /// When it is closed because the gateway stops.
    close_at: Option<Instant>,
}

#[derive(Default)]
struct Burst {
    messages: usize,
    /// Pings alone do not put off a heartbeat.
    has_text: bool,
    ticks: u64,
    missed: u64,
    /// When the oldest tick arrived, Unix microseconds.
    oldest_us: Option<i64>,
}

impl<S> Client<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(socket: WebSocketStream<S>, gateway: Arc<Gateway>) -> Self {
        let now = Instant::now();
        let mailbox = Arc::new(Mailbox::default());
        let news = gateway.bulletin.join(mailbox.clone());
        if gateway.stop.is_cancelled() {
            mailbox.notice();
        }
        let ping_at = now + gateway.ping.mul_f64(fastrand::f64());
        Self {
            session: ClientSession::new(gateway.limits.clone(), now.into_std()),
            socket,
            gateway,
            mailbox,
            news,
            seats: Vec::new(),
            due: VecDeque::new(),
            replies: VecDeque::new(),
            is_overfull: false,
            burst: Burst::default(),
            timer: Box::pin(tokio::time::sleep_until(ping_at.min(now + HEARTBEAT_AFTER))),
            heard_at: now,
            said_at: now,
            ping_at,
            blocked_since: None,
            close_at: None,
        }
    }

    /// Until the connection ends, or has to.
    async fn live(&mut self) -> End {
        loop {
            let end = match poll_fn(|cx| self.poll_turn(cx)).await {
                Turn::Received(message) => self.receive(message),
                Turn::Ended(error) => Some(end_of(error.as_ref())),
                Turn::Notice => {
                    self.look_around();
                    None
                }
                Turn::Timer => self.on_timer(),
            };
            if let Some(end) = end {
                return end;
            }
            if self.is_overfull {
                self.gateway.metrics.dropped("client_replies");
                return End::Close(code::NOT_KEPT_UP, "could not keep up with control messages");
            }
        }
    }

    /// Gives the socket back and lets go of everything else.
    fn leave(mut self) -> WebSocketStream<S> {
        let held = self.seats.iter().flatten().count();
        self.gateway.metrics.subscriptions.dec_by(i64::try_from(held).unwrap_or(0));
        self.seats.clear();
        self.socket
    }

    /// Writes what there is, and waits for whatever comes first.
    ///
    /// # Cancel safety
    /// All state is in `self`, so nothing is lost where the future is dropped.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        self.mailbox.register(cx.waker());
        if self.mailbox.take_notice() {
            return Poll::Ready(Turn::Notice);
        }
        match self.poll_write(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Turn::Ended(Some(error))),
            Poll::Ready(Ok(())) => self.blocked_since = None,
            Poll::Pending => _ = self.blocked_since.get_or_insert_with(Instant::now),
        }
        match self.socket.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(message))) => return Poll::Ready(Turn::Received(message)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Turn::Ended(Some(error))),
            Poll::Ready(None) => return Poll::Ready(Turn::Ended(None)),
            Poll::Pending => {}
        }
        self.timer.as_mut().poll(cx).map(|()| Turn::Timer)
    }

    /// Puts everything that waits into the socket and flushes it; ready when nothing is left.
    ///
    /// While the socket takes nothing, ticks stay in their rings: memory does not grow, and what is lapped is counted.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let mut put = 0;
            while put < BURST {
                ready!(self.socket.poll_ready_unpin(cx))?;
                let Some(message) = self.next_message() else { break };
                self.burst.has_text |= message.is_text();
                self.burst.messages += 1;
                self.socket.start_send_unpin(message)?;
                put += 1;
            }
            if self.burst.messages == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_flush_unpin(cx))?;
            self.record();
            if put == BURST {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Counts what was written, once for the burst.
    fn record(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        if burst.has_text {
            self.said_at = Instant::now();
        }
        let metrics = &self.gateway.metrics;
        if burst.ticks > 0 {
            metrics.delivered.inc_by(burst.ticks);
        }
        if burst.missed > 0 {
            metrics.missed.inc_by(burst.missed);
        }
        if let Some(oldest_us) = burst.oldest_us {
            metrics.to_socket.observe(seconds_between(oldest_us, unix_us()));
        }
    }

    /// Replies first, then what is said to everybody, then channels in the order in which they were marked.
    fn next_message(&mut self) -> Option<Message> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        match self.news.fetch() {
            Some(Note::Message(message)) => return text(message),
            Some(Note::Missed) => {
                self.gateway.metrics.dropped("client_statuses");
                let venues = &self.gateway.venues;
                self.replies.extend(venues.numbers().filter_map(|venue| text(venues.status(venue))));
                return self.replies.pop_front();
            }
            None => {}
        }
        loop {
            let Some(&slot) = self.due.front() else {
                self.mailbox.take_slots(&mut self.due);
                if self.due.is_empty() {
                    return None;
                }
                continue;
            };
            let seat = self.seats.get_mut(slot as usize).and_then(Option::as_mut);
            // A slot that was left meanwhile has nothing.
            let Some(seat) = seat else {
                self.due.pop_front();
                continue;
            };
            let message = match seat.fetch() {
                Some(Step::Tick(frame)) => {
                    self.burst.ticks += 1;
                    self.burst.oldest_us.get_or_insert(frame.arrived_us);
                    frame.json().clone()
                }
                Some(Step::Snapshot(frame)) => {
                    // Not measured: how old a snapshot is says nothing of the gateway.
                    self.burst.ticks += 1;
                    frame.snapshot().clone()
                }
                Some(Step::Gap(gap)) => {
                    self.burst.missed += gap.missed();
                    seat.channel().with_feed(|feed| feed.writer().gap(&gap))
                }
                Some(Step::State(state)) => state,
                None => {
                    self.due.pop_front();
                    continue;
                }
            };
            return text(message);
        }
    }

    fn receive(&mut self, message: Message) -> Option<End> {
        let now = Instant::now();
        self.heard_at = now;
        if message.len() > self.gateway.limits.message_bytes_max {
            return Some(TOO_BIG);
        }
        let mut actions = Vec::new();
        match message {
            Message::Text(text) => {
                self.session.receive(&text, now.into_std(), &*self.gateway.venues, &mut actions);
            }
            Message::Binary(_) => self.session.receive_binary(now.into_std(), &mut actions),
            Message::Close(frame) => {
                return Some(End::Peer(frame.map_or(code::NORMAL, |frame| frame.code.into())));
            }
            // Pings are answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        self.act(actions);
        None
    }

    fn act(&mut self, actions: Vec<Action>) {
        let gateway = self.gateway.clone();
        for action in actions {
            match action {
                Action::Send(message) => self.reply(message),
                Action::Join { slot, key, away } => {
                    let place = slot as usize;
                    if self.seats.len() <= place {
                        self.seats.resize_with(place + 1, || None);
                    }
                    self.seats[place] = Some(gateway.hub.join(&key, self.mailbox.clone(), slot, away));
                    gateway.metrics.subscriptions.inc();
                }
                Action::Leave { slot } => {
                    if self.seats.get_mut(slot as usize).and_then(Option::take).is_some() {
                        gateway.metrics.subscriptions.dec();
                    }
                }
                Action::Refused(code) => gateway.metrics.error(code),
            }
        }
    }

    fn reply(&mut self, message: Bytes) {
        if self.replies.len() < REPLIES_MAX {
            self.replies.extend(text(message));
        } else {
            self.is_overfull = true;
        }
    }

    /// Something that concerns every client may have changed.
    fn look_around(&mut self) {
        if self.session.is_waiting() {
            let mut actions = Vec::new();
            self.session.resolve(&*self.gateway.venues, &mut actions);
            self.act(actions);
        }
        if self.gateway.stop.is_cancelled() && self.close_at.is_none() {
            // Three quarters of the time to spread the moves, the last quarter for each to make its own.
            let drain = self.gateway.drain;
            let reconnect_in = drain.mul_f64(0.75 * fastrand::f64());
            self.close_at = Some(Instant::now() + reconnect_in + drain / 4);
            self.reply(protocol::goaway(u64::try_from(reconnect_in.as_millis()).unwrap_or(u64::MAX)));
            self.set_timer();
        }
    }

    fn on_timer(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.close_at.is_some_and(|at| now >= at) {
            return Some(End::Close(code::GOING_AWAY, "the gateway is stopping"));
        }
        if self.blocked_since.is_some_and(|since| now >= since + STUCK_AFTER) {
            self.gateway.metrics.dropped("client_socket");
            return Some(End::Stuck);
        }
        if now >= self.ping_at {
            if now >= self.heard_at + 2 * self.gateway.ping {
                return Some(End::Close(code::SILENT, "no sign of life"));
            }
            self.ping_at = now + self.gateway.ping;
            if self.replies.len() < REPLIES_MAX {
                self.replies.push_back(Message::Ping(Bytes::new()));
            }
        }
        if now >= self.said_at + HEARTBEAT_AFTER && self.blocked_since.is_none() {
            self.said_at = now;
            self.reply(protocol::heartbeat(self.gateway.venues.now_ms()));
        }
        self.set_timer();
        None
    }

    /// To the next time something may be due. What is put off meanwhile is noticed when the timer fires.
    fn set_timer(&mut self) {
        let heartbeat_at = match self.blocked_since {
            None => self.said_at + HEARTBEAT_AFTER,
            Some(since) => since + STUCK_AFTER,
        };
        let at = self.ping_at.min(heartbeat_at);
        self.timer.as_mut().reset(self.close_at.map_or(at, |close_at| close_at.min(at)));
    }
}

const TOO_BIG: End = End::Close(code::TOO_BIG, "message too big");

/// How the connection ends that the library cannot read any further.
fn end_of(error: Option<&Error>) -> End {
    match error {
        None => End::Lost,
        Some(Error::Capacity(_)) => TOO_BIG,
        Some(Error::Utf8(_)) => End::Close(code::NOT_TEXT, "text frames hold UTF-8"),
        Some(Error::Protocol(error)) => {
            use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
            if *error == ResetWithoutClosingHandshake {
                End::Lost
            } else {
                End::Close(code::PROTOCOL, "not the WebSocket protocol")
            }
        }
        Some(_) => End::Lost,
    }
}

/// A text message; everything written here is UTF-8, so nothing is left out.
fn text(message: Bytes) -> Option<Message> {
    Utf8Bytes::try_from(message).ok().map(Message::Text)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
