use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tickcast_model::{Cause, CauseKind, Symbol};
use tickcast_session::{Ending, Now, Session, SessionOutput, Standing};

use crate::frame::FrameReader;
use crate::listing::Listing;
use crate::login::{Identity, Login};
use crate::memory::Memory;
use crate::messages::{self, Incoming, Refusal};
use crate::outgoing::Outgoing;
use crate::refusal::{Meaning, clean};
use crate::requests::About;
use crate::subscriptions::Subscriptions;

/// Who we are to the venue, and how often we say that we live.
#[derive(Clone)]
pub struct SessionSettings {
    /// The host connected to, to tell an account of the other host from a venue that is away.
    pub host: String,
    /// Application id.
    pub client_id: String,
    /// Application secret.
    pub client_secret: SecretString,
    /// The account (`ctidTraderAccountId`, not the login number).
    pub account_id: i64,
    /// Its tokens, and what earlier connections showed.
    pub memory: Memory,
    /// A heartbeat is sent after so long without sending anything (facts 3.3: 10 s or less).
    pub heartbeat: Duration,
}

/// One connection to the cTrader Open API: login, symbol list, and spot quotes of exactly the wanted symbols.
///
/// It takes apart what the venue says and lets its parts compare where they are with where they should be, after each
/// message: `Login` first, then the `Listing`, then the `Subscriptions`.
pub struct CtraderSession {
    account_id: i64,
    heartbeat: Duration,
    reader: FrameReader,
    out: Outgoing,
    login: Login,
    listing: Listing,
    subscriptions: Subscriptions,
    /// The account's session that list and subscriptions were last told of.
    followed: Option<u32>,
    started: bool,
}

impl CtraderSession {
    /// A session for a connection that is about to be opened.
    pub fn new(settings: SessionSettings) -> Self {
        let SessionSettings { host, client_id, client_secret, account_id, memory, heartbeat } = settings;
        Self {
            account_id,
            heartbeat,
            reader: FrameReader::default(),
            out: Outgoing::new(),
            login: Login::new(Identity { host, client_id, client_secret, account_id, memory }),
            listing: Listing::default(),
            subscriptions: Subscriptions::new(account_id),
            followed: None,
            started: false,
        }
    }

    /// The symbols the venue is known to stream: a price came after each subscription.
    pub fn held(&self) -> BTreeSet<Symbol> {
        self.subscriptions.held()
    }

    /// Brings everything a step further that can go further.
    fn work(&mut self, now: Now) -> Result<(), Ending> {
        if !self.started {
            return Ok(());
        }
        self.out.begin_work();
        self.login.advance(now, &mut self.out)?;
        self.follow(now);
        if self.followed.is_some() {
            self.listing.advance(now, &mut self.out, self.account_id);
        }
        if self.listing.is_known() {
            self.subscriptions.reconcile(now, &mut self.out);
        }
        Ok(())
    }

    /// Tells list and subscriptions where the account's session began or ended: nothing of an earlier one is left.
    fn follow(&mut self, now: Now) {
        let session = self.login.session();
        if session == self.followed {
            return;
        }
        self.followed = session;
        self.out.requests.forget_account();
        self.subscriptions.login(now, session.is_some());
        if session.is_some() {
            self.listing.begin(now);
        }
    }

    fn message(&mut self, now: Now, answers: Option<&str>, message: Incoming) -> Result<(), Ending> {
        match message {
            Incoming::Spot(event) => {
                self.subscriptions.spot(now, &mut self.out, &event);
                return Ok(());
            }
            Incoming::Heartbeat => return Ok(()),
            Incoming::Unknown => {
                self.out.odd("unknown_payload_type");
                return Ok(());
            }
            Incoming::SymbolChanged(event) => {
                if event.ctid_trader_account_id == self.account_id {
                    self.subscriptions.changed(&event.symbol_id, &mut self.listing.instruments);
                    self.listing.changed(now);
                }
            }
            Incoming::ClientDisconnect(reason) => return Err(self.login.disconnected(now, &reason)),
            Incoming::AccountDisconnect(account) => {
                if account == self.account_id {
                    let cause = Cause::new(CauseKind::SessionLost, "the venue disconnected the account");
                    self.login.account_lost(now, &mut self.out, cause, false);
                }
            }
            Incoming::TokenInvalidated(accounts, reason) => {
                if accounts.is_empty() || accounts.contains(&self.account_id) {
                    let words = format!("the access token was invalidated {}", clean(&reason));
                    let cause = Cause::new(CauseKind::SessionLost, words.trim_end());
                    self.login.account_lost(now, &mut self.out, cause, true);
                }
            }
            // Whatever id it carries: the old refresh token is dead, and these are the only ones that work.
            Incoming::Refreshed(new) => {
                self.out.requests.answered(answers);
                self.login.refreshed(now, &mut self.out, new);
            }
            Incoming::Error(refusal) => self.refused(now, answers, &refusal)?,
            answer => self.answered(now, answers, answer)?,
        }
        self.follow(now);
        self.work(now)
    }

