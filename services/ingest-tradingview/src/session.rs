use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tickcast_model::{AuthState, Catalogue, Cause, CauseKind, Symbol};
use tickcast_session::{Ending, Note, Now, Retry, Session, SessionOutput, Standing};

use crate::board::{Board, Limits};
use crate::frame::{Frames, Payload, wrap};
use crate::memory::Memory;
use crate::message::{Incoming, decode, encode};
use crate::socket::{Socket, Upgrade};

/// Who we are to the venue, and how much we ask of it.
#[derive(Clone)]
pub struct SessionSettings {
    pub(crate) upgrade: Upgrade,
    /// What the operator was given; without it we are anonymous.
    pub(crate) auth_token: Option<SecretString>,
    pub(crate) limits: Limits,
    /// What earlier connections showed; every session of a process shares it.
    pub(crate) memory: Memory,
}

impl SessionSettings {
    /// The same with the memory of another process, or of none.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(self, token: SecretString) -> Self {
        Self { auth_token: Some(token), ..self }
    }

    /// Asks this URL (`ws` or `wss`) for the upgrade, as a page of this origin does; `None` where it is no URL.
    pub fn new(url: &str, origin: &str, auth_token: Option<SecretString>, limits: Limits) -> Option<Self> {
        let upgrade = Upgrade { uri: url.parse().ok()?, origin: origin.to_owned() };
        Some(Self { upgrade, auth_token, limits, memory: Memory::default() })
    }
}

/// One connection to a TradingView data socket: WebSocket, greeting, token, and quote sessions that hold exactly the wanted
/// symbols. There is no list of instruments: any name may be asked for.
pub struct TradingViewSession {
    settings: SessionSettings,
    stage: Stage,
    board: Board,
    outputs: VecDeque<SessionOutput>,
}

enum Stage {
    Idle,
    /// The upgrade is asked for, or the greeting is awaited.
    Greeting {
        socket: Socket,
        /// Where the WebSocket is open: when the greeting must have come.
        by: Option<Duration>,
    },
    /// Quotes may be asked for.
    Open {
        socket: Socket,
        /// A token of ours counts as accepted from then on, if nothing showed it before: there is no answer to it.
        accepted_at: Option<Duration>,
    },
    /// No request could be made, or none may be.
    Broken(Ending),
}

/// Whoever speaks this protocol greets at once (facts 1.4).
const GREETING_WITHIN: Duration = Duration::from_secs(10);
/// A bad token is answered, a good one is not (facts 0.6): silence for so long is a yes.
const TOKEN_REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// The token of those who have none (facts 0.6).
const ANONYMOUS: &str = "unauthorized_user_token";
/// A banned client that comes back soon stays banned (facts 5.4).
const BANNED_FOR: Duration = Duration::from_secs(3600);

impl TradingViewSession {
    /// A session for a connection that is about to be opened.
    pub fn new(settings: SessionSettings) -> Self {
        Self::with_rng(settings, fastrand::Rng::new())
    }

    /// The same with names of quote sessions that a seed decides.
    pub fn with_seed(settings: SessionSettings, seed: u64) -> Self {
        Self::with_rng(settings, fastrand::Rng::with_seed(seed))
    }

    fn with_rng(settings: SessionSettings, rng: fastrand::Rng) -> Self {
        let board = Board::new(settings.limits, settings.memory.clone(), rng);
        Self { settings, stage: Stage::Idle, board, outputs: VecDeque::new() }
    }

    /// What the venue streams to us, as far as it said so.
    pub fn held(&self) -> BTreeSet<Symbol> {
        self.board.held()
    }

    fn socket(&mut self) -> Option<&mut Socket> {
        match &mut self.stage {
            Stage::Greeting { socket, .. } | Stage::Open { socket, .. } => Some(socket),
            Stage::Idle | Stage::Broken(_) => None,
        }
    }

    fn odd(&mut self, what: &'static str) {
        self.outputs.push_back(SessionOutput::Note(Note::Odd(what)));
    }

    /// Takes every message that is whole with these bytes.
    fn read(&mut self, now: Now, bytes: &[u8]) -> Result<(), Ending> {
        if let Some(socket) = self.socket() {
            socket.receive(bytes)?;
        }
        if let Stage::Greeting { socket, by } = &mut self.stage
            && socket.is_open()
        {
            by.get_or_insert(now.elapsed + GREETING_WITHIN);
        }
        while let Some(text) = self.socket().map(Socket::next).transpose()?.flatten() {
            self.message(now, &text)?;
        }
        Ok(())
    }

