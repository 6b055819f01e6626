use std::time::Duration;

use tickcast_model::{Cause, CauseKind};
use tickcast_session::{Ending, Now, SessionOutput};

use crate::instruments::Instruments;
use crate::messages::{Refusal, wire};
use crate::outgoing::Outgoing;
use crate::refusal::Meaning;
use crate::requests::About;

/// The list is read no more often than this, however many symbols change.
const READ_EVERY: Duration = Duration::from_secs(5);
/// First wait after the venue could not give it; it doubles.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(20);
/// Requests for it that may stay unanswered in a row.
const UNANSWERED_MAX: u32 = 3;

/// The venue's list of symbols on one connection: read after the login, and again when the venue says that symbols changed
/// (facts 3.10).
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) instruments: Instruments,
    known: bool,
    asked: bool,
    /// When to read it; `None` while it is known and nothing changed.
    due: Option<Duration>,
    read_at: Option<Duration>,
    failures: u32,
    unanswered: u32,
    looked_at: Duration,
}

impl Listing {
    /// True once there is a list to look names up in.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// An account is logged in: the list is needed if there is none, and its answer will not come if it was asked for before.
    pub(crate) fn begin(&mut self, now: Now) {
        if self.asked || !self.known {
            self.asked = false;
            self.due = Some(now.elapsed);
        }
    }

    /// The venue says that symbols changed: once for many of them the list is read again.
    pub(crate) fn changed(&mut self, now: Now) {
        let earliest = self.read_at.map_or(now.elapsed, |at| at + READ_EVERY).max(now.elapsed);
        self.due.get_or_insert(earliest);
    }

    /// Asks for the list where it is due.
    pub(crate) fn advance(&mut self, now: Now, out: &mut Outgoing, account_id: i64) {
        self.looked_at = now.elapsed;
        if self.asked || self.due.is_none_or(|due| due > now.elapsed) {
            return;
        }
        let request =
            wire::ProtoOaSymbolsListReq { ctid_trader_account_id: account_id, ..Default::default() };
        if out.ask(now, &About::Symbols, &request) {
            self.asked = true;
            self.due = None;
        }
    }

    /// Takes the list and tells it.
    pub(crate) fn listed(&mut self, now: Now, out: &mut Outgoing, list: wire::ProtoOaSymbolsListRes) {
        let older = std::mem::replace(&mut self.instruments, Instruments::read(list));
        self.instruments.inherit(older);
        (self.known, self.asked) = (true, false);
        (self.failures, self.unanswered) = (0, 0);
        self.read_at = Some(now.elapsed);
        // Where symbols changed while it was under way it is read again, but not at once.
        self.due = self.due.map(|due| due.max(now.elapsed + READ_EVERY));
        self.tell(out);
    }

    /// Tells what is known of the instruments.
    pub(crate) fn tell(&self, out: &mut Outgoing) {
        out.tell(SessionOutput::Catalogue(self.instruments.catalogue()));
    }

    /// The venue could not give the list.
    ///
    /// # Errors
    /// Where that ends the connection.
    pub(crate) fn refused(&mut self, now: Now, out: &mut Outgoing, refusal: &Refusal) -> Result<(), Ending> {
        self.asked = false;
        match refusal.meaning() {
            Meaning::Operator | Meaning::Maintenance | Meaning::Token => return Err(refusal.ending(now)),
            // The pace holds the next one back.
            Meaning::SlowDown => self.due = Some(now.elapsed),
            _ => {
                out.odd("list_refused");
                let wait = RETRY.saturating_mul(1 << self.failures.min(8)).min(RETRY_MAX);
                self.failures = self.failures.saturating_add(1);
                self.due = Some(now.elapsed + wait);
            }
        }
        Ok(())
    }

    /// The list did not come in time.
    ///
    /// # Errors
    /// Where it has been so for too often: without a list nothing can be subscribed, and another connection may have one.
    pub(crate) fn unanswered(&mut self, now: Now) -> Result<(), Ending> {
        self.asked = false;
        self.due = Some(now.elapsed);
        self.unanswered += 1;
        if self.unanswered < UNANSWERED_MAX {
            return Ok(());
        }
        if self.known {
            // The list at hand still serves; it is asked for again later.
            self.unanswered = 0;
            self.due = Some(now.elapsed + RETRY_MAX);
            return Ok(());
        }
        Err(Cause::new(CauseKind::RequestTimeout, About::Symbols.name()).into())
    }

    /// When [`Listing::advance`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.due.filter(|due| !self.asked && *due > self.looked_at)
    }
}
