use std::time::Duration;

use serde_json::json;
use tickcast_model::Position;

use super::*;
use crate::rate::Mode;

/// Two venues: `ctrader` as set here, `ib` always unknown.
struct Fake {
    venues: Vec<VenueId>,
    catalogue: Option<Vec<&'static str>>,
    ready: bool,
    room: usize,
    /// Any name means itself.
    open: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            venues: ["ctrader", "ib"].iter().filter_map(|name| VenueId::new(name)).collect(),
            catalogue: Some(vec!["EURUSD", "GBPUSD", "XAU/USD"]),
            ready: true,
            room: 100,
            open: false,
        }
    }
}

impl World for Fake {
    fn venues(&self) -> &[VenueId] {
        &self.venues
    }
    fn look_up(&self, venue: VenueNumber, name: &str) -> LookUp {
        if self.open {
            return LookUp::Symbol(Symbol::new(name).unwrap());
        }
        let key = Symbol::lookup_key(name);
        match self.catalogue.as_ref().filter(|_| venue == 0) {
            None => LookUp::NotYet,
            Some(names) => names
                .iter()
                .find(|known| Symbol::lookup_key(known) == key)
                .map_or(LookUp::Unknown, |known| LookUp::Symbol(Symbol::new(known).unwrap())),
        }
    }
    fn is_ready(&self, venue: VenueNumber) -> bool {
        self.ready && venue == 0
    }
    fn has_room(&self, _: &ChannelKey, besides: usize) -> bool {
        self.room > besides
    }
    fn status(&self, venue: VenueNumber) -> Bytes {
        format!("{{\"type\":\"status\",\"source\":\"{}\"}}", self.venues[usize::from(venue)]).into()
    }
    fn now_ms(&self) -> i64 {
        5
    }
}

/// What the client holds, in the order of joining.
#[derive(Default)]
struct Holds(Vec<(ChannelKey, Rate)>);

impl Held for Holds {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn rate(&self, key: &ChannelKey) -> Option<Rate> {
        self.0.iter().find(|(held, _)| held == key).map(|(_, rate)| *rate)
    }
    fn all(&self) -> Vec<(ChannelKey, Rate)> {
        self.0.clone()
    }
}

struct Rig {
    session: ClientSession,
    world: Fake,
    held: Holds,
    now: Instant,
    joined: Vec<String>,
    refused: Vec<ErrorCode>,
    deferred: Vec<Subscribe>,
}

impl Rig {
    fn new(world: Fake) -> Self {
        let limits = ClientLimits { subscriptions_max: 3, message_bytes_max: 1000, messages_per_s: 5 };
        let now = Instant::now();
        let session = ClientSession::new(Arc::new(limits), now);
        Self {
            session,
            world,
            held: Holds::default(),
            now,
            joined: Vec::new(),
            refused: Vec::new(),
            deferred: Vec::new(),
        }
    }

    /// Lets enough time pass for the next message, sends it, and gives the answers.
    fn say(&mut self, message: &Value) -> Vec<Value> {
        self.now += Duration::from_secs(1);
        self.say_at_once(&message.to_string())
    }

    fn say_at_once(&mut self, text: &str) -> Vec<Value> {
        let mut actions = Vec::new();
        self.session.receive(text, self.now, &self.world, &self.held, &mut actions);
        self.act(actions)
    }

    fn resolve(&mut self) -> Vec<Value> {
        let mut actions = Vec::new();
        self.session.resolve(&self.world, &self.held, &mut actions);
        self.act(actions)
    }

