use std::time::Instant;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;

use super::client::End;
use super::{
    HEARTBEAT_AFTER, NOTES_MAX, REPLIES_MAX, STUCK_AFTER, SWEEP_EVERY, SWEEPS, Shard, Socket, TRIED_AFTER,
    code, number,
};
use crate::bulletin::Note;
use crate::metrics::GatewayMetrics;
use crate::protocol;
use crate::reply::Reply;
use crate::session::World as _;

/// What waits for all clients of a shard together, as it was last shown: the shards of a gateway share the figures.
pub(super) struct Depths([(Gauge, i64); 2]);

impl Depths {
    pub(super) fn of(metrics: &GatewayMetrics) -> Self {
        Self(["client_replies", "client_answers"].map(|queue| (metrics.depth(queue), 0)))
    }

    fn show(&mut self, replies: usize, answers: usize) {
        for ((gauge, shown), count) in self.0.iter_mut().zip([replies, answers]) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            gauge.inc_by(count - *shown);
            *shown = count;
        }
    }
}

/// What concerns every client of a shard: news, the gateway's stop, and the clocks.
impl<S: Socket> Shard<S> {
    /// Something that concerns every client may have changed.
    pub(super) fn look_around(&mut self, now: Instant) {
        let known = self.notes_gone + self.notes.len() as u64;
        while let Some(note) = self.news.fetch() {
            match note {
                Note::Message(message) => self.post(message),
                Note::Missed => {
                    let venues = self.gateway.venues.clone();
                    venues.numbers().for_each(|venue| self.post(venues.status(venue)));
                }
            }
        }
        let has_news = self.notes_gone + self.notes.len() as u64 > known;
        let is_stopping = self.gateway.stop.is_cancelled()
            && !std::mem::replace(&mut self.draining, self.gateway.stop.is_cancelled());
        if is_stopping {
            // Now the moves are to be spread over a time that may be shorter.
            let every = (self.gateway.drain / SWEEPS).clamp(SWEEP_EVERY.0, SWEEP_EVERY.1);
            self.sweep_every = self.sweep_every.min(every);
            self.sweep_at = self.sweep_at.min(now + self.sweep_every);
        }
        // A catalogue may have come.
        self.waiting.look_soon(now);
        let everybody: Vec<u32> = self.clients.iter().map(|(index, _)| number(index)).collect();
        for index in everybody {
            let Some(client) = self.clients.get_mut(index as usize) else { continue };
            let mut actions = Vec::new();
            if client.session.is_waiting() {
                let held = self.channels.held(&client.subs, client.rates.as_deref());
                client.session.resolve(&*self.gateway.venues, &held, &mut actions);
            }
            let has_more = has_news || is_stopping || !actions.is_empty();
            self.act(index, &mut actions, now);
            if is_stopping {
                self.send_elsewhere(index, now);
            }
            if has_more && self.clients.contains(index as usize) {
                self.hurry(index);
            }
        }
    }

    fn post(&mut self, message: Bytes) {
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
            self.notes_gone += 1;
        }
        self.notes.push_back(message);
    }

    /// Three quarters of the time to spread the moves, the last quarter for each to make its own.
    pub(super) fn send_elsewhere(&mut self, index: u32, now: Instant) {
        let drain = self.gateway.drain;
        let reconnect_in = drain.mul_f64(0.75 * fastrand::f64());
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        client.close_at = Some(now + reconnect_in + drain / 4);
        let in_ms = u64::try_from(reconnect_in.as_millis()).unwrap_or(u64::MAX);
        self.reply(index, Reply::Message(protocol::goaway(in_ms)));
    }

    /// Says how every venue is.
    pub(super) fn greet(&mut self, index: u32) {
        let venues = self.gateway.venues.clone();
        venues.numbers().for_each(|venue| self.reply(index, Reply::Message(venues.brief(venue))));
    }

    /// Looks at every client's clock.
    pub(super) fn sweep(&mut self, now: Instant) {
        let ping = self.gateway.ping;
        let (mut ends, mut stuck) = (Vec::new(), Vec::new());
        let (mut replies, mut answers) = (0, 0);
        let mut heartbeat = None;
        for (index, client) in &mut self.clients {
            let index = number(index);
            replies += client.replies.len();
            answers += client.parked.as_ref().map_or(0, |parked| parked.len());
            let is_blocked = client.blocked_since.is_some();
            if let Some(closing) = &client.closing {
                if now >= closing.until {
                    ends.push((index, None));
                }
                continue;
            }
            if client.close_at.is_some_and(|at| now >= at) {
                ends.push((index, Some(End::Close(code::GOING_AWAY, "the gateway is stopping"))));
                continue;
            }
            if client.blocked_since.is_some_and(|since| now >= since + STUCK_AFTER) {
                ends.push((index, Some(End::Stuck)));
                continue;
            }
            if client.blocked_since.is_some_and(|since| now >= since + TRIED_AFTER) {
                stuck.push(index);
            }
            let mut says = false;
            if now >= client.ping_at && client.form.is_websocket() {
                if now >= client.heard_at + 2 * ping {
                    ends.push((index, Some(End::Close(code::SILENT, "no sign of life"))));
                    continue;
                }
                client.ping_at = now + ping;
                if client.replies.len() < REPLIES_MAX {
                    client.replies.push(Reply::Ping);
                    says = true;
                }
            }
            if now >= client.said_at + HEARTBEAT_AFTER && !is_blocked {
                client.said_at = now;
                let venues = &self.gateway.venues;
                let message = heartbeat.get_or_insert_with(|| protocol::heartbeat(venues.now_ms()));
                client.replies.push(Reply::Message(message.clone()));
                says = true;
            }
            let pace = &mut self.pace[index as usize];
            if says && !pace.waits {
                pace.waits = true;
                self.ready.push(index);
            }
        }
        self.depths.show(replies, answers);
        for index in stuck {
            self.writable(index, now);
        }
        for (index, end) in ends {
            match end {
                Some(End::Stuck) => {
                    self.gateway.metrics.dropped("client_socket");
                    self.end(index, End::Stuck, now);
                }
                Some(end) => self.end(index, end, now),
                None => self.lost(index, now),
            }
        }
    }
}