    /// One WebSocket message: the heartbeats in it are answered before anything else is looked at (facts 2.2).
    fn message(&mut self, now: Now, text: &str) -> Result<(), Ending> {
        for payload in Frames::new(text) {
            if let (Ok(Payload::Heartbeat(beat)), Some(socket)) = (payload, self.socket()) {
                socket.send(wrap(beat))?;
            }
        }
        for payload in Frames::new(text) {
            match payload {
                Ok(Payload::Heartbeat(_)) => {}
                Ok(Payload::Json(json)) => match decode(json) {
                    Ok(incoming) => self.incoming(now, incoming)?,
                    Err(_) => self.odd("unreadable_message"),
                },
                Err(_) => self.odd("broken_frame"),
            }
        }
        Ok(())
    }

    fn incoming(&mut self, now: Now, incoming: Incoming<'_>) -> Result<(), Ending> {
        match incoming {
            Incoming::Greeting if matches!(self.stage, Stage::Greeting { .. }) => self.greeted(now),
            Incoming::Greeting => self.odd("second_greeting"),
            Incoming::Quote { session, key, outcome } => {
                self.accepted();
                self.board.quote(now, &session, &key, outcome.as_deref().map_err(Clone::clone));
            }
            Incoming::Completed { session, key } => {
                self.accepted();
                self.board.completed(now, &session, &key);
            }
            Incoming::CriticalError { session, reason, info } => {
                self.board.broken(now, &session, &reason, &info);
            }
            // A session that was refused is unknown to it, and what we had said in it on the way.
            Incoming::ProtocolError(words) if is_unknown_session(&words) => {
                return Err(self.board.limited().unwrap_or_else(|| protocol_error(&words)));
            }
            Incoming::ProtocolError(words) => {
                let ending = protocol_error(&words);
                if ending.cause.kind == CauseKind::AuthRefused
                    && let Some(token) = &self.settings.auth_token
                {
                    self.settings.memory.lock().note_token(token);
                }
                return Err(ending);
            }
            Incoming::Other => self.odd("unknown_message"),
        }
        Ok(())
    }

    /// The far end speaks this protocol: say who we are, and ask for what is wanted.
    fn greeted(&mut self, now: Now) {
        let Stage::Greeting { socket, .. } = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        let token = self.settings.auth_token.as_ref();
        let accepted_at = token.map(|_| now.elapsed + TOKEN_REFUSED_WITHIN);
        let token = token.map_or(ANONYMOUS, |token| token.expose_secret());
        let first = [encode("set_auth_token", [token]), encode("set_locale", ["en", "US"])];
        self.stage = Stage::Open { socket, accepted_at: accepted_at.or(Some(now.elapsed)) };
        if accepted_at.is_none() {
            self.accepted();
        }
        self.board.open(now, first);
    }

    /// The venue has taken our token, as far as it ever shows that.
    fn accepted(&mut self) {
        if let Stage::Open { accepted_at, .. } = &mut self.stage
            && accepted_at.take().is_some()
        {
            self.outputs.push_back(SessionOutput::Auth(AuthState::Ok, None));
            // Its version is the supervisor's to give.
            let catalogue = Catalogue { version: 0, open: true, instruments: Vec::new() };
            self.outputs.push_back(SessionOutput::Catalogue(catalogue));
        }
    }

    /// Brings what was decided on its way; what is told first, for a socket may take no more.
    fn flush(&mut self) -> Result<(), Ending> {
        while let Some(output) = self.board.output() {
            self.outputs.push_back(output);
        }
        if let Stage::Greeting { socket, .. } | Stage::Open { socket, .. } = &mut self.stage {
            while let Some(command) = self.board.command() {
                socket.send(wrap(&command))?;
            }
            self.outputs.extend(socket.outgoing().map(SessionOutput::Send));
        }
        Ok(())
    }

