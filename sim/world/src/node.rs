use std::collections::VecDeque;
use std::time::Duration;

use tickcast_model::{ChannelEvent, VenueHealth};
use tickcast_session::{DialPace, Leadership, Supervisor};

use crate::meter::Window;
use crate::venue::{Door, Venue};
use crate::wire::Socket;

/// One ingest process.
pub(crate) struct Node<V: Venue> {
    pub(crate) power: Power,
    /// Counts starts, so that answers to an earlier life are not heard in this one.
    pub(crate) life: u64,
    pub(crate) leadership: Leadership,
    /// What it does while it leads.
    pub(crate) term: Option<Term<V>>,
    pub(crate) meter: V::Meter,
    pub(crate) dialled: Window,
    /// Lives as long as the process, as its count does.
    pub(crate) dials: DialPace,
    /// What the process remembers from one connection to the next.
    pub(crate) memory: V::Memory,
    /// What it published and the bus has not delivered yet.
    pub(crate) published: VecDeque<(Duration, Said)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    Running,
    /// Stands still; its connections stay open and fill.
    Paused,
    Dead,
}

/// The life of one supervisor: from the beginning of its leadership to the end of it.
pub(crate) struct Term<V: Venue> {
    pub(crate) epoch: u64,
    pub(crate) supervisor: Supervisor<V::Session>,
    pub(crate) socket: Socket<V::Line>,
    /// As last told.
    pub(crate) ready: bool,
}

/// A message on the bus.
pub(crate) enum Said {
    Event(ChannelEvent),
    Health(VenueHealth),
}

impl<V: Venue> Node<V> {
    pub(crate) fn new(leadership: Leadership, memory: V::Memory) -> Self {
        Self {
            power: Power::Running,
            life: 0,
            leadership,
            term: None,
            meter: V::Meter::default(),
            dialled: Window::default(),
            dials: V::dials(),
            memory,
            published: VecDeque::new(),
        }
    }

    /// True where it runs and leads.
    pub(crate) fn leads(&self) -> bool {
        self.power == Power::Running && self.term.is_some()
    }

    /// When this process has something to do by itself or something to read, or something of it arrives.
    pub(crate) fn next_time(&self) -> Option<Duration> {
        let socket = self.term.as_ref().map(|term| &term.socket);
        let elsewhere = match socket {
            Some(Socket::Up(wire)) => wire.venue_at(),
            _ => None,
        };
        let elsewhere = elsewhere.into_iter().chain(self.published.front().map(|(at, _)| *at)).min();
        if self.power != Power::Running {
            return elsewhere;
        }
        let read = match socket {
            None | Some(Socket::None | Socket::Dialling { door: Door::Silent, .. }) => None,
            Some(Socket::Dialling { at, .. }) => Some(*at),
            Some(Socket::Up(wire)) => wire.ingest_at(),
        };
        let supervisor = self.term.as_ref().map(|term| {
            let deadline = term.supervisor.deadline();
            assert!(deadline.is_some(), "alive and without a deadline");
            deadline.unwrap_or_default()
        });
        [supervisor, read, elsewhere, self.leadership.deadline()].into_iter().flatten().min()
    }
}
