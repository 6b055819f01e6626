use tickcast_model::Price;

/// A number of the venue's, exactly as its text says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Number {
    /// `null`, or so large that it means "no value" (facts 4.1: reject everything from 1e99).
    Nothing,
    /// A value.
    Value(Price),
}

/// A double holds so many decimal digits for certain; what a text has beyond them is noise of binary arithmetic.
const DIGITS_CERTAIN: i32 = 15;
/// Digits read at most; the rest of a longer number is noise in any case.
const DIGITS_READ: usize = 36;
/// From ten to this power on a number means "no value".
const NOTHING_FROM: i32 = 99;

/// Reads JSON's text of a number without a detour through binary fractions. Noise behind the certain digits is rounded
/// away: at `places` decimals where the instrument's are known, else behind the last certain digit.
///
/// `None` for everything that is no number, or does not fit.
pub(crate) fn read_number(text: &str, places: Option<u8>) -> Option<Number> {
    if text == "null" {
        return Some(Number::Nothing);
    }
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }

    let leading_zeros = whole.bytes().chain(fraction.bytes()).take_while(|byte| *byte == b'0').count();
    let written = whole.len() + fraction.len();
    let (mut magnitude, mut digits) = (0_i128, 0_i32);
    for byte in whole.bytes().chain(fraction.bytes()).skip(leading_zeros).take(DIGITS_READ) {
        magnitude = magnitude * 10 + i128::from(byte - b'0');
        digits += 1;
    }
    if magnitude == 0 {
        return Price::new(0, 0).map(Number::Value);
    }
    let unread = i32::try_from(written - leading_zeros).ok()? - digits;
    // The value is magnitude × 10^power.
    let mut power = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(unread)?;
    if power.checked_add(digits)? > NOTHING_FROM {
        return Some(Number::Nothing);
    }
    while magnitude % 10 == 0 {
        (magnitude, power, digits) = (magnitude / 10, power + 1, digits - 1);
    }
    let keep = if digits > DIGITS_CERTAIN {
        places.map_or(power + digits - DIGITS_CERTAIN, |places| -i32::from(places))
    } else {
        power
    };
    // Nothing has more decimals than a price can carry.
    let keep = keep.max(-i32::from(Price::SCALE_MAX));
    if keep > power {
        let divisor = 10_i128.checked_pow(u32::try_from(keep - power).ok()?).unwrap_or(i128::MAX);
        magnitude = magnitude / divisor + i128::from(magnitude % divisor >= divisor / 2);
        power = keep;
        while magnitude != 0 && magnitude % 10 == 0 {
            (magnitude, power) = (magnitude / 10, power + 1);
        }
    }
    let scale = u8::try_from(-power.min(0)).ok()?;
    let whole = magnitude.checked_mul(10_i128.checked_pow(u32::try_from(power.max(0)).ok()?)?)?;
    let units = i64::try_from(if negative { -whole } else { whole }).ok()?;
    // A tiny number may have been rounded to nothing, which has no decimals.
    Price::new(units, if units == 0 { 0 } else { scale }).map(Number::Value)
}

/// The same price with this many decimals; `None` where that is fewer than it has, or does not fit.
pub(crate) fn with_scale(price: Price, scale: u8) -> Option<Price> {
    let factor = 10_i64.checked_pow(u32::from(scale.checked_sub(price.scale())?))?;
    Price::new(price.units().checked_mul(factor)?, scale)
}

