use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, Pace, Progressed, Seats, Turn};
use crate::link::Route;
use crate::progress::Progress;
use crate::symbols::SymbolTable;
use crate::tally::{Tally, count_name};
use crate::{LoadError, Settings, Target};

/// One buffer serves all connections of a thread.
const READ_BYTES: usize = 256 * 1024;

/// Events taken at a time.
const EVENTS: usize = 1024;

/// How long nothing may be looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A server has this long to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the kernel takes for a client that reads slowly or not: little, so that the server soon notices.
const SLOW_RECEIVE_BYTES: usize = 16 * 1024;

/// Connections begun in one turn of the loop, so that open ones are served meanwhile.
const CONNECTS_PER_TURN: usize = 64;

/// One thread with all its clients: one loop, one poll, one buffer.
pub(crate) struct Worker {
    settings: Arc<Settings>,
    symbols: Arc<SymbolTable>,
    progress: Arc<Progress>,
    route: Route,
    fallback: Option<Route>,
    poll: Poll,
    clients: Vec<Option<Client>>,
    /// The clients' numbers in the whole run.
    turns: Vec<usize>,
    /// Those to connect to the fallback, with where they stood.
    homeless: Vec<(usize, Option<Seats>)>,
    /// Clients with more to read than one turn allows.
    busy: Vec<usize>,
    /// Clients that read slowly.
    slow: Vec<usize>,
    opening: usize,
    tally: Tally,
    buffer: Vec<u8>,
}

impl Worker {
    pub(crate) fn new(
        settings: Arc<Settings>,
        symbols: Arc<SymbolTable>,
        progress: Arc<Progress>,
        route: Route,
        fallback: Option<Route>,
        thread: usize,
    ) -> Result<Self, LoadError> {
        let turns: Vec<usize> = (thread..settings.clients).step_by(settings.threads).collect();
        Ok(Self {
            poll: Poll::new()?,
            clients: Vec::with_capacity(turns.len()),
            turns,
            homeless: Vec::new(),
            busy: Vec::new(),
            slow: Vec::new(),
            opening: 0,
            tally: Tally::new(settings.slice_ms),
            buffer: vec![0; READ_BYTES],
            settings,
            symbols,
            progress,
            route,
            fallback,
        })
    }

    /// Carries the clients until the run ends, and says goodbye.
    pub(crate) fn carry(mut self) -> Result<Tally, LoadError> {
        let begun = Instant::now();
        let mut events = Events::with_capacity(EVENTS);
        let mut looked = begun;
        while !self.progress.stopped.load(Ordering::Relaxed) {
            self.connect_due(begun);
            self.poll(&mut events, self.timeout(begun))?;
            for event in &events {
                let index = event.token().0;
                if event.is_read_closed()
                    && let Some(Some(client)) = self.clients.get_mut(index)
                {
                    client.link.is_ending = true;
                }
                self.turn(index);
            }
            for index in std::mem::take(&mut self.busy) {
                self.turn(index);
            }
            if looked.elapsed() >= LOOK_INTERVAL {
                self.look(looked.elapsed());
                looked = Instant::now();
            }
        }
        self.leave(&mut events)?;
        Ok(self.tally)
    }

