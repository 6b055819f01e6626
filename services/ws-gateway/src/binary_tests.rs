use std::fmt::Write as _;
use std::sync::Arc;

use tickcast_model::{Phase, Symbol, VenueId};

use super::*;
use crate::protocol::ChannelWriter;

fn price(units: i64, scale: u8) -> Option<Price> {
    Price::new(units, scale)
}

fn quote(bid: i64, ask: i64, received_ms: i64, lag_ms: i64) -> Tick {
    Tick {
        bid: price(bid, 5),
        ask: price(ask, 5),
        last: None,
        digits: 5,
        venue_time_ms: Some(received_ms - lag_ms),
        received_us: received_ms * 1000 + 7,
        snapshot: false,
        delayed_s: None,
        details: None,
    }
}

fn trade(last: i64, scale: u8, received_ms: i64) -> Tick {
    let quote = quote(0, 0, received_ms, 0);
    Tick { bid: None, ask: None, last: price(last, scale), digits: 2, venue_time_ms: None, ..quote }
}

/// One channel as the reader of one connection sees it.
struct Channel {
    number: u32,
    names: Names<'static>,
    position: Position,
    before: Option<Tick>,
}

impl Channel {
    fn new(number: u32, source: &'static str, symbol: &'static str, epoch: u64, seq: u64) -> Self {
        Self { number, names: Names { source, symbol }, position: Position { epoch, seq }, before: None }
    }

    fn writer(&self) -> ChannelWriter {
        ChannelWriter::new(
            &VenueId::new(self.names.source).unwrap(),
            &Symbol::new(self.names.symbol).unwrap(),
        )
    }
}

/// One connection: what goes over it, and what a reader makes of it.
#[derive(Default)]
struct Connection {
    frames: Vec<String>,
    messages: Vec<String>,
    open: Vec<u8>,
}

impl Connection {
    /// A tick in full; `merged` with high and low.
    fn full(
        &mut self,
        channel: &mut Channel,
        names: bool,
        snapshot: bool,
        tick: Tick,
        merged: Option<Merged>,
    ) -> &mut Self {
        let full = Full {
            channel: channel.number,
            names: names.then_some(channel.names),
            position: channel.position,
            tick: &tick,
            is_snapshot: snapshot,
            merged,
        };
        assert!(full.write(&mut self.open));
        self.said(channel, &Tick { snapshot: snapshot || tick.snapshot, ..tick.clone() }, merged);
        channel.before = Some(tick);
        self
    }

    /// The tick after the one before.
    fn step(&mut self, channel: &mut Channel, tick: Tick, is_merged: bool) -> &mut Self {
        let step = Step::between(channel.before.as_ref().unwrap(), &tick).unwrap();
        step.write(channel.number, is_merged, &mut self.open);
        let range = tick.price().map(|price| (price, price));
        self.said(channel, &tick, is_merged.then_some(Merged { count: 1, range }));
        channel.before = Some(tick);
        self
    }

    fn said(&mut self, channel: &mut Channel, tick: &Tick, merged: Option<Merged>) {
        let json = channel.writer().tick(tick, channel.position);
        let mut json = String::from_utf8(json.to_vec()).unwrap();
        if let Some(merged) = merged {
            json.pop();
            write!(json, ",\"merged\":{}", merged.count).unwrap();
            if let Some((high, low)) = merged.range {
                write!(json, ",\"high\":{},\"low\":{}", high.with_digits(0), low.with_digits(0)).unwrap();
            }
            json.push('}');
        }
        self.messages.push(json);
        channel.position.seq += 1;
    }

    fn frame(&mut self) -> &mut Self {
        let bytes = std::mem::take(&mut self.open);
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.frames.push(format!("{{\"binary\":\"{hex}\"}}"));
        self
    }

    fn text(&mut self, json: &str) -> &mut Self {
        self.frames.push(format!("{{\"text\":{json}}}"));
        self.messages.push(json.to_owned());
        self
    }
}