    fn act(&mut self, actions: Vec<Action>) -> Vec<Value> {
        let mut said = Vec::new();
        for action in actions {
            match action {
                Action::Send(bytes) => said.push(serde_json::from_slice(&bytes).unwrap()),
                Action::Join { key, away, rate } => {
                    assert!(self.held.rate(&key).is_none(), "joined twice");
                    let away = if away { " away" } else { "" };
                    self.joined.push(format!("+{}.{}{away}", key.venue, key.symbol));
                    self.held.0.push((key, rate));
                }
                Action::Tune(key, rate) => {
                    assert!(self.held.rate(&key).is_some_and(|known| known != rate), "tuned for nothing");
                    self.held.0.iter_mut().filter(|(held, _)| *held == key).for_each(|held| held.1 = rate);
                    self.joined.push(format!("~{}.{}", key.venue, key.symbol));
                }
                Action::Leave(key) => {
                    assert!(self.held.rate(&key).is_some(), "left without being held");
                    self.joined.push(format!("-{}.{}", key.venue, key.symbol));
                    self.held.0.retain(|(held, _)| *held != key);
                }
                Action::Answer(answer) => {
                    let resumed: Vec<String> =
                        answer.resumed.iter().map(|one| format!("{:?}", one.position)).collect();
                    self.joined.push(format!("after {}", resumed.join(", ")));
                    said.push(serde_json::from_slice(&answer.message(5)).unwrap());
                    said.extend(
                        answer.then.iter().map(|message| serde_json::from_slice::<Value>(message).unwrap()),
                    );
                }
                Action::Defer(request) => self.deferred.push(*request),
                Action::Refused(code) => self.refused.push(code),
            }
        }
        said
    }
}

fn results(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let results = answer["results"].as_array().unwrap();
    results
        .iter()
        .map(|r| {
            format!("{} {} {}", text(&r["symbol"]), text(&r["status"]), text(&r["code"])).trim().to_owned()
        })
        .collect()
}

#[test]
fn symbols_are_answered_in_order_in_the_venues_spelling() {
    let mut rig = Rig::new(Fake::default());
    let said = rig.say(&json!({"type":"subscribe","symbols":["eur/usd","NOPE","xauusd",""],"id":[1]}));
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["type"], "subscribeResponse");
    assert_eq!(said[0]["id"], json!([1]));
    assert_eq!(
        results(&said[0]),
        ["EURUSD subscribed", "NOPE error UNKNOWN_SYMBOL", "XAU/USD subscribed", "error BAD_MESSAGE"]
    );
    assert_eq!(said[0]["results"][0]["mode"], "every");
    assert_eq!(rig.joined, ["+ctrader.EURUSD", "+ctrader.XAU/USD"]);
    assert_eq!(rig.refused, [ErrorCode::UnknownSymbol, ErrorCode::BadMessage]);
}

#[test]
fn subscribing_again_changes_nothing() {
    let mut rig = Rig::new(Fake::default());
    rig.say(&json!({"type":"subscribe","symbols":"EURUSD"}));
    let said = rig.say(&json!({"type":"subscribe","symbols":["eurusd","EURUSD"],"source":"ctrader"}));
    assert_eq!(results(&said[0]), ["EURUSD subscribed", "EURUSD subscribed"]);
    assert_eq!(rig.joined, ["+ctrader.EURUSD"]);
}

#[test]
fn what_was_unsubscribed_is_left_once_and_subscriptions_are_told_in_order() {
    let mut rig = Rig::new(Fake::default());
    rig.say(&json!({"type":"subscribe","symbols":["EURUSD","GBPUSD"]}));
    let said = rig.say(&json!({"type":"unsubscribe","symbols":["eur/usd","EURUSD"],"id":"u"}));
    assert_eq!(said[0]["type"], "unsubscribeResponse");
    assert_eq!(results(&said[0]), ["EURUSD unsubscribed", "EURUSD error NOT_SUBSCRIBED"]);
    rig.say(&json!({"type":"subscribe","symbols":"XAUUSD"}));
    assert_eq!(rig.joined, ["+ctrader.EURUSD", "+ctrader.GBPUSD", "-ctrader.EURUSD", "+ctrader.XAU/USD"]);
    let said = rig.say(&json!({"type":"getSubscriptions","id":1}));
    assert_eq!(said[0]["symbols"], json!(["GBPUSD", "XAU/USD"]));
    assert_eq!(
        said[0]["subscriptions"][0],
        json!({"symbol":"GBPUSD","source":"ctrader","mode":"every","minIntervalMs":0})
    );
}