    fn poll(&mut self, events: &mut Events, timeout: Duration) -> Result<(), LoadError> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            polled => Ok(polled?),
        }
    }

    fn timeout(&self, begun: Instant) -> Duration {
        if !self.busy.is_empty() || !self.homeless.is_empty() {
            return Duration::ZERO;
        }
        let next = self.turns.get(self.clients.len()).map(|turn| self.due(*turn));
        let until_next = next.map(|due| due.saturating_sub(begun.elapsed()));
        until_next.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL)
    }

    /// When a client connects, from the run's start.
    fn due(&self, turn: usize) -> Duration {
        let rate = self.settings.connects_per_s;
        rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs(1) / rate * u32::try_from(turn).unwrap_or(u32::MAX)
        })
    }

    /// Begins the connections whose time has come.
    fn connect_due(&mut self, begun: Instant) {
        for _ in 0..CONNECTS_PER_TURN {
            let index = self.clients.len();
            match self.turns.get(index) {
                Some(turn) if self.due(*turn) <= begun.elapsed() => {
                    self.clients.push(None);
                    self.connect(index, None);
                }
                _ => break,
            }
        }
        for _ in 0..CONNECTS_PER_TURN {
            let Some((index, seats)) = self.homeless.pop() else { break };
            self.connect(index, Some(seats));
        }
    }

    /// Connects a client; once more where `again`, with where it stood.
    fn connect(&mut self, index: usize, again: Option<Option<Seats>>) {
        let is_again = again.is_some();
        let turn = self.turns[index];
        let settings = &self.settings;
        let pace = if turn < settings.stalled {
            Pace::Stalled
        } else if turn < settings.stalled + settings.slow {
            Pace::Slow
        } else {
            Pace::Quick
        };
        let route = if is_again { self.fallback.as_ref().unwrap_or(&self.route) } else { &self.route };
        let receive_bytes = (pace != Pace::Quick).then_some(SLOW_RECEIVE_BYTES);
        let dialled = route.dial(receive_bytes).and_then(|mut link| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut link.stream, Token(index), interest)?;
            Ok(link)
        });
        match dialled {
            Ok(link) => {
                let is_audited = turn.is_multiple_of(settings.audit_every);
                if !is_again {
                    self.tally.opened.add(now_us());
                }
                self.clients[index] = Some(Client::new(link, pace, is_audited, again));
                self.opening += 1;
            }
            Err(error) => self.failed(&error.into()),
        }
    }

    fn failed(&mut self, error: &LoadError) {
        count_name(&mut self.tally.failures, &error.kind(), 1);
        self.progress.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Something happened at a client's socket.
    fn turn(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        let target = target_of(&self.settings, client);
        let mut turn = Turn {
            settings: &self.settings,
            target,
            symbols: &self.symbols,
            tally: &mut self.tally,
            buffer: &mut self.buffer,
            now_us: now_us(),
            is_measuring: self.progress.measuring.load(Ordering::Relaxed),
        };
        let mine = || self.symbols.choice(&self.settings, self.turns[index]);
        match client.advance(mine, &mut turn) {
            Ok((progressed, more)) => {
                if more {
                    self.busy.push(index);
                }
                if progressed == Progressed::Opened {
                    self.opened(index);
                }
            }
            Err(error) => self.lost(index, &error),
        }
    }

    fn opened(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        client.is_counted = true;
        let took_us = u64::try_from(client.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if client.is_again {
            self.tally.reconnect_us.saturating_record(took_us);
            self.tally.replaced.add(now_us());
        } else {
            self.tally.connect_us.saturating_record(took_us);
            self.tally.opened.add(now_us());
        }
        if client.pace == Pace::Slow {
            self.slow.push(index);
        }
        self.opening -= 1;
        self.progress.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection could not be made or has ended.
    fn lost(&mut self, index: usize, error: &LoadError) {
        // It may have opened and ended in one read.
        if self.clients[index].as_ref().is_some_and(|client| client.is_open() && !client.is_counted) {
            self.opened(index);
        }
        let Some(client) = self.clients[index].take() else { return };
        if !client.is_open() {
            self.opening -= 1;
            return self.failed(error);
        }
        self.progress.open.fetch_sub(1, Ordering::Relaxed);
        let name = match error {
            LoadError::Closed(code) => code.to_string(),
            other => other.kind(),
        };
        count_name(&mut self.tally.closes, &name, 1);
        if self.fallback.is_some() && !client.is_again {
            self.tally.replaced.add(now_us());
            self.homeless.push((index, client.into_seats().filter(|_| self.settings.resume)));
        } else {
            self.progress.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is done now and then: slow reads, and giving up what takes too long.
    fn look(&mut self, passed: Duration) {
        let second = Duration::from_secs(1).as_micros();
        for index in self.slow.clone() {
            let Some(client) = self.clients[index].as_mut() else { continue };
            let earned =
                u128::try_from(self.settings.slow_bytes_per_s).unwrap_or(0) * passed.as_micros() / second;
            // A pause of the tool itself is not made up for.
            let most = self.settings.slow_bytes_per_s.max(1);
            client.allowance = (client.allowance + usize::try_from(earned).unwrap_or(most)).min(most);
            let allowed = client.allowance;
            let mut turn = Turn {
                settings: &self.settings,
                target: &self.settings.target,
                symbols: &self.symbols,
                tally: &mut self.tally,
                buffer: &mut self.buffer,
                now_us: now_us(),
                is_measuring: self.progress.measuring.load(Ordering::Relaxed),
            };
            let read = client.read(allowed, &mut turn);
            if let Err(error) = read {
                self.lost(index, &error);
            }
        }
        if self.opening == 0 {
            return;
        }
        for index in 0..self.clients.len() {
            let timeout = self.settings.connect_timeout;
            let is_late = |client: &Client| !client.is_open() && client.begun.elapsed() > timeout;
            if self.clients[index].as_ref().is_some_and(is_late) {
                self.lost(index, &LoadError::Timeout("connecting"));
            }
        }
    }

    /// Closes what is open. How the servers take their leave is not part of the figures.
    fn leave(&mut self, events: &mut Events) -> Result<(), LoadError> {
        let mut left = 0;
        for place in &mut self.clients {
            let keep = place.as_mut().is_some_and(|client| client.is_open() && client.close().is_ok());
            if keep {
                left += 1;
            } else {
                *place = None;
            }
        }
        let end = Instant::now() + CLOSE_TIMEOUT;
        let mut forgotten = Tally::new(0);
        while left > 0 && Instant::now() < end {
            self.poll(events, LOOK_INTERVAL)?;
            for event in events.iter() {
                let Some(client) = self.clients.get_mut(event.token().0).and_then(Option::as_mut) else {
                    continue;
                };
                client.link.is_ending |= event.is_read_closed();
                let mut turn = Turn {
                    settings: &self.settings,
                    target: &self.settings.target,
                    symbols: &self.symbols,
                    tally: &mut forgotten,
                    buffer: &mut self.buffer,
                    now_us: 0,
                    is_measuring: false,
                };
                if client.read(usize::MAX, &mut turn).is_err() {
                    self.clients[event.token().0] = None;
                    left -= 1;
                }
            }
        }
        Ok(())
    }
}

fn target_of<'a>(settings: &'a Settings, client: &Client) -> &'a Target {
    settings.reconnect_to.as_ref().filter(|_| client.is_again).unwrap_or(&settings.target)
}

/// The wall clock, Unix microseconds.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
