//! The threads that write to browsers: each owns its clients' sockets and waits for all of them at once.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::net::SendFlags;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::gateway::Gateway;
use crate::mailbox::Mailbox;
use crate::shard::{Arrival, Shard, Socket};
use crate::tls::TlsSocket;

/// The token of whoever calls from another thread. Clients have their numbers, which never grow so far.
const WAKE: Token = Token(usize::MAX);

/// Socket events taken at once.
const EVENTS: usize = 1_024;

/// The writers of a gateway.
pub struct Writers {
    inboxes: Vec<Arc<Inbox>>,
    /// Not running yet.
    polls: Mutex<Vec<Poll>>,
}

/// Where new clients wait for their writer.
struct Inbox {
    arrivals: Mutex<Vec<Arrival<Wire>>>,
    mailbox: Arc<Mailbox>,
    waker: Arc<Waker>,
    clients: AtomicUsize,
}

impl Writers {
    /// Prepares `count` writers.
    ///
    /// # Errors
    /// The system has no more descriptors for their queues.
    pub fn open(count: usize) -> io::Result<Self> {
        let (mut inboxes, mut polls) = (Vec::new(), Vec::new());
        for _ in 0..count.max(1) {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
            let wake = waker.clone();
            // A waker fails only where its queue is gone, and then there is nobody to wake.
            let mailbox = Arc::new(Mailbox::new(move || _ = wake.wake()));
            inboxes.push(Arc::new(Inbox {
                arrivals: Mutex::default(),
                mailbox,
                waker,
                clients: AtomicUsize::new(0),
            }));
            polls.push(poll);
        }
        Ok(Self { inboxes, polls: Mutex::new(polls) })
    }

    /// Starts the threads. They end once the gateway is stopped and their last client is gone; the first that ends, however,
    /// cancels `ended`.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub fn start(
        &self,
        gateway: &Arc<Gateway>,
        ended: &CancellationToken,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let polls = std::mem::take(&mut *self.polls.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads = Vec::new();
        for (number, (poll, inbox)) in polls.into_iter().zip(&self.inboxes).enumerate() {
            let (inbox, gateway) = (inbox.clone(), gateway.clone());
            let ended = ended.clone().drop_guard();
            let run = move || {
                let _ended = ended;
                if let Err(error) = run(poll, &inbox, gateway) {
                    error!(%error, "a writer ended, its clients are lost");
                }
            };
            threads.push(std::thread::Builder::new().name(format!("writer-{number}")).spawn(run)?);
        }
        Ok(threads)
    }

    /// Hands a browser to the writer with the fewest.
    pub fn give(&self, arrival: Arrival<Wire>) {
        let fewest = self.inboxes.iter().min_by_key(|inbox| inbox.clients.load(Ordering::Relaxed));
        let Some(inbox) = fewest else { return };
        inbox.clients.fetch_add(1, Ordering::Relaxed);
        inbox.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
        let _ = inbox.waker.wake();
    }
}

/// A browser's connection, plain or with TLS.
pub enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted here.
    Tls(TlsSocket),
}

impl Wire {
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(socket) => &mut socket.tcp,
        }
    }
}

impl Socket for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(socket) => socket.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // The bare system call: around the C library's stand forty instructions for thread cancellation, which nobody
            // here uses, and a sixth of what a tick costs.
            Self::Plain(tcp) => Ok(rustix::net::send(&*tcp, bytes, SendFlags::NOSIGNAL)?),
            Self::Tls(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(socket) => socket.flush(),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.shutdown(Shutdown::Write),
            Self::Tls(socket) => socket.finish(),
        }
    }
}

/// One writer's life.
fn run(mut poll: Poll, inbox: &Inbox, gateway: Arc<Gateway>) -> io::Result<()> {
    let stop = gateway.stop.clone();
    let mut shard = Shard::new(gateway, inbox.mailbox.clone(), Instant::now());
    let mut events = Events::with_capacity(EVENTS);
    loop {
        let timeout = shard.deadline().saturating_duration_since(Instant::now());
        match poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = Instant::now();
        for event in &events {
            let Ok(index) = u32::try_from(event.token().0) else { continue };
            if event.is_readable() || event.is_error() {
                shard.readable(index, now);
            }
            if event.is_writable() {
                shard.writable(index, now);
            }
        }
        let arrivals = std::mem::take(&mut *inbox.arrivals.lock().unwrap_or_else(PoisonError::into_inner));
        for mut arrival in arrivals {
            let token = Token(shard.next_number() as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            match poll.registry().register(arrival.socket.tcp(), token, interest) {
                Ok(()) => shard.insert(arrival, now),
                Err(error) => warn!(%error, "cannot wait for a client"),
            }
        }
        shard.pass(now);
        inbox.clients.store(shard.len(), Ordering::Relaxed);
        if stop.is_cancelled() && shard.is_empty() && inbox.arrivals.lock().is_ok_and(|left| left.is_empty())
        {
            return Ok(());
        }
    }
}
