use std::collections::VecDeque;
use std::time::Duration;

/// How a lease is held and taken over.
#[derive(Clone, Debug)]
pub struct LeadershipSettings {
    /// Who this is: another one in each run of each process.
    pub holder: String,
    /// A lease whose revision has not moved for so long is free. The same for everybody who competes for it.
    pub ttl: Duration,
}

/// What stands in the store while somebody holds the lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Who holds it; empty where nobody does, though somebody may have before the store was wiped.
    pub holder: String,
    /// The number of this write among the holder's, by which it knows its own again when the answer was lost.
    pub write: u64,
    /// The epoch of the term; 0 in the write that begins it, for there it is the revision the write gets.
    pub epoch: u64,
    /// What the holder counts on: nobody takes over earlier.
    pub ttl: Duration,
}

/// The lease as it was read from the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseEntry {
    /// There is none: it was never written, or the store was wiped.
    Absent,
    /// Its holder gave it back.
    Released {
        /// Of the deletion.
        revision: u64,
    },
    /// Somebody holds it, or held it when they died.
    Held {
        /// Of the last write.
        revision: u64,
        /// What was written.
        claim: Claim,
    },
}

impl LeaseEntry {
    fn revision(&self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Released { revision } | Self::Held { revision, .. } => *revision,
        }
    }
}

/// What the shell has to do. Each operation is answered once by [`Leadership::answer`], however late.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeadershipAction {
    /// Read the lease.
    Read {
        /// Number of the operation.
        op: u64,
    },
    /// Write the lease where its revision still is `expected` (0: where there is none).
    Write {
        /// Number of the operation.
        op: u64,
        /// The revision to be replaced.
        expected: u64,
        /// What to write.
        claim: Claim,
    },
    /// Delete the lease where its revision still is `expected`.
    Delete {
        /// Number of the operation.
        op: u64,
        /// The revision to be replaced.
        expected: u64,
    },
    /// The store has gone back to revisions it had before: empty it and make it go on beyond this one.
    SkipAhead {
        /// Number of the operation.
        op: u64,
        /// The greatest revision ever seen.
        beyond: u64,
    },
    /// Begin a term: ours is the one connection, until [`Leadership::lead_until`].
    Lead {
        /// Greater than that of any term before; everything published in the term carries it.
        epoch: u64,
    },
    /// End the term at once.
    StepDown(StepDown),
}

/// Why a term ended that was not given back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StepDown {
    /// No renewal was confirmed in time.
    Expired,
    /// The store says that somebody else holds the lease, or that it was given back.
    Superseded,
    /// The lease is not there any more.
    Vanished,
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseAnswer {
    /// The lease was read.
    Seen(LeaseEntry),
    /// It was written, deleted or skipped; the revision is 0 where there is none to tell.
    Done {
        /// Of the write.
        revision: u64,
    },
    /// Its revision was another one: nothing was changed.
    Conflict,
    /// Nobody knows what became of it.
    Failed,
}

/// Decides when this process holds the one lease of its venue account, over a store that can only compare and set.
///
/// Why two never lead at once, whatever answers are lost or late, stores go away and processes sleep:
///
/// * A term holds until `3/4 ttl` after the *start* of its last confirmed write, and ends there by itself.
/// * Anybody else waits until a revision has stood still for the whole `ttl` since *they first saw it*, which was after
///   it was written; so after its writer began to write it.
/// * The takeover replaces exactly that revision, so it fails where the holder has renewed meanwhile.
///
/// Each compares durations of its own clock only. That clock must go on while the machine sleeps, and no two may differ
/// in speed by more than a quarter. A lease that is absent may have been wiped under its holder: who finds that first
/// writes a claim of nobody, and a `ttl` after that its revision is replaced like any other. (Absence itself has no
/// revision: two wipes would look like one.) A lease that was given back is free at once.
pub struct Leadership {
    settings: LeadershipSettings,
    phase: Phase,
    /// What the store held when last heard of, and since when it has been that.
    seen: Option<(LeaseEntry, Duration)>,
    /// The greatest revision ever seen.
    highest: u64,
    /// The operation whose answer is awaited.
    awaited: Option<Awaited>,
    /// Our writes of which nothing is confirmed yet, or only lately.
    writes: VecDeque<Sent>,
    next_op: u64,
    /// The next operation has to be a read, for what is known is doubtful.
    must_read: bool,
    /// No operation before this.
    ready_at: Duration,
    /// The next look while following.
    look_at: Duration,
    /// When the last look ended.
    looked_at: Duration,
    /// Looks that still follow each other soon, after a hint.
    eager_looks: u8,
    actions: VecDeque<LeadershipAction>,
}