#[test]
fn while_the_venue_is_away_a_known_symbol_is_joined_with_a_reserve() {
    let mut rig = Rig::new(Fake { ready: false, ..Fake::default() });
    let said = rig.say(&json!({"type":"subscribe","symbols":["EURUSD","NOPE"]}));
    assert_eq!(results(&said[0]), ["EURUSD subscribed VENUE_DOWN", "NOPE error UNKNOWN_SYMBOL"]);
    assert_eq!(rig.joined, ["+ctrader.EURUSD away"]);
}

#[test]
fn names_wait_for_the_catalogue_and_are_looked_up_when_it_comes() {
    let mut rig = Rig::new(Fake { ready: false, catalogue: None, ..Fake::default() });
    let said = rig.say(&json!({"type":"subscribe","symbols":["eur/usd","EURUSD","NOPE"]}));
    assert_eq!(
        results(&said[0]),
        ["eur/usd subscribed VENUE_DOWN", "EURUSD subscribed VENUE_DOWN", "NOPE subscribed VENUE_DOWN"]
    );
    assert_eq!(said.len(), 4, "the response, then one pending for each name that waits");
    for pending in &said[1..] {
        assert_eq!((&pending["type"], &pending["state"]), (&json!("symbolState"), &json!("pending")));
        assert_eq!(pending["code"], "VENUE_DOWN");
    }
    assert!(rig.session.is_waiting());
    assert_eq!(rig.resolve(), [] as [Value; 0]);

    rig.world = Fake::default();
    let said = rig.resolve();
    assert_eq!(rig.joined, ["+ctrader.EURUSD"]);
    assert_eq!(said.len(), 1);
    assert_eq!((&said[0]["symbol"], &said[0]["state"]), (&json!("NOPE"), &json!("refused")));
    assert_eq!(said[0]["code"], "UNKNOWN_SYMBOL");
    assert!(!rig.session.is_waiting());
}

#[test]
fn a_waiting_name_can_be_unsubscribed() {
    let mut rig = Rig::new(Fake { catalogue: None, ..Fake::default() });
    rig.say(&json!({"type":"subscribe","symbols":"eur/usd"}));
    let said = rig.say(&json!({"type":"unsubscribe","symbols":"EURUSD"}));
    assert_eq!(results(&said[0]), ["eur/usd unsubscribed"]);
    assert!(!rig.session.is_waiting());
    assert!(rig.joined.is_empty());
}

#[test]
fn names_of_a_venue_without_a_list_are_told_apart_before_it_is_known_that_it_has_none() {
    let mut rig = Rig::new(Fake { catalogue: None, ..Fake::default() });
    rig.say(&json!({"type":"subscribe","symbols":["1/XAUUSD","1XAUUSD","1xauusd"]}));
    let said = rig.say(&json!({"type":"unsubscribe","symbols":["1xauusd"]}));
    assert_eq!(results(&said[0]), ["1xauusd unsubscribed"]);
    rig.world = Fake { catalogue: None, open: true, ..Fake::default() };
    assert_eq!(rig.resolve(), [] as [Value; 0]);
    assert_eq!(rig.joined, ["+ctrader.1/XAUUSD", "+ctrader.1XAUUSD"]);
    // Nor does one of them go on from where the other stopped.
    rig.say(&json!({"type":"unsubscribe","symbols":["1/XAUUSD","1XAUUSD"]}));
    rig.joined.clear();
    let resume = json!({"1/XAUUSD":{"epoch":"1","seq":7}});
    let said = rig.say(&json!({"type":"subscribe","symbols":["1XAUUSD"],"resume":resume.clone()}));
    assert_eq!(said[0]["results"][0]["recovered"], Value::Null);
    assert_eq!(rig.joined, ["+ctrader.1XAUUSD"]);
    rig.say(&json!({"type":"subscribe","symbols":["1/XAUUSD"],"resume":resume}));
    let position = Position { epoch: 1, seq: 7 };
    assert_eq!(rig.joined[1..], ["+ctrader.1/XAUUSD".to_owned(), format!("after {position:?}")]);
}

