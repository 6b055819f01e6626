use tickcast_session::{Claim, LeadershipAction, LeaseAnswer, LeaseEntry};

/// A key in a store that can only compare and set, as JetStream keeps it: every write has a revision of the whole store.
#[derive(Default)]
pub(crate) struct Store {
    revisions: u64,
    entry: Option<(u64, Option<Claim>)>,
}

impl Store {
    /// Does one operation, whoever asks.
    pub(crate) fn perform(&mut self, action: &LeadershipAction) -> LeaseAnswer {
        match action {
            LeadershipAction::Read { .. } => LeaseAnswer::Seen(match &self.entry {
                None => LeaseEntry::Absent,
                Some((revision, None)) => LeaseEntry::Released { revision: *revision },
                Some((revision, Some(claim))) => {
                    LeaseEntry::Held { revision: *revision, claim: claim.clone() }
                }
            }),
            LeadershipAction::Write { expected, claim, .. } => self.replace(*expected, Some(claim.clone())),
            LeadershipAction::Delete { expected, .. } => self.replace(*expected, None),
            LeadershipAction::SkipAhead { beyond, .. } => {
                self.entry = None;
                self.revisions = self.revisions.max(*beyond) + 1;
                LeaseAnswer::Done { revision: 0 }
            }
            LeadershipAction::Lead { .. } | LeadershipAction::StepDown(_) => panic!("not for the store"),
        }
    }

    /// The store is lost and made anew: it knows nothing and counts from the beginning.
    pub(crate) fn wipe(&mut self) {
        *self = Self::default();
    }

    fn replace(&mut self, expected: u64, claim: Option<Claim>) -> LeaseAnswer {
        if self.entry.as_ref().map_or(0, |(revision, _)| *revision) != expected {
            return LeaseAnswer::Conflict;
        }
        self.revisions += 1;
        self.entry = Some((self.revisions, claim));
        LeaseAnswer::Done { revision: self.revisions }
    }
}
