use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tickcast_model::{AuthState, Cause, CauseKind};
use tickcast_session::{Ending, Now, Retry, SessionOutput};

use crate::memory::{Memory, Remembered};
use crate::messages::{Granted, Refusal, wire};
use crate::outgoing::Outgoing;
use crate::refusal::{Meaning, clean};
use crate::renewal::Renewal;
use crate::requests::About;
use crate::tokens::NewPair;

/// First wait before the account is logged in again; it doubles (facts 3.11: from 1 s, without end).
const RELOGIN: Duration = Duration::from_secs(1);
/// Longest wait, well under the venue's 60 s: a symbol is not dead for a minute because a login failed.
const RELOGIN_MAX: Duration = Duration::from_secs(20);
/// A login that lasted so long was a good one: the next wait starts small again.
const STABLE: Duration = Duration::from_secs(60);
/// Requests of one step of the login that may stay unanswered in a row.
const UNANSWERED_MAX: u32 = 3;

/// Who logs in, and where.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) host: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
    pub(crate) account_id: i64,
    pub(crate) memory: Memory,
}

/// Application and account on one connection: logs both in, and the account in again whenever the venue ends its session
/// on a living socket (facts 3.1, 3.11), with tokens renewed ahead of their end (facts 3.2).
///
/// [`Login::advance`] compares how far it is with where it should be and asks for the next step, after anything happened.
pub(crate) struct Login {
    who: Identity,
    application: Gate,
    account: Gate,
    /// Number of the account's session on this connection while it has one.
    session: Option<u32>,
    sessions: u32,
    opened_at: Duration,
    /// Since when it stands as it does.
    since: Duration,
    started_at: Duration,
    /// Why there is no login.
    cause: Option<Cause>,
    retry_at: Duration,
    failures: u32,
    unanswered: u32,
    renewal: Renewal,
    /// The venue refused the access token with these words: it has to be renewed before the next try.
    token_refused: Option<Cause>,
    /// The host could not route the account, or did not know it: which accounts are there is asked (true: already).
    probing: Option<(Refusal, bool)>,
    /// The end that waits for tokens under way.
    leaving: Option<Ending>,
    looked_at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Closed,
    Asked,
    Open,
}

impl Login {
    pub(crate) fn new(who: Identity) -> Self {
        Self {
            renewal: Renewal::new(who.memory.clone()),
            who,
            application: Gate::Closed,
            account: Gate::Closed,
            session: None,
            sessions: 0,
            opened_at: Duration::ZERO,
            since: Duration::ZERO,
            started_at: Duration::ZERO,
            cause: None,
            retry_at: Duration::ZERO,
            failures: 0,
            unanswered: 0,
            token_refused: None,
            probing: None,
            leaving: None,
            looked_at: Duration::ZERO,
        }
    }

    /// Number of the account's session while it is logged in: requests of the account may go, and a new number means that
    /// nothing of the last one is left.
    pub(crate) fn session(&self) -> Option<u32> {
        self.session
    }

    pub(crate) fn start(&mut self, now: Now, out: &mut Outgoing) {
        self.since = now.elapsed;
        self.started_at = now.elapsed;
        self.renewal.plan(now, true);
        out.tell(SessionOutput::Auth(AuthState::Pending, None));
    }

    /// Asks for the next step, if there is one.
    pub(crate) fn advance(&mut self, now: Now, out: &mut Outgoing) -> Result<(), Ending> {
        self.looked_at = now.elapsed;
        if self.renewal.advance(now, out) {
            // The new tokens are safe and what the venue had to say about the old ones was heard.
            self.account = if self.account == Gate::Open { Gate::Closed } else { self.account };
            self.retry_at = now.elapsed;
        }
        if let Some(ending) = &self.leaving {
            return if self.renewal.is_unsettled() { Ok(()) } else { Err(ending.clone()) };
        }
        match self.application {
            Gate::Closed => return self.ask_application(now, out),
            Gate::Asked => return Ok(()),
            Gate::Open => {}
        }
        self.renewal.keep(now, out);
        let needed = self.renewal.is_due(now) || self.token_refused.is_some();
        if (needed && self.renewal.ask(now, out)) || self.renewal.holds_login() {
            return Ok(());
        }
        if let Some(cause) = &self.token_refused {
            let ending = self.token_ending(cause);
            return if self.renewal.is_unsettled() { Ok(()) } else { Err(ending) };
        }
        match self.probing {
            Some((_, true)) => {}
            Some((_, false)) => self.ask_accounts(now, out),
            None if self.account == Gate::Closed && self.retry_at <= now.elapsed => {
                self.ask_account(now, out);
            }
            None => {}
        }
        Ok(())
    }