#[test]
fn what_waited_is_refused_where_the_gateway_has_no_room_for_it_any_more() {
    let mut rig = Rig::new(Fake { catalogue: None, ..Fake::default() });
    rig.say(&json!({"type":"subscribe","symbols":["EURUSD","eur/usd","GBPUSD"]}));
    rig.world = Fake { room: 1, ..Fake::default() };
    let said = rig.resolve();
    assert_eq!(rig.joined, ["+ctrader.EURUSD"]);
    assert_eq!((said.len(), &said[0]["symbol"], &said[0]["state"]), (1, &json!("GBPUSD"), &json!("refused")));
    assert_eq!(said[0]["code"], "TOO_MANY_SUBSCRIPTIONS");
}

#[test]
fn one_message_does_not_exceed_the_room_of_the_gateway() {
    let mut rig = Rig::new(Fake { room: 2, ..Fake::default() });
    let said = rig.say(&json!({"type":"subscribe","symbols":["EURUSD","GBPUSD","XAUUSD"]}));
    assert_eq!(
        results(&said[0]),
        ["EURUSD subscribed", "GBPUSD subscribed", "XAUUSD error TOO_MANY_SUBSCRIPTIONS"]
    );
}

#[test]
fn one_subscription_too_many_is_refused_alone() {
    let mut rig = Rig::new(Fake { catalogue: Some(vec!["A", "B", "C", "D"]), ..Fake::default() });
    let said = rig.say(&json!({"type":"subscribe","symbols":["A","B","C","D","A"]}));
    assert_eq!(results(&said[0])[3..], ["D error TOO_MANY_SUBSCRIPTIONS", "A subscribed"]);
    rig.world.room = 0;
    rig.say(&json!({"type":"unsubscribe","symbols":["A","B"]}));
    let said = rig.say(&json!({"type":"subscribe","symbols":["D"]}));
    assert_eq!(results(&said[0]), ["D error TOO_MANY_SUBSCRIPTIONS"]);
}

#[test]
fn what_is_granted_is_echoed_and_subscribing_again_changes_it() {
    let mut rig = Rig::new(Fake::default());
    let said =
        rig.say(&json!({"type":"subscribe","symbols":"EURUSD","mode":"latest","minIntervalMs":70_000}));
    let granted = |said: &[Value]| {
        (said[0]["results"][0]["mode"].clone(), said[0]["results"][0]["minIntervalMs"].clone())
    };
    assert_eq!(granted(&said), (json!("latest"), json!(60_000)));
    rig.say(&json!({"type":"subscribe","symbols":"EURUSD","mode":"latest","minIntervalMs":60_000}));
    assert_eq!(rig.joined, ["+ctrader.EURUSD"], "nothing changed");
    let said = rig
        .say(&json!({"type":"subscribe","symbols":["EURUSD","GBPUSD"],"minIntervalMs":5,"onSlow":"merge"}));
    assert_eq!(granted(&said), (json!("every"), json!(0)), "there is no interval where each tick is wanted");
    assert_eq!(rig.joined, ["+ctrader.EURUSD", "~ctrader.EURUSD", "+ctrader.GBPUSD"]);
    rig.say(&json!({"type":"subscribe","symbols":"GBPUSD","mode":"latest","minIntervalMs":250}));
    let said = rig.say(&json!({"type":"getSubscriptions"}));
    assert_eq!(
        said[0]["subscriptions"],
        json!([{"symbol":"EURUSD","source":"ctrader","mode":"every","minIntervalMs":0},
               {"symbol":"GBPUSD","source":"ctrader","mode":"latest","minIntervalMs":250}])
    );
}

