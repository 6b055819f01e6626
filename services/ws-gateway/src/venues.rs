use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tickcast_model::VenueId;

use crate::catalogue::Book;
use crate::health::{CONNECTED, Now, VenueTracker};
use crate::hub::{ChannelKey, Hub};
use crate::protocol::{self, Offer, StatusView};
use crate::session::{LookUp, VenueNumber, World};

/// Reads both clocks.
pub fn now() -> Now {
    Now { at: tokio::time::Instant::now().into_std(), unix_ms: unix_us() / 1_000 }
}

/// Unix microseconds.
pub fn unix_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The venues this gateway offers, with what is known of each: the world of the sessions.
pub struct Venues {
    ids: Vec<VenueId>,
    states: Vec<VenueState>,
    hub: Arc<Hub>,
}

struct VenueState {
    tracker: Mutex<VenueTracker>,
    /// Kept while the venue is away.
    book: RwLock<Option<Arc<Book>>>,
    /// The greatest epoch heard of, in whatever channel or in the venue's health: what comes with a smaller one is late.
    epoch: Arc<AtomicU64>,
}

/// A list with nothing in it.
static NO_NAMES: std::sync::LazyLock<Box<serde_json::value::RawValue>> =
    std::sync::LazyLock::new(|| serde_json::value::to_raw_value::<[&str]>(&[]).unwrap_or_default());

impl Venues {
    /// The venues of the settings, of which nothing is known yet.
    pub fn new(ids: Vec<VenueId>, hub: Arc<Hub>) -> Self {
        let now = now();
        let state = |id: &VenueId| VenueState {
            tracker: Mutex::new(VenueTracker::new(id.clone(), now)),
            book: RwLock::new(None),
            epoch: Arc::default(),
        };
        Self { states: ids.iter().map(state).collect(), ids, hub }
    }

    /// The numbers of all venues.
    pub fn numbers(&self) -> impl Iterator<Item = VenueNumber> + use<> {
        0..VenueNumber::try_from(self.ids.len()).unwrap_or(VenueNumber::MAX)
    }

    /// The number of a venue.
    pub fn number(&self, name: &str) -> Option<VenueNumber> {
        self.ids.iter().position(|id| id.as_str() == name).and_then(|n| VenueNumber::try_from(n).ok())
    }

    /// The name of a venue.
    ///
    /// # Panics
    /// Where the number is none of [`Venues::numbers`].
    pub fn id(&self, venue: VenueNumber) -> &VenueId {
        &self.ids[usize::from(venue)]
    }

    /// What is made of the venue's health. Hold it shortly.
    pub fn tracker(&self, venue: VenueNumber) -> MutexGuard<'_, VenueTracker> {
        self.states[usize::from(venue)].tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch of which everything of the venue has to be, at least.
    pub fn epoch(&self, venue: VenueNumber) -> &Arc<AtomicU64> {
        &self.states[usize::from(venue)].epoch
    }

    /// The venue's catalogue, where it is known.
    pub fn book(&self, venue: VenueNumber) -> Option<Arc<Book>> {
        self.states[usize::from(venue)].book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a newer catalogue.
    pub fn set_book(&self, venue: VenueNumber, book: Book) {
        let mut place = self.states[usize::from(venue)].book.write().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Arc::new(book));
    }

    /// The `status` message of a venue as it is, without its symbols.
    pub fn brief(&self, venue: VenueNumber) -> Bytes {
        protocol::status(&self.tracker(venue).view(now()), None)
    }

    /// The `status` message of a view; a connected venue's symbols go with it.
    pub fn announcement(&self, venue: VenueNumber, view: &StatusView) -> Bytes {
        let book = self.book(venue).filter(|_| view.status == CONNECTED);
        let offer = book.as_ref().map(|book| Offer { names: book.names(), open: book.is_open() });
        protocol::status(view, offer)
    }
}

impl World for Venues {
    fn venues(&self) -> &[VenueId] {
        &self.ids
    }

    fn look_up(&self, venue: VenueNumber, name: &str) -> LookUp {
        match self.book(venue) {
            None => LookUp::NotYet,
            Some(book) => book.look_up(name).map_or(LookUp::Unknown, LookUp::Symbol),
        }
    }

    fn is_ready(&self, venue: VenueNumber) -> bool {
        self.tracker(venue).is_ready(now())
    }

    fn has_room(&self, key: &ChannelKey, besides: usize) -> bool {
        self.hub.has_room(key, besides)
    }

    fn status(&self, venue: VenueNumber) -> Bytes {
        let view = self.tracker(venue).view(now());
        let book = self.book(venue);
        let offer = book.as_ref().map_or(Offer { names: &NO_NAMES, open: false }, |book| Offer {
            names: book.names(),
            open: book.is_open(),
        });
        protocol::status(&view, Some(offer))
    }

    fn now_ms(&self) -> i64 {
        unix_us() / 1_000
    }
}
