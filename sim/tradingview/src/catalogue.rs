//! The instruments there are, and what a symbol key names.

use serde_json::Value;
use sim_kit::fault::SymbolNames;

/// The most instruments a venue can have.
pub const SYMBOLS_MAX: usize = 5_000;

/// An instrument. Prices are counted in units of its tick, `minmov / pricescale` (facts 4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instrument {
    /// `EXCHANGE:SYMBOL`.
    pub name: String,
    /// For people, in English.
    pub description: String,
    /// The description in the language of its exchange, and that language.
    pub local: Option<(&'static str, &'static str)>,
    /// `forex`, `stock`, `index`, ...
    pub kind: &'static str,
    /// The name of the exchange for people.
    pub exchange: &'static str,
    /// What really feeds it, where that is not its own name: a delayed feed or another venue.
    pub feed: Option<&'static str>,
    /// Currency of the price.
    pub currency: &'static str,
    /// Part of the tick.
    pub minmov: u32,
    /// Part of the tick.
    pub pricescale: u32,
    /// Whether prices are shown as fractions, with this `minmove2`.
    pub fractional: Option<u32>,
    /// The first price, in ticks.
    pub start: i64,
    /// The usual distance of bid and ask, in ticks; 0 = there is no book (facts 0.9).
    pub spread: i64,
    /// Whether a volume is told; indices have none.
    pub volume: bool,
    /// How late its prices are for the anonymous, seconds; 0 = they stream.
    pub delay_s: u32,
    /// IANA name.
    pub timezone: &'static str,
}

/// What a key names: an instrument, or a number computed from one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Named {
    pub(crate) at: usize,
    pub(crate) formula: Formula,
}

/// How the price of a key comes from the price of its instrument.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Formula {
    Itself,
    /// `BITSTAMP:BTCUSD*1000`
    Times(f64),
    /// `1/OANDA:XAUUSD`
    Inverse(f64),
}

impl Formula {
    /// The price, rounded to what is told of it.
    pub(crate) fn apply(self, price: f64) -> f64 {
        let round = |price: f64| (price * 1e5).round() / 1e5;
        match self {
            Self::Itself => price,
            Self::Times(by) => round(price * by),
            Self::Inverse(of) => round(of / price),
        }
    }
}

/// The instruments of a venue, in a fixed order.
#[derive(Clone, Debug)]
pub struct Catalogue {
    instruments: Vec<Instrument>,
}

impl Catalogue {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.clamp(1, SYMBOLS_MAX);
        let made = (0..).map(generated);
        Self { instruments: known().into_iter().chain(made).take(count).collect() }
    }

    /// All of them.
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// The position of the instrument of exactly this name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.instruments.iter().position(|instrument| instrument.name == name)
    }

    /// What a key names (facts 5.1): plain, bare, extended with `={...}`, or computed.
    pub(crate) fn resolve(&self, key: &str) -> Option<Named> {
        let Some(extended) = key.strip_prefix('=') else { return self.plain(key) };
        let spec: Value = serde_json::from_str(extended).ok()?;
        // Charts of other kinds nest the symbol once more.
        let symbol = &spec["symbol"];
        self.plain(symbol.as_str().or_else(|| symbol["symbol"].as_str())?)
    }

    fn plain(&self, text: &str) -> Option<Named> {
        let of = |name: &str, formula| Some(Named { at: self.position(name)?, formula });
        if let Some(found) = of(text, Formula::Itself) {
            return Some(found);
        }
        let factor =
            |text: &str| text.parse::<f64>().ok().filter(|factor| factor.is_normal() && *factor > 0.0);
        if let Some((left, right)) = text.rsplit_once('*') {
            return match (factor(left), factor(right)) {
                (None, Some(by)) => of(left, Formula::Times(by)),
                (Some(by), None) => of(right, Formula::Times(by)),
                _ => None,
            };
        }
        let (left, right) = text.rsplit_once('/')?;
        match (factor(left), factor(right)) {
            (None, Some(by)) => of(left, Formula::Times(1.0 / by)),
            (Some(number), None) => of(right, Formula::Inverse(number)),
            _ => None,
        }
    }

    /// With its exchange, or bare: then some default exchange is meant.
    fn position(&self, name: &str) -> Option<usize> {
        let bare =
            |instrument: &Instrument| instrument.name.split_once(':').is_some_and(|(_, bare)| bare == name);
        self.named(name).or_else(|| self.instruments.iter().position(bare))
    }
}

impl Instrument {
    /// A number of ticks as a price.
    pub(crate) fn price(&self, ticks: i64) -> f64 {
        // Both sides are exact, so the quotient is the number nearest to the decimal one.
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let product = (ticks * i64::from(self.minmov)) as f64;
        product / f64::from(self.pricescale)
    }

    /// The code of its exchange.
    pub(crate) fn listed_exchange(&self) -> &str {
        self.name.split_once(':').map_or("", |(exchange, _)| exchange)
    }

