use crate::feed::Reading;

/// One client's reading of one channel: twenty bytes, for most of a client's memory is these.
pub(super) struct Sub {
    /// The channel's number in the shard.
    pub(super) channel: u32,
    /// The reader's place in the channel, and above that what is special about it, which for most is nothing.
    place: u32,
    pub(super) reading: Reading,
}

/// What may be special about a [`Sub`].
pub(super) mod special {
    /// Nothing is told of the channel until an answer was given.
    pub(in super::super) const HELD: u32 = 1 << 31;
    /// Only the newest tick is wanted, no sooner than the client's rates say.
    pub(in super::super) const LATEST: u32 = 1 << 30;
    /// A client that is too slow gets what is pending as one tick, not as a gap.
    pub(in super::super) const MERGES: u32 = 1 << 29;
    /// The client was too slow: what is pending is passed over.
    pub(in super::super) const JUMPS: u32 = 1 << 28;
    /// What is pending comes as one tick, this once.
    pub(in super::super) const FOLDS: u32 = 1 << 27;
}

/// The bits of a place; there are never so many clients.
const PLACE: u32 = special::FOLDS - 1;

impl Sub {
    /// A reading like any other.
    pub(super) fn new(channel: u32, place: u32, reading: Reading) -> Self {
        Self { channel, place: place & PLACE, reading }
    }

    pub(super) fn place(&self) -> u32 {
        self.place & PLACE
    }

    pub(super) fn move_to(&mut self, place: u32) {
        self.place = self.place & !PLACE | place & PLACE;
    }

    /// True where nothing is special about it.
    pub(super) fn is_plain(&self) -> bool {
        self.place <= PLACE
    }

    /// True where any of these is set.
    pub(super) fn is(&self, special: u32) -> bool {
        self.place & special != 0
    }

    pub(super) fn set(&mut self, special: u32) {
        self.place |= special;
    }

    pub(super) fn unset(&mut self, special: u32) {
        self.place &= !special;
    }

    /// True where what is pending of it has no end to wait for: each tick is wanted.
    pub(super) fn wants_every(&self) -> bool {
        !self.is(special::LATEST | special::HELD)
    }
}
