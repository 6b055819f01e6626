//! The faults, as a table: adding one is one row and the place where it acts.

/// Something the venue can do wrong on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Every connection ends at once.
    Cut,
    /// Every connection ends in the middle of a frame.
    CutInsideFrame,
    /// Half-open: sockets stay, nothing is read or written.
    Stall,
    /// No spot events; everything else goes on.
    Mute,
    /// TCP is accepted, TLS never finishes.
    HangTls,
    /// The listener is closed.
    Refuse,
    /// Every application is refused.
    RejectCredentials,
}

/// How long a fault lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// Happens when asked for and is over.
    Once,
    /// Stays until switched off.
    UntilSwitchedOff,
}

/// What is known about a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultRow {
    /// The fault.
    pub fault: Fault,
    /// Its name on the admin port.
    pub name: &'static str,
    /// How long it lasts.
    pub lasting: Lasting,
    /// What it does, in a sentence.
    pub effect: &'static str,
}

/// Every fault there is.
pub const FAULTS: &[FaultRow] = &[
    FaultRow { fault: Fault::Cut, name: "cut", lasting: Lasting::Once, effect: "every connection is reset" },
    FaultRow {
        fault: Fault::CutInsideFrame,
        name: "cut-inside-frame",
        lasting: Lasting::Once,
        effect: "every connection gets half a frame, then its end",
    },
    FaultRow {
        fault: Fault::Stall,
        name: "stall",
        lasting: Lasting::UntilSwitchedOff,
        effect: "sockets stay open, nothing is read or written, on new connections neither",
    },
    FaultRow {
        fault: Fault::Mute,
        name: "mute",
        lasting: Lasting::UntilSwitchedOff,
        effect: "no spot events; answers and heartbeats go on",
    },
    FaultRow {
        fault: Fault::HangTls,
        name: "hang-tls",
        lasting: Lasting::UntilSwitchedOff,
        effect: "new connections are accepted, their TLS handshake is never answered",
    },
    FaultRow {
        fault: Fault::Refuse,
        name: "refuse",
        lasting: Lasting::UntilSwitchedOff,
        effect: "the listener is closed; what is connected stays",
    },
    FaultRow {
        fault: Fault::RejectCredentials,
        name: "reject-credentials",
        lasting: Lasting::UntilSwitchedOff,
        effect: "application auth is refused with CH_CLIENT_AUTH_FAILURE and the connection closed",
    },
];

impl Fault {
    /// The fault of this name.
    pub fn named(name: &str) -> Option<&'static FaultRow> {
        FAULTS.iter().find(|row| row.name == name)
    }
}

/// Which lasting faults are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultSet(u32);

impl FaultSet {
    /// True while the fault is on.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & bit(fault) != 0
    }

    pub(crate) fn set(&mut self, fault: Fault, on: bool) {
        if on {
            self.0 |= bit(fault);
        } else {
            self.0 &= !bit(fault);
        }
    }
}

fn bit(fault: Fault) -> u32 {
    1 << (fault as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_fault_has_one_row_and_one_name() {
        let names: BTreeSet<&str> = FAULTS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), FAULTS.len());
        for row in FAULTS {
            assert_eq!(Fault::named(row.name), Some(row));
            assert_eq!(FAULTS.iter().filter(|other| other.fault == row.fault).count(), 1);
        }
        assert_eq!(Fault::named("no-such"), None);
    }

    #[test]
    fn faults_are_switched_one_by_one() {
        let mut set = FaultSet::default();
        set.set(Fault::Mute, true);
        set.set(Fault::Refuse, true);
        set.set(Fault::Mute, false);
        assert!(set.has(Fault::Refuse) && !set.has(Fault::Mute) && !set.has(Fault::Stall));
    }
}
