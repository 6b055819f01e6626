use std::sync::Arc;
use std::time::Duration;

use crate::hours::HoursSpan;
use crate::{MarketHours, Now};

/// Between which times a symbol's silence becomes an alarm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PulseBounds {
    /// The quickest symbol's threshold.
    pub(crate) min: Duration,
    /// The threshold of a symbol whose rhythm is not known yet.
    pub(crate) start: Duration,
    /// The slowest symbol's threshold.
    pub(crate) max: Duration,
}

/// How one channel ticks and when its market is open: what decides whether its silence means something.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The longest gap between two quotes of late: risen to at once or by doubling, forgotten with time.
    longest_us: u64,
    /// Since when it is silent: its last quote, or since when one was to be expected.
    pub(crate) since: Duration,
    /// The spell of undisturbed data its last quote came in; a gap over the end of one teaches nothing.
    spell: u32,
    /// The time of its valid entry in the agenda.
    pub(crate) due: Duration,
    /// How often it was asked for again since its last quote.
    pub(crate) asked: u32,
    /// When it is asked for again, while it is silent.
    pub(crate) ask_at: Duration,
    hours: Option<Arc<MarketHours>>,
    /// When the hours were heard of.
    told_at: Duration,
    span: HoursSpan,
}

/// The threshold is so many of the longest gaps of late: with random quotes a false alarm comes once in months.
const GAPS: u32 = 5;
/// A longest gap is forgotten within this time and so many of its own lengths.
const MEMORY_US: u64 = 30_000_000;
const MEMORY_GAPS: u64 = 16;
/// Quotes that come so late after a closing still belong to the session.
const CLOSING_GRACE: Duration = Duration::from_secs(5);
/// Due at no time.
pub(crate) const NEVER: Duration = Duration::MAX;

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            longest_us: 0,
            since: Duration::ZERO,
            spell: 0,
            due: NEVER,
            asked: 0,
            ask_at: Duration::ZERO,
            hours: None,
            told_at: Duration::ZERO,
            span: HoursSpan::ALWAYS_OPEN,
        }
    }

    /// A quote came, in this spell of undisturbed data.
    pub(crate) fn beat(&mut self, at: Duration, spell: u32, bounds: &PulseBounds) {
        if self.spell == spell {
            self.learn(micros(at.saturating_sub(self.since)), bounds);
        }
        self.spell = spell;
        self.since = at;
        self.asked = 0;
    }

    /// From now on a quote is to be expected, and the silence before says nothing.
    pub(crate) fn expect(&mut self, at: Duration) {
        self.since = at;
        self.spell = 0;
        self.asked = 0;
    }

    /// How long a silence is too long for this symbol.
    pub(crate) fn threshold(&self, bounds: &PulseBounds) -> Duration {
        if self.longest_us == 0 {
            return bounds.start;
        }
        Duration::from_micros(self.longest_us * u64::from(GAPS)).clamp(bounds.min, bounds.max)
    }

    /// A gap longer than known is believed at most twice over, so that one outage makes no symbol a slow one.
    fn learn(&mut self, gap_us: u64, bounds: &PulseBounds) {
        let known = if self.longest_us == 0 { micros(bounds.start / GAPS) } else { self.longest_us };
        let longest = if gap_us > known {
            gap_us.min(known * 2)
        } else {
            known - known * gap_us / (MEMORY_US + MEMORY_GAPS * known)
        };
        // The least is above zero: what is doubled must be able to grow.
        self.longest_us = longest.clamp(micros(bounds.min / GAPS).max(1), micros(bounds.max / GAPS).max(1));
    }

    /// Takes the market's hours, known from now on; says whether they are news.
    pub(crate) fn hours(&mut self, at: Duration, hours: Arc<MarketHours>) -> bool {
        let news = self.hours.as_ref() != Some(&hours);
        if news {
            self.span = HoursSpan::UNKNOWN;
            self.hours = Some(hours);
            self.told_at = at;
        }
        news
    }

    /// The stretch the market is in; reading the schedule costs something only when the last stretch is over.
    pub(crate) fn span(&mut self, unix_ms: i64) -> HoursSpan {
        if let Some(hours) = self.hours.as_ref().filter(|_| !self.span.contains(unix_ms)) {
            self.span = hours.span(unix_ms);
        }
        self.span
    }

    /// The stretch the market was in when it was last looked at, where its hours are known.
    pub(crate) fn seen_span(&self) -> Option<HoursSpan> {
        self.hours.as_ref().map(|_| self.span)
    }

    /// How long quotes may pause while the market is closed before that is believed.
    pub(crate) fn closing_grace(&self, now: Now, bounds: &PulseBounds) -> Duration {
        let threshold = self.threshold(bounds);
        // Quotes long after the closing show that the schedule is not the whole truth.
        let closed_at = now.elapsed.saturating_sub(ms(now.unix_ms().saturating_sub(self.span.from_ms)));
        // What was heard of only now cannot have been kept before.
        if self.since > closed_at.max(self.told_at) + CLOSING_GRACE {
            threshold
        } else {
            threshold.min(CLOSING_GRACE)
        }
    }
}