/// Decimals needed to write every multiple of `minmov / pricescale` (facts 4.1).
pub(crate) fn tick_places(pricescale: u64, minmov: u64) -> Option<u8> {
    if pricescale == 0 {
        return None;
    }
    let mut step = u128::from(minmov.max(1));
    for places in 0..=Price::SCALE_MAX {
        if step.is_multiple_of(u128::from(pricescale)) {
            return Some(places);
        }
        step = step.checked_mul(10)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, places: Option<u8>) -> String {
        match read_number(text, places) {
            Some(Number::Value(price)) => price.with_digits(0).to_string(),
            Some(Number::Nothing) => "nothing".into(),
            None => "no number".into(),
        }
    }

    #[test]
    fn a_number_is_what_its_text_says() {
        for (text, expected) in [
            ("1.08421", "1.08421"),
            ("81234", "81234"),
            ("100.0", "100"),
            ("5e-05", "0.00005"),
            ("5E+2", "500"),
            ("1.5e3", "1500"),
            ("-0.25", "-0.25"),
            ("0", "0"),
            ("-0.0", "0"),
            ("0.1", "0.1"),
            ("9007199254740993", "9007199254740990"),
            ("123456789012345", "123456789012345"),
        ] {
            assert_eq!(shown(text, None), expected, "{text}");
        }
    }

    #[test]
    fn null_and_the_venues_infinity_are_no_value() {
        for text in ["null", "1e+100", "1E100", "-1e+100", "1e99", "9.9e300", &format!("1{}", "0".repeat(99))]
        {
            assert_eq!(shown(text, None), "nothing", "{text}");
        }
        // Below that it is a number, and this one is too large for a price.
        assert_eq!(shown("9e98", None), "no number");
    }

    #[test]
    fn binary_noise_is_rounded_away() {
        for (text, places, expected) in [
            ("1.0842099999999999", Some(5), "1.08421"),
            ("1.0842100000000001", None, "1.08421"),
            ("0.30000000000000004", None, "0.3"),
            ("1.10805000000000135", Some(5), "1.10805"),
            ("42999.000000000007", Some(2), "42999"),
            ("-1.0842099999999999", Some(5), "-1.08421"),
            ("0.99999999999999989", Some(2), "1"),
        ] {
            assert_eq!(shown(text, places), expected, "{text}");
        }
        // Few digits are no noise, even where the instrument is said to be coarser.
        assert_eq!(shown("1.084215", Some(5)), "1.084215");
        assert_eq!(shown("0.00000000000000000001234567890123456", None), "0");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in
            ["", "-", "abc", "\"1\"", "1.2.3", "{}", "[1]", "true", "1e", "1e99999999999", "--1", ".5", "NaN"]
        {
            assert_eq!(shown(text, None), "no number", "{text}");
        }
    }

    #[test]
    fn the_tick_size_says_how_many_decimals_are_worth_showing() {
        for ((pricescale, minmov), places) in [
            ((100_000, 1), Some(5)),
            ((100, 1), Some(2)),
            ((100, 25), Some(2)),
            ((1, 100), Some(0)),
            ((1, 1), Some(0)),
            ((32, 1), Some(5)),
            ((4, 1), Some(2)),
            ((10, 5), Some(1)),
            ((3, 1), None),
            ((0, 1), None),
            ((u64::MAX, u64::MAX), Some(0)),
        ] {
            assert_eq!(tick_places(pricescale, minmov), places, "{minmov}/{pricescale}");
        }
    }

    proptest! {
        #[test]
        fn every_decimal_of_certain_digits_comes_back_exactly(units in -999_999_999_999_999_i64..=999_999_999_999_999, scale in 0_u8..=15) {
            let price = Price::new(units, scale).unwrap();
            let text = price.with_digits(0).to_string();
            prop_assert_eq!(shown(&text, None), text.clone());
            // And so does what a double makes of it.
            let double: f64 = text.parse().unwrap();
            let noisy = format!("{double:e}");
            prop_assert_eq!(shown(&noisy, None), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "-?[0-9]{0,60}(\\.[0-9]{0,60})?([eE][+-]?[0-9]{0,12})?", places in proptest::option::of(0_u8..=18)) {
            let _ = read_number(&text, places);
        }

        #[test]
        fn no_tick_size_makes_it_panic(pricescale in any::<u64>(), minmov in any::<u64>()) {
            let _ = tick_places(pricescale, minmov);
        }
    }
}
