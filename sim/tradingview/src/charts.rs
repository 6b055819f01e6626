//! Chart sessions: the smallest path from a symbol to live bars (facts 3.4, 4.2).

use std::sync::Arc;

use serde_json::Value;
use sim_kit::Now;

use crate::catalogue::Named;
use crate::chart_session::Series;
use crate::connection::Connection;
use crate::desk::Desk;
use crate::fault::Faults;
use crate::fields::{delay_s, update_mode};
use crate::market::{Market, Moved, Watcher};
use crate::say;
use crate::value::quoted;

/// Zones that are no IANA names.
const ZONES: &[&str] = &["exchange", "Etc/UTC", "UTC"];

impl Desk<'_> {
    pub(crate) fn switch_timezone(&mut self, chart: &Arc<str>, params: &[Value]) {
        let zone = text(params, 0);
        let sound = |part: &str| !part.is_empty() && part != "Nowhere";
        let iana = zone.split_once('/').is_some_and(|(area, place)| sound(area) && sound(place));
        if !iana && !ZONES.contains(&zone) {
            let info = format!("method: switch_timezone. args: \"[{zone}]\"");
            self.critical(chart, "invalid timezone", &info);
        }
    }

    pub(crate) fn resolve_symbol(&mut self, chart: &Arc<str>, params: &[Value]) {
        let (id, spec) = (text(params, 0), text(params, 1));
        let named = self.market.catalogue().resolve(spec);
        if let Some(session) = self.connection.charts.get_mut(chart) {
            session.symbols.insert(id.to_owned(), named);
        }
        let message = match named {
            Some(named) => self.symbol_resolved(chart, id, named),
            None => {
                *self.counters.errors.entry("symbol_error").or_default() += 1;
                say::timed("symbol_error", &[quoted(chart), quoted(id), quoted("invalid symbol")], self.now)
            }
        };
        self.answer(vec![message]);
    }

    fn symbol_resolved(&self, chart: &str, id: &str, named: Named) -> String {
        let instrument = self.market.instrument(named.at);
        let mut info = serde_json::json!({
            "name": instrument.short_name(),
            "full_name": instrument.name,
            "pro_name": instrument.name,
            "base_name": [instrument.name],
            "exchange": instrument.exchange,
            "listed_exchange": instrument.listed_exchange(),
            "description": instrument.description,
            "type": instrument.kind,
            "typespecs": [],
            "session": "24x7",
            "session_display": "24x7",
            "subsessions": [],
            "timezone": instrument.timezone,
            "pricescale": instrument.pricescale,
            "minmov": instrument.minmov,
            "minmove2": instrument.fractional.unwrap_or(0),
            "fractional": instrument.fractional.is_some(),
            "pointvalue": 1,
            "currency_code": instrument.currency,
            "currency_id": instrument.currency,
            "has_intraday": true,
            "is_tradable": instrument.kind != "index",
            "is_replayable": true,
            "legs": [instrument.name],
            "aliases": [],
            "pro_perm": "",
            "provider_id": "sim",
        });
        let delay = delay_s(instrument, self.faults, self.connection.entitled, named.at);
        if let Some(delay) = delay.filter(|delay| *delay > 0) {
            info["delay"] = delay.into();
        }
        say::timed("symbol_resolved", &[quoted(chart), quoted(id), info.to_string()], self.now)
    }

    pub(crate) fn create_series(&mut self, chart: &Arc<str>, params: &[Value]) {
        let name: Arc<str> = text(params, 0).into();
        let held =
            self.connection.charts.get(chart).is_some_and(|session| session.series.contains_key(&name));
        let count = bars_wanted(params.get(4));
        match count {
            Some(count) if count > 0 && !held && !name.is_empty() => {
                self.load(chart, "create_series", &name, params, count);
            }
            _ => self.wrong_series(chart, "create_series", params),
        }
    }

    pub(crate) fn modify_series(&mut self, chart: &Arc<str>, params: &[Value]) {
        let name: Arc<str> = text(params, 0).into();
        let Some(session) = self.connection.charts.get_mut(chart) else { return };
        let Some(old) = session.series.remove(&name) else {
            return self.wrong_series(chart, "modify_series", params);
        };
        let watcher = self.watcher(chart, &name);
        self.market.unwatch(old.named.at, &watcher);
        self.load(chart, "modify_series", &name, params, old.bars.len());
    }

    /// Loads a series: `[series, turnaround, symbol, resolution, ...]`.
    fn load(&mut self, chart: &Arc<str>, method: &str, name: &Arc<str>, params: &[Value], count: usize) {
        let (turnaround, symbol, resolution) = (text(params, 1), text(params, 2), text(params, 3));
        let Some(bar_s) = seconds(resolution) else { return self.wrong_series(chart, method, params) };
        let loading =
            say::timed("series_loading", &[quoted(chart), quoted(name), quoted(turnaround)], self.now);
        let named = self
            .connection
            .charts
            .get(chart)
            .and_then(|session| session.symbols.get(symbol))
            .copied()
            .flatten();
        let refused = match named {
            None => Some("resolve error"),
            // Seconds are for those who pay (facts 5.3).
            Some(_) if resolution.ends_with('S') && !self.connection.entitled => Some("seconds_not_entitled"),
            Some(_) => None,
        };
        if let Some(reason) = refused {
            *self.counters.errors.entry("series_error").or_default() += 1;
            let words = [&**chart, &**name, turnaround, reason, "sim-1"].map(quoted);
            return self.answer(vec![loading, say::timed("series_error", &words, self.now)]);
        }
        let Some(named) = named else { return };
        let quote = self.market.quote(named.at);
        let instrument = self.market.instrument(named.at);
        let mut series = Series::new(
            named,
            turnaround,
            bar_s,
            self.now,
            named.formula.apply(instrument.price(quote.last)),
            instrument.volume,
            self.settings.seed ^ (named.at as u64) << 32 ^ bar_s.unsigned_abs(),
        );
        series.load(count.saturating_sub(1));
        let names = (&**chart, &**name, turnaround);
        let mode = update_mode(delay_s(instrument, self.faults, self.connection.entitled, named.at));
        let history = say::timescale_update(names, series.first, &series.bars, bar_s, self.now);
        let completed = say::series_completed(names, &mode, self.now);
        let watcher = self.watcher(chart, name);
        self.market.watch(named.at, watcher, self.now);
        if let Some(session) = self.connection.charts.get_mut(chart) {
            session.series.insert(name.clone(), series);
        }
        self.counters.bars += 1;
        self.answer(vec![loading]);
        self.answer(vec![history, completed]);
    }

    pub(crate) fn remove_series(&mut self, chart: &Arc<str>, params: &[Value]) {
        let name: Arc<str> = text(params, 0).into();
        let held = self.connection.charts.get_mut(chart).and_then(|session| session.series.remove(&name));
        if let Some(series) = held {
            let watcher = self.watcher(chart, &name);
            self.market.unwatch(series.named.at, &watcher);
        }
    }

    pub(crate) fn request_more_data(&mut self, chart: &Arc<str>, params: &[Value]) {
        let name = text(params, 0);
        let count = params.get(1).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        let Some(session) = self.connection.charts.get_mut(chart) else { return };
        let (Some(series), Some(count)) = (session.series.get_mut(name), count.filter(|count| *count > 0))
        else {
            return self.wrong_series(chart, "request_more_data", params);
        };
        let added = series.load(count);
        let names = (&**chart, name, series.turnaround.as_str());
        let older = say::timescale_update(names, series.first, &series.bars[..added], series.bar_s, self.now);
        let named = series.named;
        let delay =
            delay_s(self.market.instrument(named.at), self.faults, self.connection.entitled, named.at);
        let completed = say::series_completed(names, &update_mode(delay), self.now);
        self.counters.bars += 1;
        self.answer(vec![older, completed]);
    }

    /// Studies are for other plans than this venue has.
    pub(crate) fn create_study(&mut self, chart: &Arc<str>, params: &[Value]) {
        let reason = format!("study_not_auth:{}", text(params, 3));
        let words = [&**chart, text(params, 0), text(params, 1), &reason].map(quoted);
        *self.counters.errors.entry("study_error").or_default() += 1;
        self.answer(vec![say::timed("study_error", &words, self.now)]);
    }

    fn wrong_series(&mut self, chart: &str, method: &str, params: &[Value]) {
        self.counters.breaches += 1;
        let args: Vec<String> = params
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        self.critical(
            chart,
            "invalid parameters",
            &format!("method: {method}. args: \"[{}]\"", args.join(", ")),
        );
    }
}

