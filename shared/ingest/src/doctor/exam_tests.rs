use tickcast_model::{Catalogue, Instrument};

use super::*;

/// Friday 2026-11-20 12:00 UTC.
const FRIDAY_US: i64 = 1_795_176_000_000_000;
const DAY_US: i64 = 86_400_000_000;

fn names() -> Names {
    Names { host: "X_HOST", ca_file: "X_CA_FILE", credentials: "X_TOKEN" }
}

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).unwrap()
}

struct Rig {
    exam: Exam,
    now: Now,
    told: Vec<Finding>,
}

impl Rig {
    fn new() -> Self {
        let now = Now { elapsed: Duration::from_secs(9), unix_us: FRIDAY_US };
        let patience = Patience { answer: Duration::from_secs(10), tick: Duration::from_secs(30) };
        let favourites = ["EURUSD", "BTCUSD"].map(symbol).to_vec();
        Self { exam: Exam::new(now, names(), patience, favourites), now, told: Vec::new() }
    }

    /// Logged in, and wants one symbol of these.
    fn watching(offered: &[&str]) -> Self {
        let mut rig = Self::new();
        rig.say(SessionOutput::Auth(AuthState::Ok, None));
        assert!(rig.say(catalogue(offered)).is_some());
        rig
    }

    fn say(&mut self, output: SessionOutput) -> Option<Symbol> {
        let wanted = self.exam.output(self.now, output);
        self.told.extend(self.exam.findings());
        wanted
    }

    fn pass(&mut self, time: Duration) {
        self.now.elapsed += time;
        self.now.unix_us += i64::try_from(time.as_micros()).unwrap();
        self.exam.timeout(self.now);
        self.told.extend(self.exam.findings());
    }

    /// The steps with their verdicts.
    fn verdicts(&self) -> Vec<(&'static str, Verdict)> {
        self.told.iter().map(|finding| (finding.step, finding.verdict)).collect()
    }

    fn last(&self) -> &Finding {
        self.told.last().unwrap()
    }
}

fn catalogue(offered: &[&str]) -> SessionOutput {
    let instruments = offered.iter().map(|name| Instrument {
        symbol: symbol(name),
        description: String::new(),
        digits: None,
        pip_position: None,
    });
    SessionOutput::Catalogue(Catalogue { version: 0, open: false, instruments: instruments.collect() })
}

fn tick(name: &str, snapshot: bool) -> SessionOutput {
    let tick = Tick {
        bid: Price::new(114_811, 5),
        ask: Price::new(114_813, 5),
        last: None,
        digits: 5,
        venue_time_ms: None,
        received_us: 0,
        snapshot,
        delayed_s: None,
        details: None,
    };
    SessionOutput::Tick(symbol(name), tick)
}

/// Open from Monday to Friday by the clocks of UTC.
fn hours(name: &str) -> SessionOutput {
    let hours = MarketHours::new("UTC", &[(86_400, 6 * 86_400)], &[]).unwrap();
    SessionOutput::Hours(symbol(name), Arc::new(hours))
}

#[test]
fn a_venue_that_is_well_passes_every_step_and_one_symbol_is_wanted() {
    let mut rig = Rig::new();
    rig.say(SessionOutput::Auth(AuthState::Pending, None));
    rig.say(SessionOutput::Auth(AuthState::Ok, None));
    assert_eq!(rig.say(catalogue(&["AUDUSD", "EURUSD"])), Some(symbol("EURUSD")));
    assert_eq!(rig.say(catalogue(&["AUDUSD", "EURUSD"])), None, "once");
    rig.say(hours("EURUSD"));
    rig.say(tick("EURUSD", true));
    rig.say(tick("AUDUSD", false));
    assert!(rig.exam.deadline().is_some(), "a snapshot and another's tick prove nothing");
    rig.say(tick("EURUSD", false));
    assert_eq!(
        rig.verdicts(),
        [("login", Verdict::Right), ("symbols", Verdict::Right), ("tick", Verdict::Right)]
    );
    assert_eq!(rig.last().words, "EURUSD 1.14811 / 1.14813, after 0 ms");
    assert_eq!(rig.exam.deadline(), None);
}

#[test]
fn another_symbol_is_looked_at_where_the_favourites_are_not_offered() {
    let mut rig = Rig::new();
    rig.say(SessionOutput::Auth(AuthState::None, None));
    assert_eq!(rig.say(catalogue(&[])), None);
    assert_eq!(rig.say(catalogue(&["GER40", "AUDUSD"])), Some(symbol("AUDUSD")));
}