    /// Its name without the exchange.
    pub(crate) fn short_name(&self) -> &str {
        self.name.split_once(':').map_or(&self.name, |(_, name)| name)
    }
}

fn plain(
    name: &str,
    description: &str,
    kind: &'static str,
    pricescale: u32,
    start: i64,
    spread: i64,
) -> Instrument {
    Instrument {
        name: name.to_owned(),
        description: description.to_owned(),
        local: None,
        kind,
        exchange: "",
        feed: None,
        currency: "USD",
        minmov: 1,
        pricescale,
        fractional: None,
        start,
        spread,
        volume: true,
        delay_s: 0,
        timezone: "Etc/UTC",
    }
}

fn known() -> Vec<Instrument> {
    vec![
        Instrument {
            exchange: "OANDA",
            timezone: "America/New_York",
            ..plain("OANDA:EURUSD", "Euro / U.S. Dollar", "forex", 100_000, 108_421, 14)
        },
        Instrument {
            exchange: "FXCM",
            timezone: "America/New_York",
            ..plain("FX:EURUSD", "Euro / U.S. Dollar", "forex", 100_000, 108_424, 12)
        },
        // Rates without a book.
        Instrument {
            exchange: "ICE Data Services",
            volume: false,
            ..plain("FX_IDC:EURUSD", "Euro / U.S. Dollar", "forex", 100_000, 108_420, 0)
        },
        Instrument {
            exchange: "OANDA",
            timezone: "America/New_York",
            ..plain("OANDA:GBPUSD", "British Pound / U.S. Dollar", "forex", 100_000, 127_310, 18)
        },
        Instrument {
            exchange: "OANDA",
            currency: "JPY",
            timezone: "America/New_York",
            ..plain("OANDA:USDJPY", "U.S. Dollar / Japanese Yen", "forex", 1_000, 147_250, 16)
        },
        Instrument {
            exchange: "OANDA",
            timezone: "America/New_York",
            ..plain("OANDA:XAUUSD", "Gold / U.S. Dollar", "cfd", 1_000, 2_331_450, 300)
        },
        Instrument {
            exchange: "Binance",
            currency: "USDT",
            ..plain("BINANCE:BTCUSDT", "Bitcoin / TetherUS", "spot", 100, 6_100_000, 1)
        },
        Instrument {
            exchange: "Binance",
            currency: "USDT",
            ..plain("BINANCE:BTCUSDT.P", "BTCUSDT Perpetual", "swap", 10, 610_010, 1)
        },
        Instrument {
            exchange: "Bitstamp",
            ..plain("BITSTAMP:BTCUSD", "Bitcoin / U.S. Dollar", "spot", 1, 61_000, 3)
        },
        Instrument {
            exchange: "Coinbase",
            ..plain("COINBASE:ETHUSD", "Ethereum / U.S. Dollar", "spot", 100, 240_000, 2)
        },
        // Streams from a substitute venue.
        Instrument {
            exchange: "Cboe One",
            feed: Some("BATS:AAPL"),
            timezone: "America/New_York",
            ..plain("NASDAQ:AAPL", "Apple Inc.", "stock", 100, 19_540, 2)
        },
        Instrument {
            exchange: "NYSE",
            feed: Some("NYSE_DLY:IBM"),
            delay_s: 900,
            timezone: "America/New_York",
            ..plain("NYSE:IBM", "International Business Machines Corporation", "stock", 100, 18_220, 3)
        },
        Instrument {
            exchange: "NASDAQ",
            feed: Some("NASDAQ_DLY:NDX"),
            delay_s: 900,
            volume: false,
            timezone: "America/New_York",
            ..plain("NASDAQ:NDX", "Nasdaq 100 Index", "index", 100, 1_990_000, 0)
        },
        Instrument {
            exchange: "TVC",
            volume: false,
            timezone: "America/New_York",
            ..plain("TVC:DXY", "U.S. Dollar Currency Index", "index", 1_000, 103_250, 0)
        },
        Instrument {
            exchange: "CME",
            feed: Some("CME_MINI_DLY:ESU2026"),
            minmov: 25,
            delay_s: 600,
            timezone: "America/Chicago",
            ..plain("CME_MINI:ES1!", "E-mini S&P 500 Futures", "futures", 100, 21_900, 1)
        },
        // Bond-style fractions: 32nds, and halves of them.
        Instrument {
            exchange: "CBOT",
            feed: Some("CBOT_DLY:ZBU2026"),
            fractional: Some(2),
            delay_s: 600,
            timezone: "America/Chicago",
            ..plain("CBOT:ZB1!", "30-Year U.S. Treasury Bond Futures", "futures", 32, 3_800, 1)
        },
        Instrument {
            exchange: "KRX",
            local: Some(("삼성전자", "ko")),
            feed: Some("KRX_DLY:005930"),
            currency: "KRW",
            minmov: 100,
            delay_s: 1_200,
            timezone: "Asia/Seoul",
            ..plain("KRX:005930", "SAMSUNG ELECTRONICS CO., LTD.", "stock", 1, 720, 1)
        },
        Instrument {
            exchange: "HOSE",
            local: Some(("NGÂN HÀNG TMCP NGOẠI THƯƠNG VIỆT NAM", "vi")),
            feed: Some("HOSE_DLY:VCB"),
            currency: "VND",
            minmov: 100,
            delay_s: 900,
            timezone: "Asia/Ho_Chi_Minh",
            ..plain(
                "HOSE:VCB",
                "Joint Stock Commercial Bank for Foreign Trade of Vietnam",
                "stock",
                1,
                905,
                1,
            )
        },
        // A name beyond ASCII, and one beyond the plane that UTF-16 counts once.
        Instrument {
            exchange: "BIST",
            currency: "TRY",
            delay_s: 900,
            timezone: "Europe/Istanbul",
            ..plain("BIST:ŞİŞE", "Türkiye Şişe ve Cam Fabrikaları 🍾", "stock", 100, 4_512, 2)
        },
    ]
}

