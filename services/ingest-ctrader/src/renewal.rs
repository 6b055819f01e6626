use std::time::Duration;

use secrecy::ExposeSecret;
use tickcast_session::{Now, SessionOutput};
use tracing::{error, info};

use crate::memory::Memory;
use crate::messages::{Refusal, wire};
use crate::outgoing::Outgoing;
use crate::refusal::Meaning;
use crate::requests::About;
use crate::tokens::NewPair;

/// So long after the request an answer is waited for before an end of the connection (facts 3.2: the old refresh token is
/// dead by then, so its answer must not be lost).
const LATE_WITHIN: Duration = Duration::from_secs(12);
/// Time for the new pair to be stored; then it is used all the same.
const KEEP_WITHIN: Duration = Duration::from_secs(5);
/// A pair that could not be stored is tried again after this.
const KEEP_AGAIN: Duration = Duration::from_secs(60);
/// So long the venue may take to end the session of the old token, before the account is logged in with the new one.
const SETTLE: Duration = Duration::from_secs(1);
/// So long after a renewal the venue may still speak of the old token.
const REPLACED_WITHIN: Duration = Duration::from_secs(10);

/// The renewal of the tokens on one connection (facts 3.2): asks ahead of their end, has the new pair stored before it is
/// used, adopts it however late it comes, and lets what the venue says of the old session pass before the next login.
pub(crate) struct Renewal {
    memory: Memory,
    state: State,
    asked_at: Duration,
    /// When to ask ahead of the tokens' end.
    due: Option<Duration>,
    free: bool,
    /// Until when the answer of the store is waited for.
    keeping: Option<Duration>,
    keep_again_at: Duration,
    /// A new pair waits to be stored; true where the account was logged in with the old one.
    adopted: Option<bool>,
    adopted_at: Option<Duration>,
    /// Until when the venue may speak of the old session before the account is logged in again.
    settling: Option<Duration>,
    heard: Heard,
    failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Asked,
    /// Not answered in time; the answer may still come.
    Late,
}

/// What the venue said of the session that is being replaced.
#[derive(Clone, Copy, Default)]
struct Heard {
    token: bool,
    account: bool,
}

