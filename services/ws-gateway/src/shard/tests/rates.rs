use serde_json::{Value, json};

use super::super::*;
use super::bench::*;

fn latest(bench: &mut Bench, browser: &Browser, symbols: &[&str], min_interval_ms: u64) -> Vec<Value> {
    let request =
        json!({"type": "subscribe", "symbols": symbols, "mode": "latest", "minIntervalMs": min_interval_ms});
    bench.say(browser, &request);
    browser.hear()
}

/// A tick's number, how many were merged into it, and the extremes as they should be of the last so many numbers.
fn merged(message: &Value) -> (u64, u64) {
    let (seq, count) = (message["seq"].as_u64().unwrap(), message["merged"].as_u64().unwrap());
    let prices = || (seq + 1 - count..=seq).map(|seq| price_of(seq).unwrap().with_digits(5).to_string());
    let extreme = |name: &str| message[name].as_f64().unwrap();
    let all: Vec<f64> = prices().map(|price| price.parse().unwrap()).collect();
    assert!((extreme("high") - all.iter().copied().fold(f64::MIN, f64::max)).abs() < 1e-9, "{message}");
    assert!((extreme("low") - all.iter().copied().fold(f64::MAX, f64::min)).abs() < 1e-9, "{message}");
    (seq, count)
}

fn ticks(browser: &Browser) -> Vec<(u64, u64)> {
    browser.hear().iter().filter(|message| message["type"] == "tick").map(merged).collect()
}

#[test]
fn the_latest_tick_comes_no_sooner_than_wanted_with_the_others_merged_into_it() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    let answer = latest(&mut bench, &browser, &["EURUSD"], 100);
    assert_eq!(answer[0]["results"][0]["mode"], "latest");
    assert_eq!(answer[0]["results"][0]["minIntervalMs"], 100);
    bench.tick("EURUSD");
    assert_eq!(ticks(&browser), [(1, 1)], "the first at once");
    for _ in 0..9 {
        bench.pass_time(Duration::from_millis(10));
        bench.tick("EURUSD");
        assert_eq!(ticks(&browser), []);
    }
    bench.pass_time(Duration::from_millis(10));
    assert_eq!(ticks(&browser), [(10, 9)]);
    bench.pass_time(Duration::from_secs(5));
    assert_eq!(ticks(&browser), [], "nothing new, nothing said");
    bench.tick("EURUSD");
    assert_eq!(ticks(&browser), [(11, 1)], "quiet for longer than that, at once again");
}

#[test]
fn a_snapshot_is_one_tick_and_what_comes_until_the_next_time_is_merged_however_much_it_is() {
    let mut bench = Bench::new(0);
    let keeper = bench.open();
    bench.subscribe(&keeper, &["EURUSD"]);
    bench.tick("EURUSD");
    let browser = bench.open();
    let heard = latest(&mut bench, &browser, &["EURUSD"], 1_000);
    let snapshot = heard.iter().find(|message| message["type"] == "tick").unwrap();
    assert_eq!(snapshot["snapshot"], true);
    assert_eq!(merged(snapshot), (1, 1));
    for _ in 0..10 * RING {
        bench.tick("EURUSD");
        bench.pass_time(Duration::from_millis(1));
    }
    bench.pass_time(Duration::from_secs(1));
    let many = 10 * RING as u64;
    assert_eq!(ticks(&browser), [(1 + many, many)], "more than the ring holds");
}

#[test]
fn symbols_and_clients_have_rates_of_their_own() {
    let mut bench = Bench::new(0);
    let (mixed, every) = (bench.open(), bench.open());
    bench.subscribe(&every, &["EURUSD", "GBPUSD"]);
    latest(&mut bench, &mixed, &["EURUSD"], 100);
    latest(&mut bench, &mixed, &["GBPUSD"], 1_000);
    for _ in 0..100 {
        bench.tick("EURUSD");
        bench.tick("GBPUSD");
        bench.pass_time(Duration::from_millis(20));
    }
    bench.pass_time(Duration::from_secs(1));
    let heard = mixed.hear();
    let of = |symbol: &str| {
        let own = heard.iter().filter(|message| message["type"] == "tick" && message["symbol"] == symbol);
        own.map(merged).collect::<Vec<_>>()
    };
    assert_eq!(of("EURUSD").iter().map(|(_, count)| count).sum::<u64>(), 100);
    assert_eq!(of("GBPUSD"), [(1, 1), (50, 49), (100, 50)]);
    assert_eq!(of("EURUSD").len(), 21);
    assert_eq!(every.hear().iter().filter(|message| message["type"] == "tick").count(), 200);
    assert!(bench.metric("ticks_merged_total") >= 176.0);
}

