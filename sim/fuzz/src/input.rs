use std::time::Duration;

/// Bytes read as choices: what is missing at the end is zero, so every input means something.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is at most 256.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// Any number, small ones from few bytes.
    pub(crate) fn number(&mut self) -> u64 {
        let length = self.below(9);
        self.take(length).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// From nothing to an hour.
    pub(crate) fn spell(&mut self) -> Duration {
        const MS: [u64; 12] = [0, 1, 7, 25, 100, 400, 1_000, 3_000, 11_000, 31_000, 130_000, 3_600_000];
        Duration::from_millis(MS[self.below(MS.len())])
    }

    /// A short run of bytes, with its length in front.
    pub(crate) fn run(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    /// Up to so many bytes.
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