    /// Why this connection must not be used: our token was refused before, and shown again it would be a login loop, for
    /// which accounts are locked (facts 5.3, 5.6).
    fn is_barred(&self) -> Option<Ending> {
        let token = self.settings.auth_token.as_ref()?;
        let words = "the token was refused before and is not shown again: put a new one into TRADINGVIEW_AUTH_TOKEN_FILE, or \
                     restart with a new TRADINGVIEW_AUTH_TOKEN or none";
        let is_refused = self.settings.memory.lock().has_token(token);
        is_refused.then(|| Cause::new(CauseKind::AuthRefused, words).into())
    }

    /// [`Session::want`] and its like cannot end the session; the next timeout does.
    fn flush_or_break(&mut self) {
        if let Err(ending) = self.flush() {
            self.stage = Stage::Broken(ending);
        }
    }
}

impl Session for TradingViewSession {
    fn start(&mut self, _: Now) {
        if let Some(ending) = self.is_barred() {
            self.stage = Stage::Broken(ending);
            return;
        }
        self.outputs.push_back(SessionOutput::Auth(AuthState::Pending, None));
        self.stage = match Socket::new(&self.settings.upgrade) {
            Ok(socket) => Stage::Greeting { socket, by: None },
            Err(ending) => Stage::Broken(ending),
        };
        self.flush_or_break();
    }

    fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Ending> {
        let read = self.read(now, bytes);
        // What came before a bad end counts.
        let flushed = self.flush();
        read.and(flushed)
    }

    fn want(&mut self, now: Now, wanted: &Arc<BTreeSet<Symbol>>) {
        self.board.want(now, wanted);
        self.flush_or_break();
    }

    fn ask_again(&mut self, now: Now, silent: &BTreeSet<Symbol>) {
        self.board.ask_again(now, silent);
        self.flush_or_break();
    }

    fn kept(&mut self, _: Now, _: Result<(), String>) {
        // Nothing of this session is stored, so nothing waits for it.
    }

    fn timeout(&mut self, now: Now) -> Result<(), Ending> {
        match &self.stage {
            Stage::Broken(ending) => return Err(ending.clone()),
            Stage::Greeting { by: Some(by), .. } if *by <= now.elapsed => {
                let words =
                    format!("no greeting within {} s: wrong address, or a proxy", GREETING_WITHIN.as_secs());
                return Err(Cause::new(CauseKind::RequestTimeout, words).into());
            }
            Stage::Open { accepted_at: Some(at), .. } if *at <= now.elapsed => self.accepted(),
            Stage::Idle | Stage::Greeting { .. } | Stage::Open { .. } => {}
        }
        self.board.timeout(now)?;
        self.flush()
    }

    fn deadline(&self) -> Option<Duration> {
        let own = match &self.stage {
            Stage::Idle => None,
            Stage::Broken(_) => Some(Duration::ZERO),
            Stage::Greeting { by, .. } => *by,
            Stage::Open { accepted_at, .. } => *accepted_at,
        };
        [own, self.board.deadline()].into_iter().flatten().min()
    }

    fn poll(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    fn standing(&self, now: Now, symbol: &Symbol) -> Standing {
        let (detail, next) = match &self.stage {
            Stage::Open { .. } => return self.board.standing(now, symbol),
            Stage::Greeting { by: Some(_), .. } => ("the venue has not greeted yet", "its greeting"),
            Stage::Idle | Stage::Greeting { .. } => {
                ("the WebSocket is not open yet", "the answer to the upgrade")
            }
            Stage::Broken(_) => ("no WebSocket was opened", "a new connection"),
        };
        Standing { ok: false, since: None, detail: detail.to_owned(), next: next.to_owned() }
    }
}

/// What the venue says just before it closes the connection (facts 4.3).
fn protocol_error(words: &str) -> Ending {
    let lower = words.to_lowercase();
    if lower.contains("auth token") {
        let advice = format!(
            "{words}: get a new token (TRADINGVIEW_AUTH_TOKEN_FILE, or TRADINGVIEW_AUTH_TOKEN and a restart), or use none"
        );
        return Cause::new(CauseKind::AuthRefused, advice).into();
    }
    if lower.contains("banned") {
        return Ending { cause: Cause::new(CauseKind::RateLimited, words), retry: Retry::After(BANNED_FOR) };
    }
    let kind = if is_unknown_session(words) { CauseKind::Protocol } else { CauseKind::VenueError };
    Cause::new(kind, words).into()
}

fn is_unknown_session(words: &str) -> bool {
    words.contains("unknown_session")
}

#[cfg(test)]
mod tests;
