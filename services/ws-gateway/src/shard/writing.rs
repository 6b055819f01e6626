use std::io;
use std::time::Instant;

use super::channels::Pending;
use super::gather::gather;
use super::{Shard, Socket};
use crate::metrics::{GatewayMetrics, seconds_between};
use crate::venues::unix_us;

/// Writes for one client before others get their turn.
const WRITES_A_TURN: usize = 4;

/// One write in so many is measured: a clock reading and a histogram for each would cost more than the rest.
const MEASURED_WRITES: u32 = 32;

/// Counted here and added to the metrics once a pass.
#[derive(Default)]
pub(super) struct Counts {
    delivered: u64,
    merged: u64,
    missed: u64,
    writes: u64,
    bytes: u64,
    since_measured: u32,
}

impl Counts {
    /// Bytes taken by sockets in this pass so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts a write of so many ticks; `oldest_us` is when the oldest of those that were new arrived, 0 for none.
    #[inline]
    fn wrote(&mut self, ticks: u64, oldest_us: i64, metrics: &GatewayMetrics) {
        self.writes += 1;
        self.delivered += ticks;
        if oldest_us != 0 {
            self.since_measured += 1;
            if self.since_measured >= MEASURED_WRITES {
                self.since_measured = 0;
                metrics.to_socket.observe(seconds_between(oldest_us, unix_us()));
            }
        }
    }
}

/// How what there is for a client gets into its socket.
impl<S: Socket> Shard<S> {
    /// Writes everything there is for a client, in as few writes as it takes.
    pub(super) fn write_to(&mut self, index: u32, now: Instant) {
        let now_ms = self.millis(now);
        let notes_end = self.notes_gone + self.notes.len() as u64;
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let pace = &mut self.pace[index as usize];
        if client.blocked_since.is_some() {
            return;
        }
        pace.waits = false;
        let result = match self.channels.pending(&client.subs, client.rates.as_deref(), now_ms) {
            _ if !client.has_only_frames(notes_end) => self.write_all(index, now),
            Pending::Nothing => return,
            // By far the most frequent case where ticks are few: the shared frame goes out as it is.
            Pending::OneTick { place, frame, after } => {
                client.subs[place].reading = after;
                client.said_at = now;
                pace.open_from_ms = now_ms + self.flush_ms;
                self.counts.wrote(1, frame.arrived_us, &self.gateway.metrics);
                let result = client.write(frame.text(), now, &mut self.counts.bytes);
                pace.waits = client.blocked_since.is_some();
                result
            }
            Pending::More => self.write_all(index, now),
        };
        if result.is_err() {
            self.lost(index, now);
        }
    }

    /// The general case of [`Shard::write_to`].
    fn write_all(&mut self, index: u32, now: Instant) -> io::Result<()> {
        let now_ms = self.millis(now);
        let Some(client) = self.clients.get_mut(index as usize) else { return Ok(()) };
        let pace = &mut self.pace[index as usize];
        let batch = &mut self.scratch.batch;
        client.write_kept(now, &mut self.counts.bytes)?;
        let (mut has_rated, mut is_behind) = (false, true);
        for turn in 0.. {
            if client.blocked_since.is_some() {
                break;
            }
            if turn == WRITES_A_TURN {
                pace.waits = true;
                self.ready.push(index);
                break;
            }
            if client.behind_since.is_some_and(|since| since + self.gateway.slow_after <= now) {
                client.pass_over(&self.channels, now);
                self.gateway.metrics.passed_over.inc();
            }
            let around = (&*self.gateway, now_ms);
            let gathered = gather(client, &self.channels, &self.notes, self.notes_gone, around, batch);
            client.form.finish(batch);
            has_rated |= gathered.has_rated;
            is_behind = gathered.is_full;
            if batch.is_empty() {
                break;
            }
            self.counts.missed += gathered.missed;
            self.counts.merged += gathered.merged;
            for _ in 0..gathered.cut {
                self.gateway.metrics.dropped("folds");
            }
            self.counts.wrote(gathered.ticks, gathered.oldest_us, &self.gateway.metrics);
            client.write(batch, now, &mut self.counts.bytes)?;
            if gathered.has_text {
                client.said_at = now;
            }
            pace.open_from_ms = now_ms + self.flush_ms;
            if !gathered.is_full {
                break;
            }
        }
        let is_blocked = client.blocked_since.is_some();
        pace.waits |= is_blocked;
        if !is_blocked && !is_behind {
            client.behind_since = None;
            client.is_slow = false;
        }
        if client.closing.is_some() && !is_blocked {
            client.socket.finish()?;
        }
        if has_rated {
            self.set_alarm(index, now_ms);
        }
        Ok(())
    }

    pub(super) fn publish_counts(&mut self) {
        let (counts, metrics) = (&mut self.counts, &self.gateway.metrics);
        for (count, metric) in [
            (&mut counts.delivered, &metrics.delivered),
            (&mut counts.merged, &metrics.merged),
            (&mut counts.missed, &metrics.missed),
            (&mut counts.writes, &metrics.writes),
            (&mut counts.bytes, &metrics.written_bytes),
        ] {
            if *count > 0 {
                metric.inc_by(std::mem::take(count));
            }
        }
    }
}
