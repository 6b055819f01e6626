/// How a symbol is delivered to one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Which of its ticks.
    pub mode: Mode,
    /// What becomes of those a client in mode `every` is too slow for.
    pub on_slow: OnSlow,
}

/// Which ticks of a symbol are delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Each of them.
    #[default]
    Every,
    /// The newest, no sooner than this after the one before, with the others merged into it.
    Latest {
        /// Milliseconds, at most [`INTERVAL_MS_MAX`].
        min_interval_ms: u16,
    },
}

/// What becomes of ticks a client is too slow for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnSlow {
    /// They are announced as missing.
    #[default]
    Gap,
    /// They are merged into the newest.
    Merge,
}

/// The longest time between two ticks of a symbol in mode `latest` that is granted, milliseconds.
pub const INTERVAL_MS_MAX: u16 = 60_000;

impl Rate {
    /// Whether ticks may have to be merged for it.
    pub fn merges(self) -> bool {
        self.mode != Mode::Every || self.on_slow == OnSlow::Merge
    }
}
