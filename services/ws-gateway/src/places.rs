use std::fmt;

use tickcast_model::{Position, Symbol};

use crate::frame::Gap;
use crate::protocol::Resume;

/// How far a client has got in each symbol of a request: one short text that any gateway goes on from.
///
/// `epoch-seq.seq.seq~epoch-seq_check`, all in base 36: the symbols in the order of the request, an empty `seq` for one without
/// a position. The check binds it to that list; whoever makes such a text may leave it out.
#[derive(Clone, Debug)]
pub struct Places {
    names: Vec<String>,
    positions: Vec<Option<Position>>,
    check: u32,
    /// There was a text to begin with.
    is_resumed: bool,
}

/// The longest text of a position: two numbers and what separates them.
const POSITION_BYTES_MAX: usize = 2 * NUMBER_BYTES_MAX + 2;

/// The longest number in base 36.
const NUMBER_BYTES_MAX: usize = 13;

impl Places {
    /// No positions yet, of these symbols of a venue.
    pub fn new(source: &str, names: Vec<String>) -> Self {
        let mut check = FNV_BASIS;
        for name in std::iter::once(source).chain(names.iter().map(String::as_str)) {
            check = name
                .bytes()
                .chain([b'\n'])
                .fold(check, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(FNV_PRIME));
        }
        Self { positions: vec![None; names.len()], names, check, is_resumed: false }
    }

    /// Takes the positions of a text. One that was made for other symbols, or by nobody, has none.
    pub fn read(&mut self, text: &str) {
        self.is_resumed = true;
        if let Some(positions) = self.parse(text) {
            self.positions = positions;
        }
    }

    fn parse(&self, text: &str) -> Option<Vec<Option<Position>>> {
        if text.len() > (self.names.len() + 1) * POSITION_BYTES_MAX {
            return None;
        }
        let text = match text.split_once('_') {
            None => text,
            Some((text, check)) if u32::from_str_radix(check, 36) == Ok(self.check) => text,
            Some(_) => return None,
        };
        let mut positions = Vec::with_capacity(self.names.len());
        for of_epoch in text.split('~') {
            let (epoch, seqs) = of_epoch.split_once('-')?;
            let epoch = u64::from_str_radix(epoch, 36).ok()?;
            for seq in seqs.split('.') {
                let seq = if seq.is_empty() { None } else { Some(u64::from_str_radix(seq, 36).ok()?) };
                positions.push(seq.map(|seq| Position { epoch, seq }));
            }
        }
        (positions.len() == self.names.len()).then_some(positions)
    }

    /// What a subscribe says of them.
    pub fn resume(&self) -> Resume {
        let mut resume = Resume::default();
        if !self.is_resumed {
            return resume;
        }
        let places = || self.names.iter().zip(&self.positions);
        for (name, position) in places().filter(|(_, position)| position.is_some()) {
            resume.insert(name, *position);
        }
        for (name, position) in places().filter(|(_, position)| position.is_none()) {
            // Two spellings may be one symbol, whose position then stands with the first.
            if resume.of(name, |_| true).is_none() {
                resume.insert(name, *position);
            }
        }
        resume
    }

    /// Which of the names a symbol was asked for by.
    pub fn find(&self, symbol: &Symbol) -> Option<usize> {
        let exact = self.names.iter().position(|name| name == symbol.as_str());
        let key = Symbol::lookup_key(symbol.as_str());
        exact.or_else(|| self.names.iter().position(|name| Symbol::lookup_key(name) == key))
    }

    /// The client has got so far in one of them.
    pub fn set(&mut self, place: usize, position: Position) {
        if let Some(known) = self.positions.get_mut(place) {
            *known = Some(position);
        }
    }

    /// How far the client has got in one of them.
    pub fn get(&self, place: usize) -> Option<Position> {
        self.positions.get(place).copied().flatten()
    }

    /// The client was told what it will not get of one of them.
    pub fn miss(&mut self, place: usize, gap: &Gap) {
        // What is missing further on is told before ticks that are merged over it, and those the client does not have yet.
        let known = self.get(place);
        if known.is_none_or(|known| known.epoch != gap.epoch || gap.from <= known.seq.saturating_add(1)) {
            self.set(place, gap.end());
        }
    }

    /// Whether there is any position.
    pub fn is_known(&self) -> bool {
        self.positions.iter().any(Option::is_some)
    }