/// As many more as somebody wants; every fifth is delayed, every fourth has no book.
fn generated(number: u32) -> Instrument {
    Instrument {
        exchange: "Simulated",
        delay_s: if number % 5 == 4 { 900 } else { 0 },
        ..plain(
            &format!("SIM:S{number:04}"),
            &format!("Simulated Share {number}"),
            "stock",
            100,
            1_000 + i64::from(number) * 37 % 50_000,
            if number % 4 == 3 { 0 } else { 2 },
        )
    }
}

impl SymbolNames for Catalogue {
    fn count(&self) -> usize {
        self.instruments().len()
    }

    fn name_at(&self, position: usize) -> &str {
        &self.instruments()[position].name
    }

    fn position_of(&self, name: &str) -> Option<usize> {
        self.named(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn resolved(key: &str) -> Option<(String, Formula)> {
        let catalogue = Catalogue::new(30);
        let named = catalogue.resolve(key)?;
        Some((catalogue.instruments[named.at].name.clone(), named.formula))
    }

    #[test]
    fn keys_of_every_form_find_their_instrument() {
        for (key, name, formula) in [
            ("OANDA:EURUSD", "OANDA:EURUSD", Formula::Itself),
            ("XAUUSD", "OANDA:XAUUSD", Formula::Itself),
            ("BINANCE:BTCUSDT.P", "BINANCE:BTCUSDT.P", Formula::Itself),
            ("CME_MINI:ES1!", "CME_MINI:ES1!", Formula::Itself),
            ("BIST:ŞİŞE", "BIST:ŞİŞE", Formula::Itself),
            (r#"={"session":"regular","symbol":"FX:EURUSD"}"#, "FX:EURUSD", Formula::Itself),
            (r#"={"symbol":{"symbol":"FX:EURUSD"}}"#, "FX:EURUSD", Formula::Itself),
            ("BITSTAMP:BTCUSD*1000", "BITSTAMP:BTCUSD", Formula::Times(1_000.0)),
            ("1000*BITSTAMP:BTCUSD", "BITSTAMP:BTCUSD", Formula::Times(1_000.0)),
            ("BITSTAMP:BTCUSD/4", "BITSTAMP:BTCUSD", Formula::Times(0.25)),
            ("1/XAUUSD", "OANDA:XAUUSD", Formula::Inverse(1.0)),
        ] {
            assert_eq!(resolved(key), Some((name.to_owned(), formula)), "{key}");
        }
        for key in [
            "",
            "=",
            "={}",
            "={\"symbol\":7}",
            "OANDA:NOSUCH",
            "oanda:eurusd",
            "1/0",
            "2*3",
            "XAUUSD*0",
            "XAUUSD*inf",
            "XAUUSD*",
        ] {
            assert_eq!(resolved(key), None, "{key}");
        }
    }

    #[test]
    fn every_instrument_has_its_own_name_and_can_move() {
        let catalogue = Catalogue::new(400);
        assert_eq!(catalogue.instruments.len(), 400);
        let names: BTreeSet<&str> = catalogue.instruments.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names.len(), 400);
        for one in catalogue.instruments() {
            assert!(one.start > 100 && one.spread >= 0 && one.minmov > 0 && one.pricescale > 0, "{one:?}");
            assert!(one.price(one.start) > 0.0);
        }
    }

    #[test]
    fn prices_are_the_shortest_decimals_of_their_tick() {
        let catalogue = Catalogue::new(30);
        let shown = |name: &str, ticks| {
            catalogue.instruments[catalogue.named(name).unwrap()].price(ticks).to_string()
        };
        assert_eq!(shown("OANDA:EURUSD", 108_421), "1.08421");
        assert_eq!(shown("CME_MINI:ES1!", 21_901), "5475.25");
        assert_eq!(shown("HOSE:VCB", 905), "90500");
        assert_eq!(shown("CBOT:ZB1!", 3_801), "118.78125");
    }
}
