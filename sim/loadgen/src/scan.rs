/// The fields of a tick this tool looks at, borrowed from the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TickFields<'a> {
    /// The channel's symbol, as it stands between the quotes.
    pub symbol: &'a [u8],
    /// Incarnation of the ingest.
    pub epoch: u64,
    /// Number of the tick in its channel.
    pub seq: u64,
    /// The venue's time, Unix milliseconds.
    pub timestamp_ms: i64,
    /// When ingest read it, Unix milliseconds.
    pub received_at_ms: Option<i64>,
    /// True for the last known tick given on subscribing.
    pub snapshot: bool,
    /// Ticks folded into this one, itself included; 1 where it is alone.
    pub merged: u64,
    /// The last three decimals of `bid`, where it has so many: the bench's feed puts the microseconds of its stamp there.
    pub bid_thousandths: Option<u16>,
}

/// What a message is, as far as this tool tells messages apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scanned<'a> {
    /// A tick.
    Tick(TickFields<'a>),
    /// Another message: its `type`.
    Other(&'a [u8]),
}

/// Reads what matters of a message in one pass, without allocating: a full JSON reader would cost several times as much
/// as everything else a client does with a tick.
///
/// Only fields of the outermost object count, in any order and with any white space. `None` where the bytes are not an
/// object with a `type`, or a tick lacks one of its fields.
pub fn scan(message: &[u8]) -> Option<Scanned<'_>> {
    usual_tick(message).map_or_else(|| scan_any(message), |tick| Some(Scanned::Tick(tick)))
}

