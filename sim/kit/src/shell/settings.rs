use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use secrecy::ExposeSecret as _;
use tickcast_service::Reader;

/// Where a venue is reached and what its clients are to trust.
#[derive(Debug)]
pub struct ListenerSettings {
    /// Where clients connect; port 0 means any free one.
    pub addr: SocketAddr,
    /// Where the certificate is written, for clients to trust.
    pub ca_file: Option<PathBuf>,
    /// Names in the certificate besides `localhost` and `127.0.0.1`.
    pub hosts: Vec<String>,
}

/// How lively the market is.
#[derive(Clone, Copy, Debug)]
pub struct MarketSettings {
    /// The same seed gives the same prices.
    pub seed: u64,
    /// Number of symbols.
    pub symbols: usize,
    /// Mean number of quotes per second of each subscribed symbol.
    pub ticks_per_s: u32,
}

impl ListenerSettings {
    /// Reads them; `addr` is the usual address and `help` says what listens there.
    pub fn read(reader: &mut Reader, addr: &'static str, help: &'static str) -> Self {
        let addr = reader.address("SIM_ADDR", addr, help);
        let ca_file = reader.path(
            "SIM_CA_FILE",
            "the certificate made at start is written here as PEM, before the venue listens",
        );
        let hosts = reader.text(
            "SIM_HOSTS",
            "",
            "names in the certificate besides localhost and 127.0.0.1, comma-separated",
        );
        let hosts =
            hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
        Self { addr, ca_file, hosts }
    }
}

impl MarketSettings {
    /// Reads them, with what is usual and how many symbols there can be.
    pub fn read(reader: &mut Reader, usual: Self, symbols: RangeInclusive<usize>) -> Self {
        let seed =
            reader.number("SIM_SEED", usual.seed, 0..=u64::MAX, "", "the same seed gives the same prices");
        let symbols = reader.number("SIM_SYMBOLS", usual.symbols, symbols, "", "number of symbols");
        let ticks_per_s = reader.number(
            "SIM_TICKS_PER_S",
            usual.ticks_per_s,
            1..=1_000,
            "",
            "mean number of quotes per second of each subscribed symbol",
        );
        Self { seed, symbols, ticks_per_s }
    }
}

/// What a file holds, where one is named; what keeps it from being read is a problem of the setting.
pub fn file<T>(
    reader: &mut Reader,
    name: &'static str,
    help: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let path = reader.path(name, help)?;
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match text.and_then(|text| read(&text)) {
        Ok(value) => Some(value),
        Err(error) => {
            reader.problem(name, format!("{}: {error}", path.display()));
            None
        }
    }
}

/// A secret of a simulator, which is none outside of it; the usual one where nothing is set.
pub fn secret(reader: &mut Reader, name: &'static str, help: &'static str, usual: String) -> String {
    reader.optional_secret(name, help).map_or(usual, |value| value.expose_secret().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_and_the_rest_is_usual() {
        let mut reader = Reader::from_pairs([
            ("SIM_ADDR", "127.0.0.1:7000"),
            ("SIM_HOSTS", "sim, ,venue.test"),
            ("SIM_SYMBOLS", "3"),
            ("SIM_WORD", "hush"),
        ]);
        let listener = ListenerSettings::read(&mut reader, "127.0.0.1:1", "where");
        assert_eq!(listener.addr.to_string(), "127.0.0.1:7000");
        assert_eq!((listener.ca_file, listener.hosts), (None, vec!["sim".to_owned(), "venue.test".into()]));
        let usual = MarketSettings { seed: 7, symbols: 5, ticks_per_s: 9 };
        let market = MarketSettings::read(&mut reader, usual, 1..=10);
        assert_eq!((market.seed, market.symbols, market.ticks_per_s), (7, 3, 9));
        assert_eq!(secret(&mut reader, "SIM_WORD", "a word", "usual".into()), "hush");
        assert_eq!(secret(&mut reader, "SIM_OTHER", "another", "usual".into()), "usual");
        assert!(reader.problems().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_or_understood_is_a_problem_of_its_setting() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mut reader =
            Reader::from_pairs([("SIM_ONE", "/no/such/file"), ("SIM_TWO", here), ("SIM_GOOD", here)]);
        let len = |text: &str| Ok::<_, String>(text.len());
        assert_eq!(file(&mut reader, "SIM_ONE", "one", len), None);
        assert_eq!(file::<usize>(&mut reader, "SIM_TWO", "two", |_| Err("no sense".into())), None);
        assert!(file(&mut reader, "SIM_GOOD", "good", len).is_some_and(|len| len > 0));
        assert_eq!(file(&mut reader, "SIM_UNSET", "unset", len), None);
        let problems = reader.problems().join("\n");
        assert_eq!(reader.problems().len(), 2, "{problems}");
        assert!(problems.contains("SIM_ONE: /no/such/file") && problems.contains("no sense"), "{problems}");
    }
}