impl Renewal {
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            memory,
            state: State::Idle,
            asked_at: Duration::ZERO,
            due: None,
            free: true,
            keeping: None,
            keep_again_at: Duration::ZERO,
            adopted: None,
            adopted_at: None,
            settling: None,
            heard: Heard::default(),
            failure: None,
        }
    }

    /// Fixes when to renew ahead of the tokens' end; `free` where no account is logged in that could lose its session.
    /// The wall clock is read here only, so its steps move nothing that is planned.
    pub(crate) fn plan(&mut self, now: Now, free: bool) {
        self.free = free;
        self.due = self.memory.lock().tokens.refresh_due(now, free);
    }

    /// Notes what time brought; true where the account has to be logged in with the new tokens now.
    pub(crate) fn advance(&mut self, now: Now, out: &mut Outgoing) -> bool {
        if self.keeping.is_some_and(|until| until <= now.elapsed) {
            self.kept(now, out, false);
        }
        if self.state == State::Late && self.asked_at + LATE_WITHIN <= now.elapsed {
            self.state = State::Idle;
            self.failure = Some("the venue did not answer the request to renew it".to_owned());
            self.plan(now, self.free);
        }
        let heard_all = self.heard.token && self.heard.account;
        let settled = self.settling.is_some_and(|until| until <= now.elapsed || heard_all);
        if settled {
            self.settling = None;
        }
        settled
    }

    /// Has a pair stored that is not yet.
    pub(crate) fn keep(&mut self, now: Now, out: &mut Outgoing) {
        if self.keeping.is_some() || self.keep_again_at > now.elapsed {
            return;
        }
        let memory = self.memory.lock();
        if memory.tokens.unsaved() {
            out.tell(SessionOutput::Keep(memory.tokens.file_text()));
            self.keeping = Some(now.elapsed + KEEP_WITHIN);
        }
    }

    /// True where the tokens end soon and a renewal may be asked for.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.is_idle() && self.due.is_some_and(|due| due <= now.elapsed)
    }

    /// Asks for new tokens, where they can be had; true where the login has to wait for that.
    pub(crate) fn ask(&mut self, now: Now, out: &mut Outgoing) -> bool {
        let due = self.is_due(now);
        let mut memory = self.memory.lock();
        if !self.is_idle() || !(due || memory.tokens.may_refresh(now)) {
            return false;
        }
        let Some(token) = memory.tokens.refresh() else { return false };
        let request = wire::ProtoOaRefreshTokenReq {
            refresh_token: token.expose_secret().to_owned(),
            ..Default::default()
        };
        if out.ask(now, &About::Refresh, &request) {
            memory.tokens.attempted(now);
            self.state = State::Asked;
            self.asked_at = now.elapsed;
            self.heard = Heard::default();
            (self.due, self.failure) = (None, None);
        }
        true
    }

    /// Takes new tokens, in time or late; false where they are known. `live` says that an account may be logged in with the
    /// old ones.
    pub(crate) fn adopt(&mut self, now: Now, out: &mut Outgoing, new: NewPair, live: bool) -> bool {
        {
            let mut memory = self.memory.lock();
            let known = memory.tokens.access().expose_secret() == new.access.expose_secret();
            if known || new.access.expose_secret().is_empty() {
                drop(memory);
                out.odd("tokens_known");
                return false;
            }
            memory.tokens.adopt(now, new);
        }
        if self.state != State::Asked {
            out.odd("late_tokens");
        }
        info!("access token renewed");
        self.state = State::Idle;
        self.adopted = Some(live);
        self.adopted_at = Some(now.elapsed);
        self.keep_again_at = Duration::ZERO;
        self.plan(now, self.free);
        self.keep(now, out);
        true
    }

    /// The new pair is stored, or could not be. It is held in memory in any case, and storing it is tried again.
    pub(crate) fn kept(&mut self, now: Now, out: &mut Outgoing, stored: bool) {
        if self.keeping.take().is_none() {
            return;
        }
        if stored {
            self.memory.lock().tokens.saved();
        } else {
            // The store said why, to the people who can mend it.
            out.odd("tokens_not_stored");
            self.keep_again_at = now.elapsed + KEEP_AGAIN;
        }
        if self.adopted.take() == Some(true) {
            let settled_at = self.adopted_at.unwrap_or(now.elapsed) + SETTLE;
            self.settling = Some(settled_at.max(now.elapsed));
        }
    }

    /// The venue refused to renew.
    pub(crate) fn refused(&mut self, now: Now, out: &mut Outgoing, refusal: &Refusal) {
        self.state = State::Idle;
        self.failure = Some(format!("renewing it was refused: {}", refusal.words()));
        if refusal.meaning() == Meaning::Token {
            // It works once: another try could only be refused again. The access token may last for days yet, in which a
            // person can act, so this is said now and not when it ends.
            self.memory.lock().tokens.refresh_refused();
            out.odd("refresh_token_refused");
            let refusal = refusal.words();
            error!(
                refusal,
                "refresh token not accepted: give the application access again and set new tokens"
            );
        } else {
            out.odd("refresh_failed");
        }
        self.plan(now, self.free);
    }

    /// No answer in time. The tokens may be dead all the same, so it stays welcome.
    pub(crate) fn unanswered(&mut self) {
        self.state = State::Late;
    }

    /// Notes that the venue ended the account's session; true where that belongs to a renewal under way.
    pub(crate) fn heard_loss(&mut self, token: bool) -> bool {
        let renewing = !self.is_idle() || self.adopted.is_some();
        if renewing {
            self.heard.token |= token;
            self.heard.account |= !token;
        }
        renewing
    }

    /// True for words about a token that was replaced before the present session began.
    pub(crate) fn is_of_replaced_session(&self, now: Now, opened_at: Duration) -> bool {
        self.adopted_at.is_some_and(|at| opened_at >= at && now.elapsed < at + REPLACED_WITHIN)
    }

    /// True while no account should be logged in, for the tokens are about to change.
    pub(crate) fn holds_login(&self) -> bool {
        self.state == State::Asked || self.keeping.is_some() || self.settling.is_some()
    }

    /// True while new tokens may be lost with the connection.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.state != State::Idle || self.keeping.is_some()
    }

    /// Why the last renewal failed, in words.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    /// What it waits for, in words.
    pub(crate) fn words(&self) -> &'static str {
        match (self.state, self.keeping) {
            (_, Some(_)) => "the new tokens are being stored",
            (State::Asked | State::Late, None) => "the venue's answer",
            (State::Idle, None) => "the account's login with the new token",
        }
    }

    /// The first time after this one at which something is to be done.
    pub(crate) fn deadline(&self, after: Duration) -> Option<Duration> {
        let late = (self.state == State::Late).then_some(self.asked_at + LATE_WITHIN);
        let due = self.due.filter(|_| self.is_idle());
        let times = [late, due, Some(self.keep_again_at), self.keeping, self.settling];
        times.into_iter().flatten().filter(|at| *at > after).min()
    }

    fn is_idle(&self) -> bool {
        self.state == State::Idle && self.keeping.is_none() && self.settling.is_none()
    }
}