type Case = (&'static str, fn(&mut Connection));

/// Details with these numbers, each of which may be absent.
fn details(numbers: [Option<Decimal>; 5], session: Option<&str>) -> Option<Arc<Details>> {
    let [bid_size, ask_size, volume, change, change_percent] = numbers;
    let session = session.map(|word| Phase::new(word).unwrap());
    Some(Arc::new(Details { bid_size, ask_size, volume, change, change_percent, session }))
}

const CASES: [Case; 12] = [
    ("the connection of the page: a snapshot, and a tick after it", |out| {
        let mut euro = Channel::new(5, "ctrader", "EURUSD", 7, 41);
        out.full(&mut euro, true, true, quote(114_810, 114_821, 1_700_000_000_200, 77), None).frame();
        out.step(&mut euro, quote(114_807, 114_818, 1_700_000_000_330, 65), false).frame();
    }),
    ("every way in which two sides move, in one frame", |out| {
        let mut euro = Channel::new(0, "ctrader", "EURUSD", 1, 1);
        out.full(&mut euro, true, true, quote(100_000, 100_010, 1_700_000_000_000, 0), None);
        let steps = [
            (100_000, 100_010, 1_700_000_000_000, 0),
            (100_001, 100_010, 1_700_000_000_063, 0),
            (100_001, 100_009, 1_700_000_000_127, 1),
            (99_937, 99_945, 1_700_000_000_126, 1),
            (100_000, 100_009, 1_699_999_999_000, -900),
            (200_000, 100_009, 1_700_000_100_000, -900),
        ];
        for (bid, ask, received_ms, lag_ms) in steps {
            out.step(&mut euro, quote(bid, ask, received_ms, lag_ms), false);
        }
        out.frame();
    }),
    ("channels with numbers of one, two and three bytes", |out| {
        let mut channels = [
            Channel::new(127, "ctrader", "EURUSD", 3, 127),
            Channel::new(128, "ctrader", "GBPUSD", 3, 128),
            Channel::new(16_384, "ctrader", "USDJPY", 3, 16_384),
        ];
        for channel in &mut channels {
            out.full(channel, true, true, quote(114_810, 114_821, 1_700_000_000_200, 77), None);
        }
        out.frame();
        for channel in channels.iter_mut().rev() {
            out.step(channel, quote(114_811, 114_821, 1_700_000_000_300, 77), false);
        }
        out.frame();
    }),
    ("trades instead of quotes, delayed, of names that are not ASCII", |out| {
        let mut apple = Channel::new(1, "tradingview", "NASDAQ:AAPL", 2, 10);
        let mut other = Channel::new(2, "tradingview", "TEST:ÄÖ\u{1F4C8}", 2, 1);
        let delayed = |tick: Tick, delayed_s| Tick { delayed_s, ..tick };
        out.full(&mut apple, true, true, delayed(trade(18_250, 2, 1_700_000_000_000), Some(900)), None);
        out.full(&mut other, true, true, trade(7, 2, 1_700_000_000_001), None).frame();
        out.step(&mut apple, delayed(trade(18_251, 2, 1_700_000_001_000), Some(900)), false);
        out.step(&mut other, trade(-7, 2, 1_700_000_001_001), false);
        out.full(&mut apple, false, false, trade(18_252, 2, 1_700_000_002_000), None);
        out.step(&mut apple, trade(18_252, 2, 1_700_000_003_000), false).frame();
    }),
    ("sizes, volume, change and session, and how they go on", |out| {
        let mut apple = Channel::new(1, "tradingview", "NASDAQ:AAPL", 2, 10);
        let at = |last: i64, received_ms: i64| trade(last, 2, received_ms);
        let all = |bid_size: i64, volume: i64, change: i64| {
            [price(bid_size, 0), price(400, 0), price(volume, 1), price(change, 2), price(-19, 2)]
        };
        let first = details(all(300, 812_345, -35), Some("market"));
        out.full(&mut apple, true, true, Tick { details: first, ..at(18_250, 1_700_000_000_000) }, None)
            .frame();
        for (moved, last) in [
            (all(300, 812_355, -35), 18_250),
            (all(100, 812_400, -34), 18_251),
            (all(100, 812_400, -34), 18_252),
        ] {
            let details = details(moved, Some("market"));
            out.step(&mut apple, Tick { details, ..at(last, 1_700_000_001_000) }, false);
        }
        out.frame();
        // What is not only a number that moved comes in full.
        let finer = [None, None, price(8_124_005, 2), None, None];
        let after = details(finer, Some("out_of_session"));
        out.full(&mut apple, false, false, Tick { details: after, ..at(18_252, 1_700_000_002_000) }, None);
        let alone = details([None; 5], Some("out_of_session"));
        out.full(&mut apple, false, false, Tick { details: alone, ..at(18_252, 1_700_000_002_000) }, None);
        out.full(&mut apple, false, false, at(18_252, 1_700_000_002_000), None);
        out.step(&mut apple, at(18_253, 1_700_000_003_000), false).frame();
    }),
    ("details of delayed and merged ticks", |out| {
        let mut ibm = Channel::new(1, "tradingview", "NYSE:IBM", 2, 10);
        let at = |volume: i64, received_ms: i64| Tick {
            delayed_s: Some(900),
            details: details([None, None, price(volume, 0), None, None], None),
            ..trade(24_100, 2, received_ms)
        };
        let range = Some((price(2_411, 1).unwrap(), price(2_410, 1).unwrap()));
        let merged = |count| Some(Merged { count, range });
        out.full(&mut ibm, true, true, at(1_000, 1_700_000_000_000), None).frame();
        ibm.position.seq += 4;
        out.full(&mut ibm, false, false, at(1_400, 1_700_000_001_000), merged(5));
        out.step(&mut ibm, at(1_500, 1_700_000_002_000), true).frame();
    }),
    ("a gap: the next tick comes in full, with its names again", |out| {
        let mut euro = Channel::new(5, "ctrader", "EURUSD", 7, 41);
        out.full(&mut euro, true, true, quote(114_810, 114_821, 1_700_000_000_200, 77), None).frame();
        let gap =
            r#"{"type":"gap","source":"ctrader","symbol":"EURUSD","epoch":"7","missed":3,"from":42,"to":44}"#;
        out.text(gap);
        euro.position.seq = 45;
        out.full(&mut euro, true, false, quote(114_900, 114_911, 1_700_000_004_200, 77), None);
        out.step(&mut euro, quote(114_901, 114_912, 1_700_000_004_300, 77), false).frame();
    }),
    ("merged ticks, with high and low", |out| {
        let mut euro = Channel::new(5, "ctrader", "EURUSD", 7, 41);
        let merged = |count, high, low| {
            Some(Merged { count, range: Some((price(high, 6).unwrap(), price(low, 6).unwrap())) })
        };
        out.full(
            &mut euro,
            true,
            true,
            quote(114_810, 114_821, 1_700_000_000_200, 77),
            merged(1, 1_148_155, 1_148_155),
        )
        .frame();
        euro.position.seq = 60;
        out.full(
            &mut euro,
            false,
            false,
            quote(114_830, 114_840, 1_700_000_001_200, 77),
            merged(19, 1_149_000, 1_147_905),
        )
        .frame();
        out.step(&mut euro, quote(114_831, 114_840, 1_700_000_002_200, 78), true).frame();
        let nothing = Tick { bid: None, ask: None, ..quote(0, 0, 1_700_000_003_000, 0) };
        euro.position.seq = 70;
        out.full(&mut euro, false, false, nothing.clone(), merged(9, 1_148_000, 1_147_000));
        out.step(&mut euro, nothing.clone(), true);
        out.full(&mut euro, false, false, nothing, Some(Merged { count: 2, range: None })).frame();
    }),
    ("a new incarnation of the ingest, and the largest numbers", |out| {
        let mut euro = Channel::new(5, "ctrader", "EURUSD", 7, 41);
        out.full(&mut euro, true, true, quote(114_810, 114_821, 1_700_000_000_200, 77), None).frame();
        euro.position = Position { epoch: u64::MAX, seq: 9_007_199_254_740_990 };
        let most = 1 << 47;
        out.full(&mut euro, true, true, quote(most, -most, most, most), None);
        out.step(&mut euro, quote(most, -most, most, most), false).frame();
    }),
    ("a channel's number that is used again for another symbol", |out| {
        let mut euro = Channel::new(5, "ctrader", "EURUSD", 7, 41);
        out.full(&mut euro, true, true, quote(114_810, 114_821, 1_700_000_000_200, 77), None).frame();
        let mut pound = Channel::new(5, "ctrader", "GBPUSD", 7, 3);
        out.full(&mut pound, true, true, quote(125_010, 125_021, 1_700_000_000_300, 70), None);
        out.step(&mut pound, quote(125_011, 125_022, 1_700_000_000_310, 70), false).frame();
    }),
    ("more decimals than usual, and prices that come and go", |out| {
        let mut gold = Channel::new(9, "tradingview", "OANDA:XAUUSD", 4, 1);
        out.full(&mut gold, true, true, trade(191_250, 2, 1_700_000_000_000), None);
        out.full(&mut gold, false, false, trade(1_912_505, 3, 1_700_000_001_000), None);
        // Written with three decimals, of which two say something.
        out.full(&mut gold, false, false, trade(1_912_510, 3, 1_700_000_002_000), None);
        let bid = Tick { bid: price(191_240, 2), ..trade(191_250, 2, 1_700_000_003_000) };
        out.full(&mut gold, false, false, bid.clone(), None);
        let ask = Tick { ask: price(191_260, 2), ..bid };
        out.full(&mut gold, false, false, ask.clone(), None);
        let moved = Tick { last: price(191_251, 2), ask: price(191_259, 2), ..ask };
        out.step(&mut gold, moved, false);
        let nothing = Tick { last: None, ..trade(0, 0, 1_700_000_004_000) };
        out.full(&mut gold, false, false, nothing, None).frame();
    }),
    ("what the venue reports on subscribing, and a tick that came as text", |out| {
        let mut euro = Channel::new(5, "ctrader", "EURUSD", 7, 41);
        out.full(&mut euro, true, false, quote(114_810, 114_821, 1_700_000_000_200, 77), None);
        let reported = Tick { snapshot: true, ..quote(114_810, 114_821, 1_700_000_000_900, 77) };
        out.full(&mut euro, false, false, reported, None).frame();
        out.text(r#"{"type":"tick","source":"ctrader","symbol":"EURUSD","bid":9223372036854.77580,"price":9223372036854.77580,"timestamp":1700000001000,"receivedAt":1700000001000,"epoch":"7","seq":43}"#);
        euro.position.seq = 44;
        out.full(&mut euro, false, false, quote(114_811, 114_821, 1_700_000_001_100, 77), None).frame();
    }),
];

/// What must be refused, with what it lacks. All but the first few follow a snapshot of channel 5.
const BAD: [(&str, bool, &str); 24] = [
    ("an empty frame", false, ""),
    ("a step in a channel of which nothing was told", false, "0001020304"),
    (
        "a full tick without names in a channel of which nothing was told",
        false,
        "83052a05f4810e1690a3abfef9629a01",
    ),
    ("details that change where there are none", true, "0105000102"),
    ("a step with details of which none changes", true, "01050000"),
    ("a step with a session", true, "01050020026162"),
    ("details of which there are none", true, "83052a85f4810e1690a3abfef9629a0100"),
    ("details with a bit that means nothing", true, "83052a85f4810e1690a3abfef9629a01400102"),
    ("a size of nineteen decimal places", true, "83052a85f4810e1690a3abfef9629a01011302"),
    ("a full tick that ends in its details", true, "83052a85f4810e1690a3abfef9629a010105"),
    ("an ask that moves in both ways", true, "0e05000202"),
    ("an ask that moves like a bid that does not", true, "040500"),
    ("a last trade that changes where there is none", true, "10050002"),
    ("a step that ends after its first byte", true, "02"),
    ("a step that ends in a number", true, "020580"),
    ("a second record that ends early", true, "05050002050005"),
    ("a number of eleven bytes", true, "000580808080808080808080 00"),
    ("a number above 64 bits", true, "0005ffffffffffffffffff7f"),
    ("nineteen decimal places", true, "83052a13f4810e1690a3abfef9629a01"),
    ("a range that is neither there nor not", true, "c3052a05f4810e1690a3abfef9629a010202"),
    ("a name that is no UTF-8", false, "8b0502fffe064555525553440729 05f4810e1690a3abfef9629a01"),
    ("a name longer than the frame", false, "8b05ffffffff0f6374"),
    ("a price that no double holds", true, "0205 00feffffffffffffff7f"),
    ("a full tick that ends before its lag", true, "83052a05f4810e1690a3abfef962"),
];

/// The whole file of test vectors.
fn vectors() -> String {
    let mut text = String::from(
        "{\n\"about\": \"Connections of tickcast.v1.bin, see binary.md: each begins with an empty table; frames in their \
         order, and the messages they mean. Of those in bad the last frame must be refused.\",\n\"connections\": [\n",
    );
    let list = |items: &[String]| items.join(",\n    ");
    for (place, (name, play)) in CASES.iter().enumerate() {
        let mut connection = Connection::default();
        play(&mut connection);
        assert!(connection.open.is_empty(), "{name}");
        let (frames, messages) = (list(&connection.frames), list(&connection.messages));
        let comma = if place + 1 < CASES.len() { "," } else { "" };
        write!(text, "{{\"name\": \"{name}\",\n  \"frames\": [\n    {frames}],\n  \"messages\": [\n    {messages}]}}{comma}\n").unwrap();
    }
    text.push_str("],\n\"bad\": [\n");
    let mut snapshot = Connection::default();
    CASES[0].1(&mut snapshot);
    for (place, (name, follows, hex)) in BAD.iter().enumerate() {
        let before = if *follows { format!("{}, ", snapshot.frames[0]) } else { String::new() };
        let comma = if place + 1 < BAD.len() { "," } else { "" };
        let hex = hex.replace(' ', "");
        writeln!(text, "{{\"name\": \"{name}\", \"frames\": [{before}{{\"binary\":\"{hex}\"}}]}}{comma}")
            .unwrap();
    }
    text.push_str("]\n}\n");
    text
}

#[test]
fn the_published_vectors_are_what_is_written_here() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/binary-vectors.json");
    let made = vectors();
    let _: serde_json::Value = serde_json::from_str(&made).unwrap();
    if std::fs::read_to_string(file).unwrap_or_default() != made {
        let aside = std::env::temp_dir().join("binary-vectors.json");
        std::fs::write(&aside, made).unwrap();
        panic!("docs/binary-vectors.json differs from {}", aside.display());
    }
}

#[test]
fn a_step_is_told_only_where_it_is_one() {
    let before = quote(100, 110, 1_000, 0);
    let usual = quote(101, 111, 1_100, 0);
    assert!(Step::between(&before, &usual).is_some());
    let others = [
        Tick { snapshot: true, ..usual.clone() },
        Tick { ask: None, ..usual.clone() },
        Tick { last: price(1, 5), ..usual.clone() },
        Tick { delayed_s: Some(0), ..usual.clone() },
        Tick { bid: price(1_015, 6), ask: price(1_110, 6), ..usual.clone() },
        Tick { ask: price(111, 4), ..usual.clone() },
        Tick { bid: price(1 << 48, 5), ..usual.clone() },
        Tick { received_us: i64::MAX, ..usual.clone() },
        Tick { venue_time_ms: Some(i64::MIN), ..usual.clone() },
        Tick { details: details([price(1, 0), None, None, None, None], None), ..usual },
    ];
    for other in others {
        assert_eq!(Step::between(&before, &other), None, "{other:?}");
    }
    let with = |volume, places, session| Tick {
        details: details([None, None, price(volume, places), None, None], Some(session)),
        ..before.clone()
    };
    assert!(Step::between(&with(7, 0, "market"), &with(9, 0, "market")).is_some());
    for other in [with(70, 1, "market"), with(7, 0, "x"), with(1 << 53, 0, "market"), before.clone()] {
        assert_eq!(Step::between(&with(7, 0, "market"), &other), None, "{other:?}");
    }
    // Too long to be kept: in full it is as short.
    let far = Tick { last: price(1 << 46, 5), ..quote(1 << 45, 1 << 44, 1 << 40, 1 << 39) };
    let near = Tick { last: price(0, 5), ..before };
    assert_eq!(Step::between(&near, &far), None);
}

#[test]
fn what_does_not_fit_is_left_to_the_text_form() {
    let too_large = [
        Tick { bid: price(i64::MIN, 18), ..quote(0, 0, 0, 0) },
        Tick { ask: price(i64::MAX, 0), ..quote(0, 0, 0, 0) },
        Tick { ask: price(1, 4), ..quote(0, 0, 0, 0) },
        Tick { received_us: i64::MIN, ..quote(0, 0, 0, 0) },
        Tick { details: details([price(i64::MAX, 3), None, None, None, None], None), ..quote(0, 0, 0, 0) },
    ];
    let full = |tick, merged| Full {
        channel: 0,
        names: None,
        position: Position::default(),
        tick,
        is_snapshot: false,
        merged,
    };
    for tick in &too_large {
        let mut out = Vec::new();
        assert!(!full(tick, None).write(&mut out));
        assert!(out.is_empty(), "{tick:?}");
    }
    let finer = (price(1_234_567, 7).unwrap(), price(1, 0).unwrap());
    let mut out = Vec::new();
    assert!(!full(&quote(0, 0, 0, 0), Some(Merged { count: 2, range: Some(finer) })).write(&mut out));
    assert!(out.is_empty());
}
