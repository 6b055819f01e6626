use std::cmp::Ordering;
use std::fmt;

/// An exact decimal number: `units` divided by ten to the power of `scale`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decimal {
    units: i64,
    scale: u8,
}

/// A price in the instrument's quote currency.
///
/// A venue keeps one scale for all its prices (cTrader: 5), so two prices of one tick always share it.
pub type Price = Decimal;

impl Decimal {
    /// The most decimal places a number can carry.
    pub const SCALE_MAX: u8 = 18;
    /// The longest text of a number: sign, 19 digits, and the point.
    pub const TEXT_BYTES_MAX: usize = 21;

    /// The number `units` / 10^`scale`; `None` where the scale is above [`Decimal::SCALE_MAX`].
    pub fn new(units: i64, scale: u8) -> Option<Self> {
        (scale <= Self::SCALE_MAX).then_some(Self { units, scale })
    }

    /// The integer that travels: the number × 10^`scale`.
    pub fn units(self) -> i64 {
        self.units
    }

    /// How many decimal places [`Decimal::units`] carries.
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// The exact middle of two numbers of one scale; one decimal place finer where the sum is odd.
    ///
    /// `None` where the scales differ or the result does not fit.
    pub fn mid(self, other: Self) -> Option<Self> {
        if self.scale != other.scale {
            return None;
        }
        let sum = self.units.checked_add(other.units)?;
        if sum % 2 == 0 {
            return Self::new(sum / 2, self.scale);
        }
        Self::new(sum.checked_mul(5)?, self.scale + 1)
    }

    /// Which of two numbers is greater, whatever their scales.
    pub fn compare(self, other: Self) -> Ordering {
        if self.scale == other.scale {
            return self.units.cmp(&other.units);
        }
        // At most 19 digits and 18 more: within 128 bits.
        let scale = self.scale.max(other.scale);
        let at_scale = |number: Self| i128::from(number.units) * 10i128.pow(u32::from(scale - number.scale));
        at_scale(self).cmp(&at_scale(other))
    }

    /// Shows the number with at least `digits` decimals, and more where the value has more: nothing is rounded.
    pub fn with_digits(self, digits: u8) -> impl fmt::Display {
        WithDigits { number: self, digits }
    }

    /// The text of [`Decimal::with_digits`], written into `buffer` without the formatting machinery.
    pub fn text(self, digits: u8, buffer: &mut [u8; Self::TEXT_BYTES_MAX]) -> &str {
        let mut magnitude = self.units.unsigned_abs();
        let mut places = self.scale;
        while places > digits && magnitude.is_multiple_of(10) {
            magnitude /= 10;
            places -= 1;
        }
        // From the last digit to the first; a whole part of zero is written too.
        let mut at = buffer.len();
        let mut put = |byte| {
            at -= 1;
            buffer[at] = byte;
        };
        for _ in 0..places {
            put(digit(magnitude));
            magnitude /= 10;
        }
        if places > 0 {
            put(b'.');
        }
        loop {
            put(digit(magnitude));
            magnitude /= 10;
            if magnitude == 0 {
                break;
            }
        }
        if self.units < 0 {
            put(b'-');
        }
        // Digits, a point and a sign are text.
        std::str::from_utf8(&buffer[at..]).unwrap_or_default()
    }
}

/// The last decimal digit.
fn digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

struct WithDigits {
    number: Decimal,
    digits: u8,
}

impl fmt::Display for WithDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number.text(self.digits, &mut [0; Decimal::TEXT_BYTES_MAX]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(units: i64, scale: u8, digits: u8) -> String {
        Price::new(units, scale).unwrap().with_digits(digits).to_string()
    }

    #[test]
    fn a_price_shows_the_instruments_digits() {
        assert_eq!(shown(114_814, 5, 5), "1.14814");
        assert_eq!(shown(114_810, 5, 5), "1.14810");
        assert_eq!(shown(2_529_084_000, 5, 2), "25290.84");
        assert_eq!(shown(-150_000, 5, 1), "-1.5");
        assert_eq!(shown(300_000, 5, 0), "3");
        assert_eq!(shown(7, 5, 2), "0.00007");
        assert_eq!(shown(0, 5, 3), "0.000");
    }

    #[test]
    fn nothing_is_rounded_where_the_value_has_more_decimals() {
        assert_eq!(shown(114_814, 5, 2), "1.14814");
        assert_eq!(shown(i64::MIN, 0, 0), "-9223372036854775808");
        assert_eq!(shown(i64::MIN, 18, 0), "-9.223372036854775808");
        assert_eq!(shown(-1, 18, 255), "-0.000000000000000001");
    }

    #[test]
    fn prices_of_different_scales_compare_by_value() {
        let price = |units, scale| Price::new(units, scale).unwrap();
        assert_eq!(price(1_500, 3).compare(price(15, 1)), Ordering::Equal);
        assert_eq!(price(-1, 18).compare(price(0, 0)), Ordering::Less);
        assert_eq!(price(i64::MAX, 0).compare(price(i64::MAX, 18)), Ordering::Greater);
        assert_eq!(price(i64::MIN, 0).compare(price(i64::MIN, 18)), Ordering::Less);
        assert_eq!(price(2, 5).compare(price(1, 5)), Ordering::Greater);
    }

    #[test]
    fn the_middle_is_exact() {
        let bid = Price::new(114_811, 5).unwrap();
        let even = Price::new(114_813, 5).unwrap();
        let odd = Price::new(114_814, 5).unwrap();
        assert_eq!(bid.mid(even).unwrap().with_digits(5).to_string(), "1.14812");
        assert_eq!(bid.mid(odd).unwrap().with_digits(5).to_string(), "1.148125");
        assert!(bid.mid(Price::new(1, 2).unwrap()).is_none());
        assert!(Price::new(i64::MAX, 5).unwrap().mid(odd).is_none());
    }
}