    fn answered(&mut self, now: Now, answers: Option<&str>, answer: Incoming) -> Result<(), Ending> {
        let Some(about) = self.out.requests.about(answers) else {
            self.out.odd("answer_to_nothing");
            return Ok(());
        };
        let fits = matches!(
            (about, &answer),
            (About::ApplicationAuth, Incoming::ApplicationAuth)
                | (About::AccountAuth, Incoming::AccountAuth)
                | (About::Accounts, Incoming::Accounts(_))
                | (About::Symbols, Incoming::Symbols(_))
                | (About::Details(_), Incoming::Details(_))
                | (About::Subscribe(_), Incoming::Subscribed)
                | (About::Unsubscribe(_), Incoming::Unsubscribed)
        );
        if !fits {
            // An id of another client of the account (facts 1.1): our own answer is still to come.
            self.out.odd("answer_of_another_type");
            return Ok(());
        }
        let Some(about) = self.out.requests.answered(answers) else { return Ok(()) };
        self.out.requests.pace.accepted(about.kind());
        match (about, answer) {
            (About::ApplicationAuth, _) => self.login.application_open(),
            (About::AccountAuth, _) => self.login.account_open(now, &mut self.out, false),
            (About::Accounts, Incoming::Accounts(accounts)) => {
                return self.login.routed_to(now, &mut self.out, Some(&accounts));
            }
            (About::Symbols, Incoming::Symbols(list)) => {
                self.listing.listed(now, &mut self.out, list);
                self.match_wanted(now);
            }
            (About::Details(ids), Incoming::Details(details)) => {
                self.subscriptions.described(now, &mut self.out, &mut self.listing, &ids, &details);
            }
            (About::Subscribe(ids), _) => self.subscriptions.subscribed(now, &ids),
            (About::Unsubscribe(ids), _) => self.subscriptions.released(now, &ids),
            _ => {}
        }
        Ok(())
    }

    fn refused(&mut self, now: Now, answers: Option<&str>, refusal: &Refusal) -> Result<(), Ending> {
        let meaning = refusal.meaning();
        let Some(about) = self.out.requests.answered(answers) else {
            self.out.odd("error_to_nothing");
            // With an id it is another client's, or about a session that is gone. Without one it is about this connection.
            return if answers.is_none() { self.refused_all(now, refusal) } else { Ok(()) };
        };
        let mut in_a_row = 0;
        if meaning == Meaning::SlowDown {
            self.out.odd("slowed_down");
            in_a_row = self.out.requests.pace.pause(now.elapsed, about.kind(), refusal.retry_after_s);
        } else {
            self.out.requests.pace.accepted(about.kind());
        }
        if meaning == Meaning::Bug {
            self.out.odd("not_understood");
        }
        match about {
            About::ApplicationAuth | About::Refresh | About::Accounts | About::AccountAuth => {
                return self.login.refused(now, &mut self.out, &about, refusal);
            }
            // The login this request belonged to is gone on a living socket (facts 3.11).
            _ if meaning == Meaning::LoggedOut => {
                self.login.account_lost(now, &mut self.out, refusal.cause(), false);
            }
            _ if matches!(meaning, Meaning::Disconnected | Meaning::Maintenance) => {
                return Err(refusal.ending(now));
            }
            About::Symbols => return self.listing.refused(now, &mut self.out, refusal),
            about => self.subscriptions.refused(now, &mut self.out, &about, refusal, in_a_row),
        }
        Ok(())
    }

