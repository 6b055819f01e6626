//! What the venue says, as payloads; the golden bytes of the facts judge them.

use sim_kit::Now;

use crate::fields::Fields;
use crate::value::{Style, quoted, write_bar_number, write_text};

/// One bar; `volume` where the instrument has one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bar {
    /// Its beginning, Unix seconds.
    pub(crate) time: i64,
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    pub(crate) volume: Option<f64>,
}

/// The first frame of a connection (facts 1.4); `parts` make its name.
pub(crate) fn greeting(parts: (u64, u64), now: Now) -> String {
    format!(
        concat!(
            r#"{{"session_id":"0.{}.{}_sim1-charts-free-1-tvbs-aaaaa-1","timestamp":{},"timestampMs":{},"#,
            r#""release":"release_209-10","studies_metadata_hash":"0123456789abcdef0123456789abcdef01234567","#,
            r#""auth_scheme_vsn":2,"protocol":"json","via":"203.0.113.7:443","javastudies":["3.66"]}}"#
        ),
        parts.0,
        parts.1,
        now.unix_ms.div_euclid(1_000),
        now.unix_ms,
    )
}

pub(crate) fn heartbeat(number: u64) -> String {
    format!("~h~{number}")
}

/// Values of a symbol; fields in the order of the captures, which is from z to a. `v` may be left out by a fault.
pub(crate) fn qsd(session: &str, key: &str, fields: Option<&Fields>, style: Style) -> String {
    let mut out = format!(r#"{{"m":"qsd","p":[{},{{"n":{},"s":"ok""#, quoted(session), quoted(key));
    if let Some(fields) = fields {
        out.push_str(r#","v":{"#);
        for (at, (name, value)) in fields.iter().rev().enumerate() {
            if at > 0 {
                out.push(',');
            }
            write_text(&mut out, name);
            out.push(':');
            value.write(&mut out, style);
        }
        out.push('}');
    }
    out.push_str("}]}");
    out
}

/// A refused symbol; a fault may leave out why.
pub(crate) fn qsd_error(session: &str, key: &str, errmsg: Option<&str>) -> String {
    let (session, key) = (quoted(session), quoted(key));
    let why = errmsg.map(|errmsg| format!(r#","errmsg":{},"v":{{}}"#, quoted(errmsg))).unwrap_or_default();
    format!(r#"{{"m":"qsd","p":[{session},{{"n":{key},"s":"error"{why}}}]}}"#)
}

pub(crate) fn quote_completed(session: &str, key: &str) -> String {
    plain("quote_completed", &[quoted(session), quoted(key)])
}

pub(crate) fn critical_error(session: &str, reason: &str, info: &str) -> String {
    plain("critical_error", &[quoted(session), quoted(reason), quoted(info)])
}

pub(crate) fn protocol_error(text: &str) -> String {
    plain("protocol_error", &[quoted(text)])
}

/// A message without a time; `params` are JSON already.
pub(crate) fn plain(name: &str, params: &[String]) -> String {
    format!(r#"{{"m":"{name}","p":[{}]}}"#, params.join(","))
}

/// A message of the chart scope, which carries its time (facts 4).
pub(crate) fn timed(name: &str, params: &[String], now: Now) -> String {
    let (t, t_ms) = (now.unix_ms.div_euclid(1_000), now.unix_ms);
    format!(r#"{{"m":"{name}","p":[{}],"t":{t},"t_ms":{t_ms}}}"#, params.join(","))
}

/// History, or a new bar: the first of `bars` has this index.
pub(crate) fn timescale_update(
    (chart, series, turnaround): (&str, &str, &str),
    first: i64,
    bars: &[Bar],
    bar_s: i64,
    now: Now,
) -> String {
    let data = data("\"node\":\"sim-1\",", (series, turnaround), first, bars, bar_s);
    let mut changes = String::new();
    for (at, bar) in bars.iter().enumerate() {
        if at > 0 {
            changes.push(',');
        }
        write_seconds(&mut changes, bar.time);
    }
    let changeset =
        format!(r#"{{"index":{first},"zoffset":0,"changes":[{changes}],"marks":[],"index_diff":[]}}"#);
    timed("timescale_update", &[quoted(chart), data, changeset], now)
}

/// The current bar has changed.
pub(crate) fn du(
    (chart, series, turnaround): (&str, &str, &str),
    index: i64,
    bar: Bar,
    bar_s: i64,
) -> String {
    plain("du", &[quoted(chart), data("", (series, turnaround), index, &[bar], bar_s)])
}

pub(crate) fn series_completed(
    (chart, series, turnaround): (&str, &str, &str),
    mode: &str,
    now: Now,
) -> String {
    let params = [
        quoted(chart),
        quoted(series),
        quoted(mode),
        quoted(turnaround),
        r#"{"rt_update_period":5}"#.to_owned(),
    ];
    timed("series_completed", &params, now)
}

fn data(node: &str, (series, turnaround): (&str, &str), first: i64, bars: &[Bar], bar_s: i64) -> String {
    let mut out = format!(r#"{{{}:{{{node}"s":["#, quoted(series));
    for (index, bar) in (first..).zip(bars) {
        if index > first {
            out.push(',');
        }
        out.push_str(&format!(r#"{{"i":{index},"v":["#));
        write_seconds(&mut out, bar.time);
        for number in [Some(bar.open), Some(bar.high), Some(bar.low), Some(bar.close), bar.volume] {
            let Some(number) = number else { continue };
            out.push(',');
            write_bar_number(&mut out, number);
        }
        out.push_str("]}");
    }
    let close_time = bars.last().map_or(0, |bar| bar.time + bar_s);
    out.push_str(&format!(
        r#"],"ns":{{"d":"","indexes":[]}},"t":{},"lbs":{{"bar_close_time":{close_time}}}}}}}"#,
        quoted(turnaround)
    ));
    out
}

/// Times of bars have a fraction (facts 4.2).
fn write_seconds(out: &mut String, seconds: i64) {
    out.push_str(&format!("{seconds}.0"));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frame::put_frame;
    use crate::value::Value;

    const QS: &str = "qs_A1b2C3d4E5f6";

    fn now(unix_ms: i64) -> Now {
        Now { elapsed: Duration::ZERO, unix_ms }
    }

    fn framed(payloads: &[String]) -> String {
        let mut message = String::new();
        payloads.iter().for_each(|payload| put_frame(&mut message, payload));
        message
    }

    /// The server's frames of facts 3.5, byte by byte.
    #[test]
    fn a_start_up_is_as_the_facts_show_it() {
        assert_eq!(
            framed(&[greeting((4_321, 987), now(1_767_225_600_123))]),
            r#"~m~289~m~{"session_id":"0.4321.987_sim1-charts-free-1-tvbs-aaaaa-1","timestamp":1767225600,"timestampMs":1767225600123,"release":"release_209-10","studies_metadata_hash":"0123456789abcdef0123456789abcdef01234567","auth_scheme_vsn":2,"protocol":"json","via":"203.0.113.7:443","javastudies":["3.66"]}"#
        );
        let main = Fields::from([
            ("volume", Value::Whole(81_234)),
            ("update_mode", Value::text("streaming")),
            ("pricescale", Value::Whole(100_000)),
            ("minmov", Value::Whole(1)),
            ("lp_time", Value::Whole(1_767_225_599)),
            ("lp", Value::Number(1.08421)),
            ("current_session", Value::text("market")),
            ("chp", Value::Number(0.12)),
            ("ch", Value::Number(0.0013)),
        ]);
        assert_eq!(
            framed(&[
                qsd(QS, "OANDA:EURUSD", Some(&main), Style::Plain),
                quote_completed(QS, "OANDA:EURUSD")
            ]),
            r#"~m~227~m~{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:EURUSD","s":"ok","v":{"volume":81234,"update_mode":"streaming","pricescale":100000,"minmov":1,"lp_time":1767225599,"lp":1.08421,"current_session":"market","chp":0.12,"ch":0.0013}}]}~m~62~m~{"m":"quote_completed","p":["qs_A1b2C3d4E5f6","OANDA:EURUSD"]}"#
        );
        let book = Fields::from([("ask", Value::Number(1.08434)), ("bid", Value::Number(1.0842))]);
        assert_eq!(
            framed(&[qsd(QS, "OANDA:EURUSD", Some(&book), Style::Plain)]),
            r#"~m~98~m~{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:EURUSD","s":"ok","v":{"bid":1.0842,"ask":1.08434}}]}"#
        );
        let delta = Fields::from([
            ("lp_time", Value::Whole(1_767_225_601)),
            ("lp", Value::Number(1.08425)),
            ("ch", Value::Number(0.00134)),
        ]);
        assert_eq!(
            framed(&[qsd(QS, "OANDA:EURUSD", Some(&delta), Style::Plain), heartbeat(1)]),
            r#"~m~118~m~{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:EURUSD","s":"ok","v":{"lp_time":1767225601,"lp":1.08425,"ch":0.00134}}]}~m~4~m~~h~1"#
        );
    }

    /// Facts 2.1 (a captured frame), 4.1 and 4.3.
    #[test]
    fn errors_and_letters_beyond_ascii_are_as_the_facts_show_them() {
        let korean = Fields::from([("local_description", Value::text("삼성전자"))]);
        assert_eq!(
            framed(&[qsd(QS, "KRX:005930", Some(&korean), Style::Plain)]),
            r#"~m~96~m~{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"KRX:005930","s":"ok","v":{"local_description":"삼성전자"}}]}"#
        );
        assert_eq!(
            qsd_error(QS, "OANDA:NOSUCH", Some("invalid symbol")),
            r#"{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:NOSUCH","s":"error","errmsg":"invalid symbol","v":{}}]}"#
        );
        assert_eq!(
            qsd_error(QS, "OANDA:NOSUCH", None),
            r#"{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:NOSUCH","s":"error"}]}"#
        );
        // Keys come back verbatim, the extended form as JSON inside JSON (facts 5.1).
        let key = r#"={"session":"regular","symbol":"OANDA:EURUSD"}"#;
        assert_eq!(
            quote_completed(QS, key),
            r#"{"m":"quote_completed","p":["qs_A1b2C3d4E5f6","={\"session\":\"regular\",\"symbol\":\"OANDA:EURUSD\"}"]}"#
        );
        // The one LEN the facts tell of this frame is 45.
        assert_eq!(
            framed(&[protocol_error("bad auth token")]),
            r#"~m~45~m~{"m":"protocol_error","p":["bad auth token"]}"#
        );
        assert_eq!(
            critical_error(
                "cs_1",
                "invalid timezone",
                "method: switch_timezone. args: \"[Nowhere/Nowhere]\""
            ),
            r#"{"m":"critical_error","p":["cs_1","invalid timezone","method: switch_timezone. args: \"[Nowhere/Nowhere]\""]}"#
        );
    }

    /// The example of facts 4.2.
    #[test]
    fn history_and_a_live_bar_are_as_the_facts_show_them() {
        let names = ("cs_A1b2C3d4E5f6", "sds_1", "s1");
        let bar = Bar {
            time: 1_767_225_540,
            open: 1.0841,
            high: 1.08432,
            low: 1.08405,
            close: 1.08421,
            volume: Some(312.0),
        };
        assert_eq!(
            timescale_update(names, 0, &[bar], 60, now(1_767_225_600_456)),
            r#"{"m":"timescale_update","p":["cs_A1b2C3d4E5f6",{"sds_1":{"node":"sim-1","s":[{"i":0,"v":[1767225540.0,1.0841,1.08432,1.08405,1.08421,312.0]}],"ns":{"d":"","indexes":[]},"t":"s1","lbs":{"bar_close_time":1767225600}}},{"index":0,"zoffset":0,"changes":[1767225540.0],"marks":[],"index_diff":[]}],"t":1767225600,"t_ms":1767225600456}"#
        );
        assert_eq!(
            series_completed(names, "streaming", now(1_767_225_600_457)),
            r#"{"m":"series_completed","p":["cs_A1b2C3d4E5f6","sds_1","streaming","s1",{"rt_update_period":5}],"t":1767225600,"t_ms":1767225600457}"#
        );
        let live = Bar { high: 1.0844, close: 1.08438, volume: Some(318.0), ..bar };
        assert_eq!(
            du(names, 0, live, 60),
            r#"{"m":"du","p":["cs_A1b2C3d4E5f6",{"sds_1":{"s":[{"i":0,"v":[1767225540.0,1.0841,1.0844,1.08405,1.08438,318.0]}],"ns":{"d":"","indexes":[]},"t":"s1","lbs":{"bar_close_time":1767225600}}}]}"#
        );
    }
}
