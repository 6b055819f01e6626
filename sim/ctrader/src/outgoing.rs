//! What a connection still has to send, and how fast it may.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// Bytes that may wait for one connection; one further behind is disconnected.
pub(crate) const OUTGOING_BYTES_MAX: usize = 8 << 20;

/// How often a trickle drips.
const DRIP_EVERY: Duration = Duration::from_millis(50);

/// How fast bytes leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Pace {
    /// At once, as much as there is.
    #[default]
    Free,
    /// At once, each byte by itself.
    OneByte,
    /// Everything of so long together.
    Gathered(Duration),
    /// So many bytes per second.
    Trickle(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: BytesMut,
    pace: Pace,
    /// How many bytes may leave now, where the pace holds them back.
    released: usize,
    due: Option<Duration>,
}

impl Outgoing {
    pub(crate) fn append(&mut self, now: Duration, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.arm(now);
    }

    pub(crate) fn pace(&mut self, now: Duration, pace: Pace) {
        if self.pace != pace {
            self.pace = pace;
            self.released = 0;
            self.due = None;
            self.arm(now);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.released = 0;
        self.due = None;
    }

    /// True where something may leave now; a connection about to end holds nothing back.
    pub(crate) fn is_ready(&self, ending: bool) -> bool {
        match self.pace {
            Pace::Gathered(_) | Pace::Trickle(_) if !ending => self.released > 0,
            _ => !self.bytes.is_empty(),
        }
    }

    pub(crate) fn take(&mut self, ending: bool) -> Bytes {
        let len = match self.pace {
            Pace::OneByte => self.bytes.len().min(1),
            Pace::Gathered(_) | Pace::Trickle(_) if !ending => std::mem::take(&mut self.released),
            _ => self.bytes.len(),
        };
        self.bytes.split_to(len).freeze()
    }

    /// When [`Outgoing::release`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Time has passed.
    pub(crate) fn release(&mut self, now: Duration) {
        while let Some(due) = self.due.filter(|due| *due <= now) {
            let step = match self.pace {
                Pace::Trickle(bytes_per_s) => {
                    usize::try_from((bytes_per_s / 20).max(1)).unwrap_or(usize::MAX)
                }
                _ => usize::MAX,
            };
            self.released = self.released.saturating_add(step).min(self.bytes.len());
            self.due = (self.released < self.bytes.len()).then_some(due + DRIP_EVERY);
        }
    }

    fn arm(&mut self, now: Duration) {
        if self.due.is_some() || self.released >= self.bytes.len() {
            return;
        }
        self.due = match self.pace {
            Pace::Free | Pace::OneByte => None,
            Pace::Gathered(time) => Some(now + time),
            Pace::Trickle(_) => Some(now + DRIP_EVERY),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_trickle_keeps_its_rate_and_loses_nothing() {
        let mut out = Outgoing::default();
        out.pace(ms(0), Pace::Trickle(100));
        out.append(ms(0), &[7; 12]);
        let mut taken = Vec::new();
        while let Some(due) = out.deadline() {
            assert!(!out.is_ready(false));
            out.release(due);
            taken.push((due, out.take(false).len()));
        }
        assert_eq!(taken, [(ms(50), 5), (ms(100), 5), (ms(150), 2)]);
        assert_eq!(out.len(), 0);
    }

    #[test]
    fn gathered_bytes_leave_together_and_at_once_when_the_end_comes() {
        let mut out = Outgoing::default();
        out.pace(ms(0), Pace::Gathered(ms(100)));
        out.append(ms(0), b"ab");
        out.append(ms(60), b"cd");
        assert_eq!(out.deadline(), Some(ms(100)));
        out.release(ms(100));
        assert_eq!((&out.take(false)[..], out.deadline()), (&b"abcd"[..], None));
        out.append(ms(110), b"e");
        assert!(!out.is_ready(false) && out.is_ready(true));
        assert_eq!(&out.take(true)[..], b"e");
    }

    #[test]
    fn a_change_of_pace_holds_nothing_back_for_ever() {
        let mut out = Outgoing::default();
        out.pace(ms(0), Pace::Gathered(ms(100)));
        out.append(ms(0), b"ab");
        out.pace(ms(10), Pace::OneByte);
        assert_eq!((out.take(false).len(), out.is_ready(false)), (1, true));
        out.pace(ms(20), Pace::Trickle(20));
        assert_eq!(out.deadline(), Some(ms(70)));
        out.pace(ms(30), Pace::Free);
        assert_eq!(&out.take(false)[..], b"b");
    }
}