#[test]
fn a_name_that_waits_for_the_catalogue_keeps_the_rate_asked_for_last() {
    let mut rig = Rig::new(Fake { catalogue: None, ..Fake::default() });
    for interval in [5, 7] {
        rig.say(&json!({"type":"subscribe","symbols":"EURUSD","mode":"latest","minIntervalMs":interval}));
    }
    let said = rig.say(&json!({"type":"getSubscriptions"}));
    assert_eq!(said[0]["subscriptions"][0]["minIntervalMs"], 7);
    rig.world = Fake::default();
    rig.resolve();
    assert_eq!(rig.held.0[0].1.mode, Mode::Latest { min_interval_ms: 7 });
}

#[test]
fn a_resume_is_answered_after_its_channels_are_joined() {
    let mut rig = Rig::new(Fake::default());
    let said = rig.say(&json!({"type":"subscribe","symbols":["eur/usd","GBPUSD","XAUUSD"],
                               "resume":{"EURUSD":{"epoch":"1","seq":1},"GBPUSD":"nonsense"}}));
    assert_eq!(said[0]["results"][1]["recovered"], false, "nobody can go on from nonsense");
    assert_eq!(said[0]["results"][2]["recovered"], Value::Null);
    let position = Position { epoch: 1, seq: 1 };
    let after = format!("after {position:?}");
    assert_eq!(rig.joined, ["+ctrader.EURUSD", "+ctrader.GBPUSD", "+ctrader.XAU/USD", &after]);
}

#[test]
fn a_resume_of_names_that_cannot_be_looked_up_yet_is_put_off_once() {
    let mut rig = Rig::new(Fake { catalogue: None, ..Fake::default() });
    let request = json!({"type":"subscribe","symbols":["EURUSD"],"resume":{"EURUSD":{"epoch":"1","seq":1}}});
    assert_eq!(rig.say(&request), [] as [Value; 0]);
    let request = rig.deferred.pop().unwrap();
    let mut actions = Vec::new();
    rig.session.subscribe(&request, false, &rig.world, &rig.held, &mut actions);
    let said = rig.act(actions);
    assert_eq!(said[0]["results"][0]["recovered"], false);
    assert_eq!(said[1]["state"], "pending");
}

#[test]
fn an_unknown_venue_is_one_error_with_the_id() {
    let mut rig = Rig::new(Fake::default());
    for kind in ["subscribe", "unsubscribe"] {
        let said = rig.say(&json!({"type":kind,"symbols":["A","B"],"source":"nyse","id":3}));
        assert_eq!(said.len(), 1);
        assert_eq!((&said[0]["type"], &said[0]["code"]), (&json!("error"), &json!("UNKNOWN_SOURCE")));
        assert_eq!((&said[0]["id"], &said[0]["source"]), (&json!(3), &json!("nyse")));
    }
}

#[test]
fn connect_is_answered_with_every_venue() {
    let mut rig = Rig::new(Fake::default());
    let said = rig.say(&json!({"type":"connect"}));
    assert_eq!(said.iter().map(|s| s["source"].as_str().unwrap()).collect::<Vec<_>>(), ["ctrader", "ib"]);
    assert_eq!(rig.say(&json!({"type":"ping","id":"x"}))[0]["id"], "x");
}

#[test]
fn a_flood_gets_one_error_for_each_message_too_many() {
    let mut rig = Rig::new(Fake::default());
    let codes: Vec<_> = (0..8)
        .map(|_| rig.say_at_once("{\"type\":\"ping\"}")[0]["code"].as_str().unwrap_or("pong").to_owned())
        .collect();
    assert_eq!(codes.iter().filter(|code| *code == "pong").count(), 5);
    assert_eq!(codes.iter().filter(|code| *code == "RATE_LIMITED").count(), 3);
    assert_eq!(rig.say(&json!({"type":"ping"}))[0]["type"], "pong");
}