enum Phase {
    Following,
    Leading(Term),
    Leaving,
    Left,
}

struct Term {
    epoch: u64,
    revision: u64,
    /// Start of the last confirmed write.
    confirmed: Duration,
    renew_at: Duration,
}

struct Awaited {
    op: u64,
    kind: Kind,
    give_up_at: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Write,
    /// Of a claim of nobody.
    Mark,
    Delete,
    SkipAhead,
}

#[derive(Clone)]
struct Sent {
    op: u64,
    started: Duration,
    /// The greatest revision known when it was sent: its own must be greater.
    above: u64,
    claim: Claim,
}

/// Writes remembered at most; older ones could not make anybody lead any more.
const WRITES_MAX: usize = 16;
/// Looks soon after a hint: who hints may be faster than the store.
const EAGER_LOOKS: u8 = 3;

impl Leadership {
    /// One that follows, and looks at once.
    pub fn new(settings: LeadershipSettings, at: Duration) -> Self {
        let mut leadership = Self {
            settings,
            phase: Phase::Following,
            seen: None,
            highest: 0,
            awaited: None,
            writes: VecDeque::new(),
            next_op: 1,
            must_read: true,
            ready_at: at,
            look_at: at,
            looked_at: Duration::ZERO,
            eager_looks: 0,
            actions: VecDeque::new(),
        };
        leadership.proceed(at);
        leadership
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<LeadershipAction> {
        self.actions.pop_front()
    }

    /// When [`Leadership::timeout`] wants to be called; none once everything was given back.
    pub fn deadline(&self) -> Option<Duration> {
        let next = match &self.phase {
            Phase::Left => return None,
            _ if self.awaited.is_some() => Duration::MAX,
            Phase::Leading(term) if !self.must_read => term.renew_at.max(self.ready_at),
            Phase::Following if !self.must_read => {
                self.free_at().map_or(self.look_at, |free_at| free_at.min(self.look_at)).max(self.ready_at)
            }
            _ => self.ready_at,
        };
        let give_up_at = self.awaited.as_ref().map(|awaited| awaited.give_up_at);
        [self.lead_until(), give_up_at].into_iter().flatten().fold(next, Duration::min).into()
    }

    /// The time of [`Leadership::deadline`] has come (calling earlier does no harm).
    pub fn timeout(&mut self, at: Duration) {
        if self.awaited.as_ref().is_some_and(|awaited| awaited.give_up_at <= at) {
            self.failed(at);
        }
        self.proceed(at);
    }

    /// Somebody may have changed the lease: look soon. Only a follower cares, and not more often than useful.
    pub fn hint(&mut self, at: Duration) {
        if matches!(self.phase, Phase::Following) {
            self.eager_looks = EAGER_LOOKS;
            self.look_at = self.look_at.min(at.max(self.looked_at + self.soon()));
            self.proceed(at);
        }
    }

    /// An operation has ended. Late answers count for what they prove and for nothing else.
    pub fn answer(&mut self, at: Duration, op: u64, answer: LeaseAnswer) {
        let awaited = self.awaited.take_if(|awaited| awaited.op == op).map(|awaited| awaited.kind);
        match answer {
            LeaseAnswer::Seen(entry) => self.saw(at, entry, awaited.is_some()),
            LeaseAnswer::Done { revision } => match awaited {
                Some(Kind::Delete) => self.phase = Phase::Left,
                Some(Kind::SkipAhead | Kind::Mark) => self.must_read = true,
                // A write, whether still awaited or given up: the store says that it was done.
                _ => self.wrote(at, op, revision),
            },
            LeaseAnswer::Conflict if awaited.is_some() => self.must_read = true,
            LeaseAnswer::Failed if awaited.is_some() => self.failed(at),
            LeaseAnswer::Conflict | LeaseAnswer::Failed => {}
        }
        self.proceed(at);
    }

    /// The shell has ended this term by itself: it found out first that the term had run out, or could not go on.
    pub fn abandon(&mut self, at: Duration, epoch: u64) {
        if self.epoch() == Some(epoch) {
            self.step_down(StepDown::Expired);
            self.proceed(at);
        }
    }

    /// Gives the lease back where it is ours. The term must have ended before: the connection closed, the last word said.
    pub fn leave(&mut self, at: Duration) {
        if !matches!(self.phase, Phase::Leaving | Phase::Left) {
            // What a try to take the lease came to may not be known; a read tells.
            self.must_read |= matches!(self.phase, Phase::Following) && !self.writes.is_empty();
            self.phase = Phase::Leaving;
            self.proceed(at);
        }
    }

    /// True once nothing of ours is left in the store, as far as anybody can know.
    pub fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Left)
    }

    /// The end of the term unless it is renewed before; none while not leading.
    pub fn lead_until(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Leading(term) => Some(term.confirmed + self.valid_for()),
            _ => None,
        }
    }

    /// The epoch of the term; none while not leading.
    pub fn epoch(&self) -> Option<u64> {
        match &self.phase {
            Phase::Leading(term) => Some(term.epoch),
            _ => None,
        }
    }

    /// Who holds the lease and in which epoch, as last seen; none where nobody does or nothing was seen yet.
    pub fn holder(&self) -> Option<(&str, u64)> {
        match &self.seen {
            Some((LeaseEntry::Held { revision, claim }, _)) if !claim.holder.is_empty() => {
                Some((&claim.holder, if claim.epoch == 0 { *revision } else { claim.epoch }))
            }
            _ => None,
        }
    }

    /// True once the store was read.
    pub fn has_looked(&self) -> bool {
        self.seen.is_some()
    }

    /// How long a term holds after the start of its last confirmed write; the rest of the TTL is for clocks that run
    /// apart and for closing.
    fn valid_for(&self) -> Duration {
        self.settings.ttl * 3 / 4
    }

    /// When the lease may be taken, as far as is known.
    fn free_at(&self) -> Option<Duration> {
        let (entry, since) = self.seen.as_ref()?;
        Some(match entry {
            LeaseEntry::Released { .. } | LeaseEntry::Absent => Duration::ZERO,
            // Whoever held it before us was outwaited when we took it.
            LeaseEntry::Held { claim, .. } if claim.holder == self.settings.holder => Duration::ZERO,
            LeaseEntry::Held { claim, .. } => *since + self.settings.ttl.max(claim.ttl),
        })
    }

    fn saw(&mut self, at: Duration, entry: LeaseEntry, is_awaited: bool) {
        let own_write = match &entry {
            LeaseEntry::Held { claim, .. } if claim.holder == self.settings.holder => Some(claim.write),
            _ => None,
        };
        let revision = entry.revision();
        // A read that was given up may be older than what was learnt since; then it only proves a write.
        if is_awaited {
            self.must_read = false;
            self.looked_at = at;
            let has_changed = self.note(at, entry);
            self.eager_looks = if has_changed { 0 } else { self.eager_looks.saturating_sub(1) };
            self.look_at = at + if self.eager_looks > 0 { self.soon() } else { self.settings.ttl / 6 };
        }
        if let Some(write) = own_write {
            self.confirm(at, write, revision);
        } else if is_awaited && let Phase::Leading(term) = &self.phase {
            if revision == 0 {
                self.step_down(StepDown::Vanished);
            } else if revision > term.revision {
                self.step_down(StepDown::Superseded);
            }
        }
    }

    fn wrote(&mut self, at: Duration, op: u64, revision: u64) {
        let Some(sent) = self.writes.iter().find(|sent| sent.op == op) else { return };
        if revision > self.highest {
            let claim = sent.claim.clone();
            self.note(at, LeaseEntry::Held { revision, claim });
        } else {
            // Long ago, or in a store that has gone back: it tells nothing about what the store holds now.
            self.must_read = true;
        }
        self.confirm(at, op, revision);
    }

    /// Writes down what the store holds; true where that is news.
    fn note(&mut self, at: Duration, entry: LeaseEntry) -> bool {
        self.highest = self.highest.max(entry.revision());
        if self.seen.as_ref().is_some_and(|(seen, _)| *seen == entry) {
            return false;
        }
        self.seen = Some((entry, at));
        true
    }

    /// One of our writes is known to have been done, as this revision.
    fn confirm(&mut self, at: Duration, write: u64, revision: u64) {
        let Some(sent) = self.writes.iter().find(|sent| sent.op == write).cloned() else { return };
        let is_worth_it = at < sent.started + self.valid_for();
        match &mut self.phase {
            Phase::Leading(term) if sent.claim.epoch == term.epoch || revision == term.epoch => {
                term.revision = term.revision.max(revision);
                term.confirmed = term.confirmed.max(sent.started);
            }
            Phase::Following if sent.claim.epoch == 0 && is_worth_it => {
                if revision <= sent.above {
                    // The store was put back to an earlier state: this epoch would be smaller than one that was used.
                    self.writes.clear();
                    let beyond = self.highest;
                    return self.begin(at, Kind::SkipAhead, |op| LeadershipAction::SkipAhead { op, beyond });
                }
                self.phase = Phase::Leading(Term {
                    epoch: revision,
                    revision,
                    confirmed: sent.started,
                    renew_at: sent.started + self.renew_every(),
                });
                self.must_read = false;
                self.actions.push_back(LeadershipAction::Lead { epoch: revision });
            }
            _ => {}
        }
    }

    fn failed(&mut self, at: Duration) {
        self.awaited = None;
        self.must_read = true;
        self.ready_at = at + self.settings.ttl / 16;
    }

    fn step_down(&mut self, why: StepDown) {
        self.phase = Phase::Following;
        // What was sent in the term proves nothing for another one.
        self.writes.clear();
        self.must_read = true;
        self.actions.push_back(LeadershipAction::StepDown(why));
    }

    /// Ends a term that has run out, and begins the operation that is due.
    fn proceed(&mut self, at: Duration) {
        if self.lead_until().is_some_and(|until| until <= at) {
            self.step_down(StepDown::Expired);
        }
        if self.awaited.is_some() || self.ready_at > at {
            return;
        }
        if self.must_read && !matches!(self.phase, Phase::Left) {
            return self.begin(at, Kind::Read, |op| LeadershipAction::Read { op });
        }
        match &self.phase {
            Phase::Leading(term) => {
                if term.renew_at <= at {
                    let (expected, epoch) = (term.revision, term.epoch);
                    self.write(at, expected, epoch);
                }
            }
            Phase::Following => {
                if self.free_at().is_some_and(|free_at| free_at <= at) {
                    match self.seen.as_ref().map_or(0, |(entry, _)| entry.revision()) {
                        0 => self.mark(at),
                        expected => self.write(at, expected, 0),
                    }
                } else if self.look_at <= at {
                    self.begin(at, Kind::Read, |op| LeadershipAction::Read { op });
                }
            }
            Phase::Leaving => match &self.seen {
                Some((LeaseEntry::Held { revision, claim }, _)) if claim.holder == self.settings.holder => {
                    let expected = *revision;
                    self.begin(at, Kind::Delete, |op| LeadershipAction::Delete { op, expected });
                }
                _ => self.phase = Phase::Left,
            },
            Phase::Left => {}
        }
    }

    fn write(&mut self, at: Duration, expected: u64, epoch: u64) {
        let claim = Claim {
            holder: self.settings.holder.clone(),
            write: self.next_op,
            epoch,
            ttl: self.settings.ttl,
        };
        if self.writes.len() == WRITES_MAX {
            self.writes.pop_front();
        }
        let sent = Sent { op: self.next_op, started: at, above: self.highest, claim: claim.clone() };
        self.writes.push_back(sent);
        let renew_at = at + self.renew_every();
        if let Phase::Leading(term) = &mut self.phase {
            term.renew_at = renew_at;
        }
        self.begin(at, Kind::Write, |op| LeadershipAction::Write { op, expected, claim });
    }

    /// Gives an absent lease a revision.
    fn mark(&mut self, at: Duration) {
        let claim = Claim { holder: String::new(), write: self.next_op, epoch: 0, ttl: self.settings.ttl };
        self.begin(at, Kind::Mark, |op| LeadershipAction::Write { op, expected: 0, claim });
    }

    fn begin(&mut self, at: Duration, kind: Kind, action: impl FnOnce(u64) -> LeadershipAction) {
        let op = self.next_op;
        self.next_op += 1;
        self.awaited = Some(Awaited { op, kind, give_up_at: at + self.settings.ttl / 6 });
        self.actions.push_back(action(op));
    }

    fn renew_every(&self) -> Duration {
        self.settings.ttl / 4
    }

    /// Between two looks that follow a hint.
    fn soon(&self) -> Duration {
        self.settings.ttl / 100
    }
}

#[cfg(test)]
mod tests;
