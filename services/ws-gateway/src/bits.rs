/// A set of small numbers, a bit for each up to the largest there was.
#[derive(Clone, Debug, Default)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// Whether a number is in it.
    pub fn contains(&self, number: u32) -> bool {
        self.0.get(word_of(number)).is_some_and(|bits| bits & bit_of(number) != 0)
    }

    /// Puts a number in; false where it was there.
    pub fn insert(&mut self, number: u32) -> bool {
        let word = word_of(number);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit_of(number) == 0;
        self.0[word] |= bit_of(number);
        is_new
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: u32) {
        if let Some(bits) = self.0.get_mut(word_of(number)) {
            *bits &= !bit_of(number);
        }
    }
}

fn word_of(number: u32) -> usize {
    number as usize / 64
}

fn bit_of(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_and_go() {
        let mut bits = Bits::default();
        bits.remove(1_000);
        for number in [0, 63, 64, 1_000] {
            assert!(!bits.contains(number));
            assert!(bits.insert(number));
            assert!(!bits.insert(number));
            assert!(bits.contains(number));
        }
        bits.remove(64);
        assert_eq!((0..2_000).filter(|number| bits.contains(*number)).collect::<Vec<_>>(), [0, 63, 1_000]);
    }
}
