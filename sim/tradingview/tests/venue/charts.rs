//! The small part of charts there is.

use serde_json::json;

use crate::bench::{Bench, CS, names};

#[test]
fn a_chart_has_history_then_a_live_bar_and_a_new_one_each_minute() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.send(id, "chart_create_session", json!([CS, ""]));
    bench.send(id, "switch_timezone", json!([CS, "Etc/UTC"]));
    let spec = r#"={"symbol":"OANDA:EURUSD","adjustment":"splits"}"#;
    bench.send(id, "resolve_symbol", json!([CS, "sds_sym_1", spec]));
    bench.messages(id);
    bench.send(id, "create_series", json!([CS, "sds_1", "s1", "sds_sym_1", "1", 30, ""]));
    let said = bench.said(id);
    assert_eq!(names(&said), ["series_loading", "timescale_update", "series_completed"]);
    assert_eq!(said[2].1, json!([CS, "sds_1", "streaming", "s1", { "rt_update_period": 5 }]));
    let bars = said[1].1[1]["sds_1"]["s"].as_array().unwrap();
    assert_eq!((bars.len(), &bars[29]["v"][0]), (30, &json!(1_767_225_600.0)));
    bench.run(130_000);
    let said = bench.said(id);
    assert!(names(&said).iter().filter(|name| **name == "du").count() > 100);
    assert_eq!(names(&said).iter().filter(|name| **name == "timescale_update").count(), 2);
    bench.send(id, "request_more_data", json!([CS, "sds_1", 10]));
    let said = bench.said(id);
    assert_eq!(said[0].1[1]["sds_1"]["s"].as_array().unwrap().len(), 10);
    bench.send(id, "resolve_symbol", json!([CS, "sds_sym_2", "OANDA:NOSUCH"]));
    bench.send(id, "modify_series", json!([CS, "sds_1", "s2", "sds_sym_2", "5", ""]));
    let said = bench.said(id);
    assert_eq!(said[0], ("symbol_error".to_owned(), json!([CS, "sds_sym_2", "invalid symbol"])));
    assert_eq!(said[2], ("series_error".to_owned(), json!([CS, "sds_1", "s2", "resolve error", "sim-1"])));
    bench.send(id, "create_series", json!([CS, "$prices", "s1", "ser_1", "XX", 100]));
    let info = r#"method: create_series. args: "[$prices, s1, ser_1, XX, 100]""#;
    assert_eq!(bench.said(id), [("critical_error".to_owned(), json!([CS, "invalid parameters", info]))]);
    bench.run(9_000);
    assert!(bench.said(id).is_empty());
}

#[test]
fn the_zone_of_a_chart_has_to_exist() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.send(id, "chart_create_session", json!([CS, ""]));
    bench.messages(id);
    bench.send(id, "switch_timezone", json!([CS, "Nowhere/Nowhere"]));
    let info = r#"method: switch_timezone. args: "[Nowhere/Nowhere]""#;
    assert_eq!(bench.said(id), [("critical_error".to_owned(), json!([CS, "invalid timezone", info]))]);
}