#[test]
fn a_rate_is_changed_live_in_both_directions_without_a_gap() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    bench.tick("EURUSD");
    browser.hear();
    latest(&mut bench, &browser, &["EURUSD"], 60_000);
    bench.tick("EURUSD");
    bench.tick("EURUSD");
    assert_eq!(ticks(&browser), [(2, 1)]);
    // Sooner: the time of the last one counts.
    bench.pass_time(Duration::from_millis(500));
    latest(&mut bench, &browser, &["EURUSD"], 1_000);
    assert_eq!(ticks(&browser), []);
    bench.pass_time(Duration::from_millis(500));
    assert_eq!(ticks(&browser), [(3, 1)]);
    // What waits and is still there comes tick by tick.
    bench.tick("EURUSD");
    bench.tick("EURUSD");
    bench.say(&browser, &json!({"type": "subscribe", "symbols": ["EURUSD"]}));
    let heard = browser.hear();
    assert_eq!(told(&heard), ["subscribeResponse", "tick 4", "tick 5"]);
    assert!(heard.iter().all(|message| message["merged"] == Value::Null));
    // What is not there any more comes as one.
    latest(&mut bench, &browser, &["EURUSD"], 60_000);
    for _ in 0..3 * RING {
        bench.tick("EURUSD");
    }
    assert_eq!(ticks(&browser), [(6, 1)]);
    bench.say(&browser, &json!({"type": "subscribe", "symbols": ["EURUSD"]}));
    let many = 3 * RING as u64 - 1;
    assert_eq!(ticks(&browser), [(6 + many, many)]);
    bench.tick("EURUSD");
    assert_eq!(told(&browser.hear()), [format!("tick {}", 7 + many)]);
    bench.say(&browser, &json!({"type": "getSubscriptions"}));
    assert_eq!(browser.hear()[0]["subscriptions"][0]["mode"], "every");
}

#[test]
fn holes_are_announced_before_what_is_merged_over_them() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    latest(&mut bench, &browser, &["EURUSD"], 1_000);
    bench.tick("EURUSD");
    bench.publish("EURUSD", 2);
    bench.publish("EURUSD", 1);
    bench.pass_time(Duration::from_secs(1));
    let heard = browser.hear();
    assert_eq!(told(&heard), ["tick 1", "symbolState", "gap 2-3", "gap 5-5", "tick 6"]);
    assert_eq!(heard[4]["merged"], 2);
}

#[test]
fn a_merged_tick_never_crosses_an_incarnation() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    latest(&mut bench, &browser, &["EURUSD"], 1_000);
    for _ in 0..4 {
        bench.tick("EURUSD");
    }
    bench.restart("EURUSD");
    bench.publish("EURUSD", 1);
    bench.tick("EURUSD");
    bench.pass_time(Duration::from_secs(1));
    let heard = browser.hear();
    assert_eq!(told(&heard), ["tick 1", "symbolState", "tick 4", "gap 1-1", "tick 3"]);
    assert_eq!((&heard[2]["merged"], &heard[2]["epoch"]), (&json!(3), &json!("1")));
    assert_eq!(
        (&heard[4]["merged"], &heard[4]["epoch"], &heard[4]["snapshot"]),
        (&json!(2), &json!("2"), &json!(true))
    );
}

#[test]
fn a_change_of_state_does_not_wait_for_its_time() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    latest(&mut bench, &browser, &["EURUSD"], 60_000);
    bench.tick("EURUSD");
    bench.tick("EURUSD");
    browser.hear();
    bench.state("EURUSD", tickcast_model::SymbolState::Stale);
    assert_eq!(told(&browser.hear()), ["symbolState"]);
}

#[test]
fn a_client_with_many_rates_has_one_alarm() {
    let mut bench = Bench::new(0);
    let browsers: Vec<Browser> = (0..3).map(|_| bench.open()).collect();
    for browser in &browsers {
        latest(&mut bench, browser, &["EURUSD"], 100);
        latest(&mut bench, browser, &["GBPUSD"], 60_000);
    }
    for _ in 0..200 {
        bench.tick("EURUSD");
        bench.tick("GBPUSD");
        bench.pass_time(Duration::from_millis(7));
        assert!(bench.shard.alarms.len() <= 3, "{}", bench.shard.alarms.len());
    }
    for browser in &browsers {
        browser.cut();
        bench.shard.readable(browser.number, bench.now);
    }
    assert!(bench.shard.alarms.is_empty());
}