    /// Appends the text.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut epoch = None;
        for (place, position) in self.positions.iter().enumerate() {
            // Those without a position stand with those before them.
            let of = position.map(|position| position.epoch).or(epoch).or_else(|| self.first_epoch());
            if of != epoch || place == 0 {
                if place > 0 {
                    out.push(b'~');
                }
                put_number(of.unwrap_or(0), out);
                out.push(b'-');
                epoch = of;
            } else {
                out.push(b'.');
            }
            if let Some(position) = position {
                put_number(position.seq, out);
            }
        }
        out.push(b'_');
        put_number(self.check.into(), out);
    }

    fn first_epoch(&self) -> Option<u64> {
        self.positions.iter().flatten().next().map(|position| position.epoch)
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        if self.is_known() {
            self.write(&mut out);
        }
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

/// FNV-1a, 32 bits.
const FNV_BASIS: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; NUMBER_BYTES_MAX];
    let mut at = digits.len();
    loop {
        at -= 1;
        let digit = u8::try_from(number % 36).unwrap_or(0);
        digits[at] = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        number /= 36;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(names: &[&str]) -> Places {
        Places::new("ctrader", names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch, seq }
    }

    #[test]
    fn a_text_is_short_and_says_an_epoch_once() {
        let mut one = places(&["EURUSD"]);
        one.set(0, at(36, 1295));
        assert_eq!(one.to_string(), "10-zz_14ar1ou");
        let mut four = places(&["A", "B", "C", "D"]);
        four.set(1, at(7, 40));
        four.set(3, at(9, 1));
        assert_eq!(four.to_string().split('_').next(), Some("7-.14.~9-1"));
        let mut again = places(&["A", "B", "C", "D"]);
        again.read(&four.to_string());
        assert_eq!(again.positions, four.positions);
        let mut other = places(&["A", "B", "C", "d"]);
        other.read(&four.to_string());
        assert!(!other.is_known(), "another spelling may be another symbol");
    }

    #[test]
    fn two_spellings_go_on_from_the_position_of_either() {
        let mut one = places(&["eur/usd", "EURUSD"]);
        one.read("1-.5");
        let resume = one.resume();
        assert_eq!(resume.of("EURUSD", |_| false), Some(Some(at(1, 5))));
        assert_eq!(resume.of("eur/usd", |other| other == "EURUSD"), Some(Some(at(1, 5))));
        assert_eq!(resume.of("eur/usd", |_| false), None, "it is another symbol");
    }

    #[test]
    fn a_text_of_other_symbols_or_of_nobody_has_no_positions() {
        let mut written = places(&["EURUSD"]);
        written.set(0, at(1, 5));
        let good = written.to_string();
        let foreign = {
            let mut other = places(&["GBPUSD"]);
            other.set(0, at(1, 5));
            other.to_string()
        };
        let long = format!("1-{}", "0".repeat(1_000));
        let wrong = [
            "",
            "-",
            "_",
            "5",
            "1-5.6",
            "1-5~1-6",
            "1-x!",
            "x!-1",
            "1-5_",
            "1-5_zz",
            "1-zzzzzzzzzzzzzz",
            "1-5\n",
            &foreign,
            &long,
        ];
        for wrong in wrong {
            let mut read = places(&["EURUSD"]);
            read.read(wrong);
            assert!(!read.is_known(), "{wrong:?}");
            assert_eq!(
                read.resume().of("EURUSD", |_| false),
                Some(None),
                "{wrong:?}: it is told that it cannot go on"
            );
        }
        for right in [good.as_str(), "1-5"] {
            let mut read = places(&["EURUSD"]);
            read.read(right);
            assert_eq!(read.resume().of("EURUSD", |_| false), Some(Some(at(1, 5))), "{right:?}");
        }
        assert_eq!(
            places(&["EURUSD"]).resume().of("EURUSD", |_| true),
            None,
            "who resumes nothing is told nothing of it"
        );
    }

    #[test]
    fn a_symbol_is_found_by_its_own_spelling_first() {
        let symbol = |name| Symbol::new(name).unwrap();
        let names = places(&["eur/usd", "EURUSD", "abc"]);
        assert_eq!(names.find(&symbol("EURUSD")), Some(1));
        assert_eq!(names.find(&symbol("ABC")), Some(2));
        assert_eq!(names.find(&symbol("X")), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(positions in proptest::collection::vec(
            prop::option::of((prop_oneof![Just(1u64), any::<u64>()], any::<u64>())), 1..20,
        )) {
            let names: Vec<String> = (0..positions.len()).map(|n| format!("S{n}")).collect();
            let mut written = Places::new("ib", names.clone());
            for (place, position) in positions.iter().enumerate() {
                if let Some((epoch, seq)) = position {
                    written.set(place, at(*epoch, *seq));
                }
            }
            let mut read = Places::new("ib", names);
            read.read(&written.to_string());
            prop_assert_eq!(read.positions, written.positions);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-z._~+-]{0,60}|.{0,60}") {
            places(&["A", "B"]).read(&text);
        }
    }
}