    /// An error that names no request.
    fn refused_all(&mut self, now: Now, refusal: &Refusal) -> Result<(), Ending> {
        match refusal.meaning() {
            Meaning::LoggedOut => self.login.account_lost(now, &mut self.out, refusal.cause(), false),
            Meaning::Operator | Meaning::Maintenance | Meaning::Disconnected => {
                return Err(refusal.ending(now));
            }
            Meaning::SlowDown => {
                for kind in self.out.requests.kinds() {
                    self.out.requests.pace.pause(now.elapsed, kind, refusal.retry_after_s);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn match_wanted(&mut self, now: Now) {
        if self.listing.is_known() {
            self.subscriptions.match_wanted(now, &mut self.out, &self.listing.instruments);
        }
    }

    fn unanswered(&mut self, now: Now, about: &About) -> Result<(), Ending> {
        self.out.odd("request_timeout");
        match about {
            About::ApplicationAuth | About::Refresh | About::Accounts | About::AccountAuth => {
                self.login.unanswered(now, &mut self.out, about)
            }
            About::Symbols => self.listing.unanswered(now),
            about => {
                self.subscriptions.unanswered(now, &mut self.out, about);
                Ok(())
            }
        }
    }

    /// What cannot be followed by an error has to wait for the next call.
    fn work_or_note(&mut self, now: Now) {
        if self.work(now).is_err() {
            // The same comparison is made at the deadline, which is now, and says it there.
            self.out.work_again(now);
        }
    }
}

impl Session for CtraderSession {
    fn start(&mut self, now: Now) {
        self.started = true;
        self.out.start(now);
        self.login.start(now, &mut self.out);
        self.work_or_note(now);
    }

    fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Ending> {
        // Frames are read from where they lie, beside the rest of the session.
        let mut reader = std::mem::take(&mut self.reader);
        reader.push(bytes);
        while let Some(body) = reader.next_frame()? {
            let envelope = messages::decode(body)?;
            self.message(now, envelope.answers.as_deref(), envelope.message)?;
        }
        self.reader = reader;
        Ok(())
    }

    fn want(&mut self, now: Now, wanted: &Arc<BTreeSet<Symbol>>) {
        self.subscriptions.want(wanted);
        self.match_wanted(now);
        self.work_or_note(now);
    }

    fn ask_again(&mut self, now: Now, silent: &BTreeSet<Symbol>) {
        self.subscriptions.ask_again(now, silent);
        self.work_or_note(now);
    }

    fn kept(&mut self, now: Now, result: Result<(), String>) {
        self.login.kept(now, &mut self.out, result.is_ok());
        self.work_or_note(now);
    }

    fn timeout(&mut self, now: Now) -> Result<(), Ending> {
        while let Some(about) = self.out.requests.expired(now.elapsed) {
            self.unanswered(now, &about)?;
        }
        self.work(now)?;
        self.out.beat(now, self.heartbeat);
        Ok(())
    }

    fn deadline(&self) -> Option<Duration> {
        // Without a login neither has anything to do.
        let listing = self.followed.and_then(|_| self.listing.deadline());
        let others = [self.login.deadline(), listing, self.subscriptions.deadline()];
        Some(others.into_iter().flatten().fold(self.out.deadline(self.heartbeat), Duration::min))
    }

    fn poll(&mut self) -> Option<SessionOutput> {
        self.out.poll()
    }

    fn standing(&self, now: Now, symbol: &Symbol) -> Standing {
        let waits = |(detail, next): (String, String)| Standing {
            ok: false,
            since: Some(self.login.since()),
            detail,
            next,
        };
        if self.followed.is_none() {
            return waits(self.login.words(now));
        }
        if !self.listing.is_known() {
            let words = "logged in; the venue's list of symbols is not known yet";
            return waits((words.to_owned(), "its answer, else asked for again".to_owned()));
        }
        self.subscriptions.standing(now, symbol, &self.listing.instruments)
    }
}

#[cfg(test)]
mod tests;
