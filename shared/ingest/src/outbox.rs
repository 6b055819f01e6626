use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use tickcast_model::{Body, ChannelEvent, Symbol};
use tokio::sync::Notify;

/// Events on their way to the bus: bounded, in order, never waited for by the venue loop.
///
/// When it is full, and when the bus comes back after being away, only the newest tick and state of each channel stay
/// and the rest is counted as dropped. A drop shows downstream as a jump in `seq`, so nothing is lost unnoticed, and the
/// newest price of a quiet symbol always arrives.
pub(crate) struct Outbox {
    capacity: usize,
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<ChannelEvent>,
    dropped: u64,
}

impl Outbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default(), filled: Notify::new() }
    }

    /// Appends events, which leaves `events` empty; whoever waits is woken once for all of them.
    pub(crate) fn append(&self, events: &mut Vec<ChannelEvent>) {
        if events.is_empty() {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.queue.extend(events.drain(..));
        if inner.queue.len() > self.capacity {
            inner.conflate();
            // More channels than room: then the oldest go after all.
            while inner.queue.len() > self.capacity {
                inner.queue.pop_front();
                inner.dropped += 1;
            }
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Moves up to `most` events into `batch`, in order.
    pub(crate) fn take(&self, most: usize, batch: &mut VecDeque<ChannelEvent>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.is_empty() && inner.queue.len() <= most {
            // Most often all of it goes, and then nothing has to be copied.
            std::mem::swap(batch, &mut inner.queue);
        } else {
            let count = most.min(inner.queue.len());
            batch.extend(inner.queue.drain(..count));
        }
    }

    /// Keeps only the newest of each channel.
    pub(crate) fn conflate(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).conflate();
    }

    /// Waits until something was pushed since the last wait.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped: a push is remembered.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Events waiting, and events dropped since the last call.
    pub(crate) fn measure(&self) -> (usize, u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.queue.len(), std::mem::take(&mut inner.dropped))
    }
}

impl Inner {
    fn conflate(&mut self) {
        let before = self.queue.len();
        let mut seen: HashSet<(Symbol, bool)> = HashSet::new();
        let mut kept: VecDeque<ChannelEvent> = VecDeque::new();
        for event in self.queue.drain(..).rev() {
            if seen.insert((event.symbol.clone(), matches!(event.body, Body::Tick(_)))) {
                kept.push_front(event);
            }
        }
        self.dropped += u64::try_from(before - kept.len()).unwrap_or(u64::MAX);
        self.queue = kept;
    }
}

#[cfg(test)]
mod tests {
    use tickcast_model::{Position, StateChange, SymbolState, Tick};

    use super::*;

    fn event(symbol: &str, seq: u64, body: Body) -> ChannelEvent {
        ChannelEvent { symbol: Symbol::new(symbol).unwrap(), position: Position { epoch: 1, seq }, body }
    }

    fn tick(symbol: &str, seq: u64) -> ChannelEvent {
        let quote = Tick {
            bid: None,
            ask: None,
            last: None,
            digits: 5,
            venue_time_ms: None,
            received_us: 0,
            snapshot: false,
            delayed_s: None,
            details: None,
        };
        event(symbol, seq, Body::Tick(quote))
    }

    fn push(outbox: &Outbox, event: ChannelEvent) {
        outbox.append(&mut vec![event]);
    }

    fn drain(outbox: &Outbox) -> Vec<(String, u64)> {
        let mut batch = VecDeque::new();
        outbox.take(usize::MAX, &mut batch);
        batch.iter().map(|event| (event.symbol.to_string(), event.position.seq)).collect()
    }

    #[test]
    fn events_leave_in_order_and_in_batches() {
        let outbox = Outbox::new(10);
        for seq in 1..=5 {
            push(&outbox, tick("A", seq));
        }
        let mut batch = VecDeque::new();
        outbox.take(2, &mut batch);
        assert_eq!(batch.len(), 2);
        assert_eq!(drain(&outbox), [("A".into(), 3), ("A".into(), 4), ("A".into(), 5)]);
        assert_eq!(outbox.measure(), (0, 0));
    }

    #[test]
    fn a_full_outbox_keeps_the_newest_of_each_channel_and_counts_the_rest() {
        let outbox = Outbox::new(4);
        push(&outbox, tick("QUIET", 1));
        for seq in 1..=4 {
            push(&outbox, tick("BUSY", seq));
        }
        assert_eq!(drain(&outbox), [("QUIET".into(), 1), ("BUSY".into(), 4)]);
        assert_eq!(outbox.measure().1, 3);
    }

    #[test]
    fn a_batch_that_does_not_fit_keeps_the_newest_of_each_channel_too() {
        let outbox = Outbox::new(4);
        push(&outbox, tick("QUIET", 1));
        let mut batch: Vec<_> = (1..=9).map(|seq| tick("BUSY", seq)).collect();
        outbox.append(&mut batch);
        assert_eq!((batch.len(), drain(&outbox)), (0, vec![("QUIET".into(), 1), ("BUSY".into(), 9)]));
        assert_eq!(outbox.measure().1, 8);
    }

    #[test]
    fn a_state_survives_beside_the_ticks_of_its_channel() {
        let outbox = Outbox::new(100);
        push(&outbox, event("A", 0, Body::State(StateChange::plain(SymbolState::Pending))));
        push(&outbox, tick("A", 1));
        push(&outbox, event("A", 1, Body::State(StateChange::plain(SymbolState::Live))));
        push(&outbox, tick("A", 2));
        outbox.conflate();
        assert_eq!(drain(&outbox), [("A".into(), 1), ("A".into(), 2)]);
        assert_eq!(outbox.measure().1, 2);
    }

    #[test]
    fn more_channels_than_room_drops_the_oldest() {
        let outbox = Outbox::new(2);
        for symbol in ["A", "B", "C"] {
            push(&outbox, tick(symbol, 1));
        }
        assert_eq!(drain(&outbox), [("B".into(), 1), ("C".into(), 1)]);
    }
}