#[test]
fn a_refused_login_is_told_with_its_cause_and_what_to_check() {
    let mut rig = Rig::new();
    let cause = Cause::new(CauseKind::AuthRefused, "CH_CLIENT_AUTH_FAILURE");
    rig.exam.fail(&cause);
    assert_eq!(rig.exam.left(), ["symbols", "tick"]);
    let found = rig.exam.findings();
    assert_eq!(found[0].to_string(), format!("WRONG   login     {cause}; check X_TOKEN"));
    assert_eq!(rig.exam.deadline(), None);
    rig.exam.fail(&cause);
    assert!(rig.exam.findings().is_empty(), "once");
}

#[test]
fn a_login_lost_on_a_living_link_ends_the_examination() {
    let mut rig = Rig::watching(&["EURUSD"]);
    rig.say(SessionOutput::Auth(AuthState::Pending, Some(Cause::new(CauseKind::SessionLost, "2164"))));
    assert_eq!((rig.last().step, rig.last().verdict), ("tick", Verdict::Wrong));
    assert!(rig.last().words.contains("2164"));
}

#[test]
fn silence_at_each_step_ends_it_after_its_time() {
    let mut rig = Rig::new();
    rig.pass(Duration::from_millis(9_999));
    assert!(rig.told.is_empty());
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.verdicts(), [("login", Verdict::Wrong)]);

    let mut rig = Rig::new();
    rig.say(SessionOutput::Auth(AuthState::Ok, None));
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.verdicts()[1], ("symbols", Verdict::Wrong));

    let mut rig = Rig::watching(&["EURUSD"]);
    rig.pass(Duration::from_secs(30));
    assert_eq!(rig.verdicts()[2], ("tick", Verdict::Wrong));
    assert!(rig.last().words.starts_with("no price of EURUSD within"), "{:?}", rig.last());
}

#[test]
fn a_last_price_alone_is_a_fault_while_the_market_is_open_or_may_be() {
    for (says, words) in [(Some(hours("EURUSD")), "though its market is open"), (None, "no new one came")] {
        let mut rig = Rig::watching(&["EURUSD"]);
        let knows_hours = says.is_some();
        if let Some(says) = says {
            rig.say(says);
        }
        rig.say(tick("EURUSD", true));
        rig.pass(Duration::from_secs(30));
        assert_eq!(rig.last().verdict, Verdict::Wrong);
        assert!(rig.last().words.contains(words), "{:?}", rig.last());
        assert_eq!(rig.last().advice.contains("is its market open?"), !knows_hours);
    }
}

#[test]
fn a_closed_market_is_right_and_says_until_when() {
    let mut rig = Rig::watching(&["EURUSD"]);
    rig.now.unix_us += DAY_US;
    rig.say(hours("EURUSD"));
    assert_eq!(rig.last().verdict, Verdict::Right);
    assert_eq!(rig.last().words, "the market of EURUSD is closed until Mon 2026-11-23 00:00 UTC");

    let mut rig = Rig::watching(&["EURUSD"]);
    rig.say(tick("EURUSD", true));
    let state = StateChange {
        state: SymbolState::Closed,
        code: None,
        message: None,
        until_ms: Some(FRIDAY_US / 1_000),
    };
    rig.say(SessionOutput::State(symbol("EURUSD"), state));
    assert_eq!(rig.last().verdict, Verdict::Right);
    let words = "closed until Fri 2026-11-20 12:00 UTC; the last price is 1.14811 / 1.14813";
    assert!(rig.last().words.ends_with(words), "{:?}", rig.last());
}

#[test]
fn a_refused_symbol_is_a_fault_with_the_venues_reason() {
    let mut rig = Rig::watching(&["EURUSD"]);
    let state = StateChange {
        state: SymbolState::Refused,
        code: Some("SYMBOL_REFUSED".into()),
        message: Some("not for this account".into()),
        until_ms: None,
    };
    rig.say(SessionOutput::State(symbol("EURUSD"), state));
    assert_eq!((rig.last().step, rig.last().verdict), ("tick", Verdict::Wrong));
    assert!(rig.last().words.contains("not for this account"));
}

#[test]
fn every_kind_of_cause_has_advice() {
    for kind in CauseKind::ALL {
        assert!(!names().advice(*kind).is_empty());
    }
    assert!(names().advice(CauseKind::Tls).contains("X_CA_FILE"));
}