/// The shape in which servers of this project write a tick, read from both ends; `None` for anything else, which is
/// then read field by field.
fn usual_tick(message: &[u8]) -> Option<TickFields<'_>> {
    let rest = message.strip_prefix(br#"{"type":"tick","source":""#)?;
    let rest = after_text(rest)?.1.strip_prefix(br#","symbol":""#)?;
    let (symbol, rest) = after_text(rest)?;
    let rest = rest.strip_prefix(br#","bid":"#)?;
    let comma = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-'))?;
    let bid_thousandths = thousandths(&rest[..comma]);

    let (rest, seq) = before_number(rest.strip_suffix(b"}")?)?;
    let (rest, epoch) = before_number(rest.strip_suffix(br#"","seq":"#)?)?;
    let (rest, received_at_ms) = before_number(rest.strip_suffix(br#","epoch":""#)?)?;
    let (rest, timestamp_ms) = before_number(rest.strip_suffix(br#","receivedAt":"#)?)?;
    let rest = rest.strip_suffix(br#","timestamp":"#)?;
    // Between bid and timestamp stand the other prices alone.
    let prices = rest.get(comma..)?;
    let prices = skip_price(prices, br#","ask":"#);
    let prices = skip_price(prices, br#","price":"#);
    prices.is_empty().then_some(TickFields {
        symbol,
        epoch,
        seq,
        timestamp_ms: i64::try_from(timestamp_ms).ok()?,
        received_at_ms: Some(i64::try_from(received_at_ms).ok()?),
        snapshot: false,
        merged: 1,
        bid_thousandths,
    })
}

/// A text up to its closing quote, and what follows; `None` where it holds an escape.
fn after_text(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (rest[end] == b'"').then(|| (&rest[..end], &rest[end + 1..]))
}

/// The whole number at the end, and what stands before it.
fn before_number(rest: &[u8]) -> Option<(&[u8], u64)> {
    let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, number) = rest.split_at(rest.len() - digits);
    Some((before, whole_number(number)?))
}

/// What follows a price with this name, where it comes first.
fn skip_price<'a>(rest: &'a [u8], name: &[u8]) -> &'a [u8] {
    let Some(price) = rest.strip_prefix(name) else { return rest };
    let digits = price.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-')).count();
    &price[digits..]
}

/// The last three decimals of a price.
fn thousandths(price: &[u8]) -> Option<u16> {
    let (before, last) = price.split_last_chunk::<3>()?;
    let has_point = before.contains(&b'.');
    let value = whole_number(last)?;
    if has_point { u16::try_from(value).ok() } else { None }
}

fn scan_any(message: &[u8]) -> Option<Scanned<'_>> {
    let mut rest = Rest(message);
    let mut kind: &[u8] = b"";
    let mut tick = TickFields { merged: 1, ..TickFields::default() };
    let (mut symbol, mut epoch, mut seq, mut timestamp) = (None, None, None, None);
    rest.expect(b'{')?;
    if rest.peek()? == b'}' {
        return None;
    }
    loop {
        let name = rest.string()?;
        rest.expect(b':')?;
        match name {
            b"type" => {
                kind = rest.string()?;
                if kind != b"tick" {
                    return Some(Scanned::Other(kind));
                }
            }
            b"symbol" => symbol = Some(rest.string()?),
            b"epoch" => epoch = Some(whole_number(rest.string()?)?),
            b"seq" => seq = Some(whole_number(rest.bare()?)?),
            b"timestamp" => timestamp = Some(i64::try_from(whole_number(rest.bare()?)?).ok()?),
            b"receivedAt" => tick.received_at_ms = Some(i64::try_from(whole_number(rest.bare()?)?).ok()?),
            b"merged" => tick.merged = whole_number(rest.bare()?)?.max(1),
            b"bid" => tick.bid_thousandths = thousandths(rest.bare()?),
            b"snapshot" => tick.snapshot = rest.bare()? == b"true",
            _ => rest.skip_value()?,
        }
        match rest.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    if kind.is_empty() {
        return None;
    }
    tick.symbol = symbol?;
    tick.epoch = epoch?;
    tick.seq = seq?;
    tick.timestamp_ms = timestamp?;
    Some(Scanned::Tick(tick))
}

/// The part of a message not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// The next byte that is no white space, left in place.
    fn peek(&mut self) -> Option<u8> {
        let blank = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.0 = &self.0[blank..];
        self.0.first().copied()
    }

    /// The next byte that is no white space, taken.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.0 = &self.0[1..];
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A string, as it stands between its quotes: escapes stay as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let mut end = 0;
        loop {
            match self.0.get(end)? {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    /// A number, `true`, `false` or `null`, as it stands.
    fn bare(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let end = self
            .0
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))?;
        let text = &self.0[..end];
        self.0 = &self.0[end..];
        Some(text)
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => {
                let mut depth = 0usize;
                loop {
                    match self.peek()? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.0 = &self.0[1..];
                    if depth == 0 {
                        return Some(());
                    }
                }
            }
            _ => self.bare().map(|_| ()),
        }
    }
}

/// A number without sign, fraction or exponent.
fn whole_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TICK: &str = r#"{"type":"tick","source":"ctrader","symbol":"EURUSD","bid":1.08123,"ask":1.08125,"price":1.08124,"timestamp":1700000000123,"receivedAt":1700000000125,"epoch":"1732100000000","seq":42}"#;

    fn tick(text: &str) -> TickFields<'_> {
        match scan(text.as_bytes()) {
            Some(Scanned::Tick(tick)) => tick,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tick_gives_its_fields() {
        let expected = TickFields {
            symbol: b"EURUSD",
            epoch: 1_732_100_000_000,
            seq: 42,
            timestamp_ms: 1_700_000_000_123,
            received_at_ms: Some(1_700_000_000_125),
            snapshot: false,
            merged: 1,
            bid_thousandths: Some(123),
        };
        assert_eq!(tick(TICK), expected);
        let snapshot = TICK.replace(r#""seq":42"#, r#""seq":42,"snapshot":true"#);
        assert_eq!(tick(&snapshot), TickFields { snapshot: true, ..expected });
    }

    #[test]
    fn the_quick_way_and_the_full_way_agree() {
        let texts = [
            TICK.to_owned(),
            TICK.replace(r#""bid":1.08123,"#, ""),
            TICK.replace(r#""ask":1.08125,"#, ""),
            TICK.replace(r#""bid":1.08123,"#, r#""bid":108,"#),
            TICK.replace(r#""timestamp""#, r#""merged":4,"high":2.0,"low":1.0,"timestamp""#),
            TICK.replace(r#""seq":42"#, r#""seq":42,"merged":4"#),
            TICK.replace(r#""seq":42"#, r#""seq":42,"snapshot":true"#),
            TICK.replace("EURUSD", r#"EUR\"USD"#),
            TICK.replace(r#""price""#, r#""seq""#),
        ];
        for text in texts {
            let full = scan_any(text.as_bytes());
            if let Some(tick) = usual_tick(text.as_bytes()) {
                assert_eq!(full, Some(Scanned::Tick(tick)), "{text}");
            }
            assert_eq!(scan(text.as_bytes()), full, "{text}");
        }
        assert!(usual_tick(TICK.as_bytes()).is_some());
        assert_eq!(tick(&TICK.replace(r#""seq":42"#, r#""seq":42,"merged":4"#)).merged, 4);
    }

    #[test]
    fn order_and_white_space_do_not_matter() {
        let text = " {\n \"seq\" : 7 , \"x\" : [ { \"seq\" : 9 } , \"]\\\"\" ] ,\t\"symbol\":\"A\",\"epoch\":\"1\",\"timestamp\":5,\"type\":\"tick\" } ";
        let fields = tick(text);
        assert_eq!((fields.symbol, fields.seq, fields.timestamp_ms), (&b"A"[..], 7, 5));
    }

    #[test]
    fn a_name_inside_a_text_or_an_inner_object_is_not_a_field() {
        let text = r#"{"type":"tick","note":"\"seq\":1,","in":{"seq":2,"symbol":"B"},"symbol":"A","epoch":"3","timestamp":4,"seq":5}"#;
        let fields = tick(text);
        assert_eq!((fields.symbol, fields.seq), (&b"A"[..], 5));
    }

    #[test]
    fn other_messages_are_told_by_their_type() {
        assert_eq!(scan(br#"{"type":"status","seq":"x"}"#), Some(Scanned::Other(b"status")));
        assert_eq!(scan(br#"{"source":"a","type":"gap"}"#), Some(Scanned::Other(b"gap")));
    }

    #[test]
    fn what_is_no_message_is_not_taken_for_one() {
        for bad in ["", "{", "{}", "[]", "null", r#"{"a":1}"#, r#"{"type":tick}"#, r#"{"type":"tick"}"#] {
            assert_eq!(scan(bad.as_bytes()), None, "{bad}");
        }
        for (from, to) in [
            (r#""seq":42"#, r#""seq":-1"#),
            (r#""seq":42"#, r#""seq":"42""#),
            (r#""epoch":"1732100000000""#, r#""epoch":1"#),
            (r#""symbol":"EURUSD","#, ""),
            (r#","seq":42}"#, ""),
        ] {
            assert_eq!(scan(TICK.replace(from, to).as_bytes()), None, "{to}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_scanner_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = scan(&bytes);
        }

        #[test]
        fn a_cut_message_is_never_a_tick(cut in 0..TICK.len()) {
            prop_assert_eq!(scan(&TICK.as_bytes()[..cut]), None);
        }

        #[test]
        fn it_agrees_with_a_full_json_reader(symbol in "[A-Z0-9./:_é]{1,20}", note in "\\PC{0,30}", epoch in any::<u64>(),
                                             seq in any::<u64>(), time in 0i64.., snapshot in any::<bool>()) {
            let message = json!({"type": "tick", "symbol": symbol, "note": note, "epoch": epoch.to_string(), "seq": seq,
                                 "timestamp": time, "nested": {"note": note, "seq": 1}, "snapshot": snapshot});
            for text in [message.to_string(), serde_json::to_string_pretty(&message).unwrap()] {
                let fields = tick(&text);
                prop_assert_eq!(fields.symbol, symbol.as_bytes());
                prop_assert_eq!((fields.epoch, fields.seq, fields.timestamp_ms), (epoch, seq, time));
                prop_assert_eq!((fields.snapshot, fields.received_at_ms), (snapshot, None));
            }
        }
    }
}