fn ms(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: PulseBounds = PulseBounds {
        min: Duration::from_secs(5),
        start: Duration::from_secs(30),
        max: Duration::from_secs(300),
    };

    /// Random quotes with this mean gap for this long; returns the pulse and how often a gap passed the threshold.
    fn ticking(pulse: &mut Pulse, seed: u64, mean: f64, spell: Duration) -> u32 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut alarms = 0;
        let (mut at, until) = (pulse.since, pulse.since + spell);
        while at < until {
            let gap = Duration::from_secs_f64(-mean * (1.0 - rng.f64()).ln());
            alarms += u32::from(gap >= pulse.threshold(&BOUNDS));
            at += gap;
            pulse.beat(at, 1, &BOUNDS);
        }
        alarms
    }

    #[test]
    fn the_threshold_follows_the_rhythm_within_its_bounds() {
        for (mean, least, most) in
            [(0.01, 5, 5), (0.2, 5, 10), (1.0, 12, 60), (10.0, 100, 300), (100.0, 300, 300)]
        {
            let mut pulse = Pulse::new();
            assert_eq!(pulse.threshold(&BOUNDS), BOUNDS.start);
            ticking(&mut pulse, 1, mean, Duration::from_secs(3_600));
            let threshold = pulse.threshold(&BOUNDS).as_secs();
            assert!((least..=most).contains(&threshold), "{threshold} s at a mean gap of {mean} s");
        }
    }

    #[test]
    fn a_day_of_random_quotes_raises_hardly_an_alarm() {
        for seed in 0..5 {
            for mean in [0.3, 1.0, 5.0, 10.0] {
                let mut pulse = Pulse::new();
                ticking(&mut pulse, seed, mean, Duration::from_secs(600));
                let alarms = ticking(&mut pulse, seed + 100, mean, Duration::from_secs(86_400));
                assert!(alarms <= 3, "{alarms} alarms at a mean gap of {mean} s, seed {seed}");
            }
        }
    }

    #[test]
    fn one_long_gap_at_most_doubles_the_threshold_and_none_over_a_disturbance_counts() {
        let mut pulse = Pulse::new();
        ticking(&mut pulse, 2, 0.1, Duration::from_secs(3_600));
        let before = pulse.threshold(&BOUNDS);
        let at = pulse.since + Duration::from_secs(3_600);
        pulse.beat(at, 2, &BOUNDS);
        assert_eq!(pulse.threshold(&BOUNDS), before, "another spell");
        pulse.beat(at + Duration::from_secs(3_600), 2, &BOUNDS);
        assert_eq!(pulse.threshold(&BOUNDS), before * 2);
    }

    #[test]
    fn a_slow_symbol_becomes_quick_again_within_minutes() {
        let mut pulse = Pulse::new();
        ticking(&mut pulse, 3, 100.0, Duration::from_secs(7_200));
        assert_eq!(pulse.threshold(&BOUNDS), BOUNDS.max);
        ticking(&mut pulse, 3, 0.1, Duration::from_secs(1_800));
        assert!(pulse.threshold(&BOUNDS) < Duration::from_secs(10));
    }
}