/// Tells a connection what a trade has made of one of its series; how many messages that made.
pub(crate) fn update(
    connection: &mut Connection,
    now: Now,
    market: &Market,
    faults: &Faults,
    watcher: &Watcher,
    moved: Moved,
) -> u64 {
    if moved != Moved::Trade {
        return 0;
    }
    let Some(chart) = connection.charts.get_mut(&watcher.session) else { return 0 };
    let Some(series) = chart.series.get_mut(&watcher.what) else { return 0 };
    let price = series
        .named
        .formula
        .apply(market.instrument(series.named.at).price(market.quote(series.named.at).last));
    let (bar, opened) = series.trade(price, now);
    let names = (&*watcher.session, &*watcher.what, series.turnaround.as_str());
    let index = series.first + i64::try_from(series.bars.len()).unwrap_or(i64::MAX) - 1;
    let payload = if opened {
        say::timescale_update(names, index, &[bar], series.bar_s, now)
    } else {
        say::du(names, index, bar, series.bar_s)
    };
    connection.put(now, faults, &[payload]);
    1
}

/// The length of a bar in seconds; `15m` and `1h` are not known (facts 3.4).
fn seconds(resolution: &str) -> Option<i64> {
    match resolution {
        "1" | "3" | "5" | "15" | "30" | "45" | "60" | "120" | "180" | "240" => {
            resolution.parse::<i64>().ok().map(|minutes| minutes * 60)
        }
        "1S" | "5S" | "10S" | "15S" | "30S" => resolution.trim_end_matches('S').parse().ok(),
        "1H" | "2H" | "3H" | "4H" => {
            resolution.trim_end_matches('H').parse::<i64>().ok().map(|hours| hours * 3_600)
        }
        "D" | "1D" => Some(86_400),
        "W" | "1W" => Some(7 * 86_400),
        "M" | "1M" => Some(30 * 86_400),
        _ => None,
    }
}