    /// When [`Login::advance`] has something to do without anything else happening.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let retry = (self.account == Gate::Closed).then_some(self.retry_at).filter(|at| *at > self.looked_at);
        [retry, self.renewal.deadline(self.looked_at)].into_iter().flatten().min()
    }

    fn ask_application(&mut self, now: Now, out: &mut Outgoing) -> Result<(), Ending> {
        let request = wire::ProtoOaApplicationAuthReq {
            client_id: self.who.client_id.clone(),
            client_secret: self.who.client_secret.expose_secret().to_owned(),
            ..Default::default()
        };
        if out.ask(now, &About::ApplicationAuth, &request) {
            self.application = Gate::Asked;
        }
        Ok(())
    }

    fn ask_account(&mut self, now: Now, out: &mut Outgoing) {
        let request = wire::ProtoOaAccountAuthReq {
            ctid_trader_account_id: self.who.account_id,
            access_token: self.memory().tokens.access().expose_secret().to_owned(),
            ..Default::default()
        };
        if out.ask(now, &About::AccountAuth, &request) {
            self.account = Gate::Asked;
        }
    }

    /// The application is known on this connection.
    pub(crate) fn application_open(&mut self) {
        self.application = Gate::Open;
        self.unanswered = 0;
    }

    /// The account is logged in, or was (`already`).
    pub(crate) fn account_open(&mut self, now: Now, out: &mut Outgoing, already: bool) {
        self.account = Gate::Open;
        self.unanswered = 0;
        self.opened_at = now.elapsed;
        {
            let mut memory = self.memory();
            memory.routed = true;
            memory.tokens.proved();
        }
        self.renewal.plan(now, false);
        if self.session.is_some() && already {
            return;
        }
        self.sessions += 1;
        self.session = Some(self.sessions);
        self.since = now.elapsed;
        self.cause = None;
        out.tell(SessionOutput::Auth(AuthState::Ok, None));
    }

    /// The venue ended the account's session; `token` says that it did because the token was replaced.
    pub(crate) fn account_lost(&mut self, now: Now, out: &mut Outgoing, cause: Cause, token: bool) {
        let renewing = self.renewal.heard_loss(token);
        if self.account == Gate::Asked && self.session.is_none() {
            // The answer comes after this and counts.
            return out.odd("loss_before_login");
        }
        if token && self.renewal.is_of_replaced_session(now, self.opened_at) {
            return out.odd("loss_of_replaced_session");
        }
        self.session_gone(now, out, cause);
        if self.account == Gate::Open {
            self.account = Gate::Closed;
            if now.elapsed >= self.opened_at + STABLE {
                self.failures = 0;
            }
            // While tokens are being renewed the login waits for them, and for nothing else.
            self.retry_at = if renewing { now.elapsed } else { now.elapsed + self.backoff() };
        }
        // A new login costs nothing any more, so tokens that end soon are renewed before it.
        self.renewal.plan(now, true);
    }

    /// What an error answer to a step of the login means.
    pub(crate) fn refused(
        &mut self,
        now: Now,
        out: &mut Outgoing,
        about: &About,
        refusal: &Refusal,
    ) -> Result<(), Ending> {
        match about {
            About::ApplicationAuth => self.application_refused(now, refusal),
            About::Refresh => {
                self.renewal.refused(now, out, refusal);
                Ok(())
            }
            About::Accounts => self.routed_to(now, out, None),
            _ => self.account_refused(now, out, refusal),
        }
    }

    fn application_refused(&mut self, now: Now, refusal: &Refusal) -> Result<(), Ending> {
        if refusal.code == "CH_CLIENT_ALREADY_AUTHENTICATED" {
            self.application_open();
            return Ok(());
        }
        self.application = Gate::Closed;
        match refusal.meaning() {
            // Too many requests: the pace holds the next one back. Too many connections: this one has to go.
            Meaning::SlowDown if refusal.code != "CONNECTIONS_LIMIT_EXCEEDED" => Ok(()),
            _ => self.end(refusal.ending(now)),
        }
    }

    fn account_refused(&mut self, now: Now, out: &mut Outgoing, refusal: &Refusal) -> Result<(), Ending> {
        self.unanswered = 0;
        let routed = self.memory().routed;
        match refusal.meaning() {
            Meaning::Already => {
                self.account_open(now, out, true);
                return Ok(());
            }
            Meaning::Token => {
                self.account = Gate::Closed;
                self.session_gone(now, out, refusal.cause());
                self.token_refused = Some(refusal.cause());
                return Ok(());
            }
            Meaning::Unroutable | Meaning::LoggedOut if !routed => {
                // Which accounts the token opens tells a wrong host from a venue that is away (facts 3.1, 3.12).
                self.probing = Some((refusal.clone(), false));
            }
            Meaning::Operator | Meaning::Maintenance | Meaning::Disconnected => {
                return self.end(refusal.ending(now));
            }
            Meaning::SlowDown => self.retry_at = now.elapsed,
            _ if self.sessions == 0 => return self.end(refusal.ending(now)),
            _ => self.retry_at = now.elapsed + self.backoff(),
        }
        self.account = Gate::Closed;
        self.session_gone(now, out, refusal.cause());
        Ok(())
    }

    fn ask_accounts(&mut self, now: Now, out: &mut Outgoing) {
        let request = wire::ProtoOaGetAccountListByAccessTokenReq {
            access_token: self.memory().tokens.access().expose_secret().to_owned(),
            ..Default::default()
        };
        let asked = out.ask(now, &About::Accounts, &request);
        self.probing = self.probing.take().map(|(refusal, _)| (refusal, asked));
    }

    /// The accounts the token opens, or nothing where that could not be learned.
    pub(crate) fn routed_to(
        &mut self,
        now: Now,
        out: &mut Outgoing,
        accounts: Option<&[Granted]>,
    ) -> Result<(), Ending> {
        let Some((refusal, _)) = self.probing.take() else {
            out.odd("answer_to_nothing");
            return Ok(());
        };
        let account = self.who.account_id;
        let Some(accounts) = accounts else { return self.end(refusal.ending(now)) };
        let Some(granted) = accounts.iter().find(|granted| granted.account_id == account) else {
            let detail = format!("the access token does not open account {account} (CTRADER_ACCOUNT_ID)");
            return self.end(Cause::new(CauseKind::AuthRefused, detail).into());
        };
        let host = self.who.host.to_ascii_lowercase();
        let here = if host.contains("live") { Some(true) } else { host.contains("demo").then_some(false) };
        let right = |live: bool| if live { "live.ctraderapi.com" } else { "demo.ctraderapi.com" };
        let kind = |live: bool| if live { "live" } else { "demo" };
        let mut ending = refusal.ending(now);
        match (granted.live, here) {
            (Some(live), Some(here)) if live != here => {
                let (is, set) = (kind(live), right(live));
                let detail = format!("account {account} is a {is} account: set CTRADER_HOST to {set}");
                ending = Ending { cause: Cause::new(CauseKind::WrongHost, detail), retry: Retry::Slowly };
            }
            (Some(live), None) => {
                let (words, is, set) = (refusal.words(), kind(live), right(live));
                ending.cause.detail = format!(
                    "{words}; account {account} is a {is} account, served by {set}: is CTRADER_HOST right?"
                );
            }
            _ => {}
        }
        self.end(ending)
    }

    /// A step of the login was not answered in time.
    pub(crate) fn unanswered(&mut self, now: Now, out: &mut Outgoing, about: &About) -> Result<(), Ending> {
        match about {
            About::Refresh => {
                self.renewal.unanswered();
                return Ok(());
            }
            About::Accounts => return self.routed_to(now, out, None),
            About::ApplicationAuth => self.application = Gate::Closed,
            _ => {
                self.account = Gate::Closed;
                self.retry_at = now.elapsed;
            }
        }
        self.unanswered += 1;
        if self.unanswered < UNANSWERED_MAX {
            return Ok(());
        }
        self.end(Cause::new(CauseKind::RequestTimeout, about.name()).into())
    }

    /// The venue gave new tokens, in time or late.
    pub(crate) fn refreshed(&mut self, now: Now, out: &mut Outgoing, new: NewPair) {
        let live = self.session.is_some() || self.account != Gate::Closed;
        if self.renewal.adopt(now, out, new, live) {
            self.token_refused = None;
            // An end for the old token's sake is none any more.
            self.leaving =
                self.leaving.take().filter(|leaving| leaving.cause.kind != CauseKind::TokenExpired);
        }
    }

    /// What was to be stored is, or could not be.
    pub(crate) fn kept(&mut self, now: Now, out: &mut Outgoing, stored: bool) {
        self.renewal.kept(now, out, stored);
    }

    /// The venue ends the whole connection.
    pub(crate) fn disconnected(&mut self, now: Now, reason: &str) -> Ending {
        let age = now.elapsed.saturating_sub(self.started_at);
        let repeats = self.memory().disconnected(age);
        let reason = if reason.is_empty() { "without a reason".to_owned() } else { clean(reason) };
        let retry = if repeats { Retry::Slowly } else { Retry::Backoff };
        let words = if repeats { ", again and at once: is the application blocked?" } else { "" };
        Ending { cause: Cause::new(CauseKind::SessionLost, format!("{reason}{words}")), retry }
    }

    /// An end of the connection that is ours to choose waits for tokens under way: the old ones may be dead already.
    fn end(&mut self, ending: Ending) -> Result<(), Ending> {
        if !self.renewal.is_unsettled() {
            return Err(ending);
        }
        self.leaving.get_or_insert(ending);
        Ok(())
    }

    /// How far the login is and what comes next, in words.
    pub(crate) fn words(&self, now: Now) -> (String, String) {
        let why = self.cause.as_ref().map_or(String::new(), |cause| format!("; before that: {cause}"));
        if self.leaving.is_some() || self.renewal.holds_login() {
            return (format!("the access token is being renewed{why}"), self.renewal.words().to_owned());
        }
        let (detail, next) = match (self.application, self.account) {
            (Gate::Closed | Gate::Asked, _) => {
                ("the application is being logged in", "its answer".to_owned())
            }
            (_, Gate::Asked) => ("the account is being logged in", "its answer".to_owned()),
            (_, Gate::Open) => ("logged in", String::new()),
            (_, Gate::Closed) if self.probing.is_some() => {
                ("which host serves the account is being asked", "its answer".to_owned())
            }
            (_, Gate::Closed) => {
                let left = self.retry_at.saturating_sub(now.elapsed).as_millis();
                ("the account is not logged in", format!("logged in again in {left} ms"))
            }
        };
        (format!("{detail}{why}"), next)
    }

    /// Since when it stands as it does.
    pub(crate) fn since(&self) -> Duration {
        self.since
    }

    fn session_gone(&mut self, now: Now, out: &mut Outgoing, cause: Cause) {
        let had = self.session.take().is_some();
        if had {
            self.since = now.elapsed;
        }
        if had || self.cause.as_ref() != Some(&cause) {
            out.tell(SessionOutput::Auth(AuthState::Pending, Some(cause.clone())));
        }
        self.cause = Some(cause);
    }

    fn token_ending(&self, cause: &Cause) -> Ending {
        let why =
            self.renewal.failure().unwrap_or_else(|| "there is no refresh token to renew it".to_owned());
        let detail = format!(
            "{}; {why}; give the application access again and set CTRADER_ACCESS_TOKEN and CTRADER_REFRESH_TOKEN",
            cause.detail
        );
        Ending { cause: Cause::new(CauseKind::TokenExpired, detail), retry: Retry::Slowly }
    }

    fn backoff(&mut self) -> Duration {
        let wait = RELOGIN.saturating_mul(1 << self.failures.min(8)).min(RELOGIN_MAX);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.who.memory.lock()
    }
}