/// How many bars are asked for: a number, `["bar_count", to, n]`, or `r,from:to`.
fn bars_wanted(value: Option<&Value>) -> Option<usize> {
    let count = match value? {
        Value::Number(number) => number.as_u64()?,
        Value::Array(parts) => parts.get(2)?.as_u64()?,
        Value::String(range) => {
            let (from, to) = range.strip_prefix("r,")?.split_once(':')?;
            let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
            // As many as a range of minutes would have.
            (to.checked_sub(from)? / 60).max(1)
        }
        _ => return None,
    };
    usize::try_from(count).ok()
}

fn text(params: &[Value], at: usize) -> &str {
    params.get(at).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::catalogue::Formula;

    fn now(unix_s: i64) -> Now {
        Now { elapsed: Duration::ZERO, unix_ms: unix_s * 1_000 }
    }

    fn series() -> Series {
        let named = Named { at: 0, formula: Formula::Itself };
        Series::new(named, "s1", 60, now(1_767_225_599), 1.08421, true, 1)
    }

    #[test]
    fn history_is_whole_and_joins_the_live_bar() {
        let mut series = series();
        assert_eq!(series.load(50), 50);
        assert_eq!((series.first, series.bars.len()), (-50, 51));
        assert_eq!(series.load(7), 7);
        for pair in series.bars.windows(2) {
            assert_eq!(pair[0].time + 60, pair[1].time);
            assert_eq!(pair[0].close, pair[1].open);
        }
        assert!(
            series
                .bars
                .iter()
                .all(|bar| bar.low <= bar.open.min(bar.close) && bar.high >= bar.open.max(bar.close))
        );
        assert_eq!(series.load(1_000_000), crate::chart_session::BARS_MAX - 58);
        assert_eq!(series.load(1), 0);
    }

    #[test]
    fn trades_move_the_live_bar_and_open_new_ones() {
        let mut series = series();
        let (bar, opened) = series.trade(1.09, now(1_767_225_599));
        assert_eq!(
            (bar.time, bar.high, bar.close, bar.volume, opened),
            (1_767_225_540, 1.09, 1.09, Some(2.0), false)
        );
        let (bar, opened) = series.trade(1.08, now(1_767_225_600));
        assert_eq!((bar.time, bar.open, bar.close, opened), (1_767_225_600, 1.09, 1.08, true));
    }

    #[test]
    fn only_the_venue_s_spellings_of_resolutions_and_counts_are_known() {
        assert_eq!((seconds("15"), seconds("1D"), seconds("5S")), (Some(900), Some(86_400), Some(5)));
        for wrong in ["", "15m", "1h", "XX", "0", "7"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        assert_eq!(bars_wanted(Some(&json!(300))), Some(300));
        assert_eq!(bars_wanted(Some(&json!(["bar_count", 1_767_225_600, 20]))), Some(20));
        assert_eq!(bars_wanted(Some(&json!("r,1767225000:1767225600"))), Some(10));
        for wrong in [None, Some(json!("many")), Some(json!(-1)), Some(json!(null)), Some(json!("r,5:1"))] {
            assert_eq!(bars_wanted(wrong.as_ref()), None);
        }
    }
}
