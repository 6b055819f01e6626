//! The session against a venue played by hand; the simulator's pure half meets it in the whole-system tests.

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::messages::{Kind, encode};

const ACCOUNT: i64 = 7;

/// A session with the venue's side played by the test.
struct Played {
    session: CtraderSession,
    now: Now,
    reader: FrameReader,
}

/// A request as the venue reads it.
struct Request {
    kind: Kind,
    payload: Bytes,
    id: u64,
}

impl Played {
    fn start() -> Self {
        let session = CtraderSession::new(SessionSettings {
            client_id: "app".into(),
            client_secret: "sec".to_owned().into(),
            access_token: "tok".to_owned().into(),
            account_id: ACCOUNT,
            heartbeat: Duration::from_secs(10),
        });
        let now = Now { elapsed: Duration::from_secs(1), unix_us: 1_795_132_800_000_000 };
        let mut played = Self { session, now, reader: FrameReader::default() };
        played.session.start(now);
        played
    }

    /// A session that is logged in, knows EURUSD (1), US100.cash (2) and DEEP (3), and wants nothing.
    fn ready() -> Self {
        let mut played = Self::start();
        let request = played.request(Kind::ProtoOaApplicationAuthReq);
        played.answer(
            Kind::ProtoOaApplicationAuthRes,
            &wire::ProtoOaApplicationAuthRes::default(),
            request.id,
        );
        let request = played.request(Kind::ProtoOaAccountAuthReq);
        let answer = wire::ProtoOaAccountAuthRes { ctid_trader_account_id: ACCOUNT, ..Default::default() };
        played.answer(Kind::ProtoOaAccountAuthRes, &answer, request.id);
        let request = played.request(Kind::ProtoOaSymbolsListReq);
        let light = |(id, name): (i64, &str)| wire::ProtoOaLightSymbol {
            symbol_id: id,
            symbol_name: Some(name.into()),
            ..Default::default()
        };
        let symbols = [(1, "EURUSD"), (2, "US100.cash"), (3, "DEEP")].map(light).to_vec();
        let list = wire::ProtoOaSymbolsListRes {
            ctid_trader_account_id: ACCOUNT,
            symbol: symbols,
            ..Default::default()
        };
        played.answer(Kind::ProtoOaSymbolsListRes, &list, request.id);
        played.outputs();
        // The request limit is at rest again.
        played.now.elapsed += Duration::from_secs(1);
        played
    }

    /// A session that holds these symbols.
    fn holding(names: &[&str]) -> Self {
        let mut played = Self::ready();
        played.want(names);
        played.describe();
        let request = played.request(Kind::ProtoOaSubscribeSpotsReq);
        let answer = wire::ProtoOaSubscribeSpotsRes { ctid_trader_account_id: ACCOUNT, ..Default::default() };
        played.answer(Kind::ProtoOaSubscribeSpotsRes, &answer, request.id);
        played.outputs();
        played
    }

    fn want(&mut self, names: &[&str]) {
        let names = names.iter().map(|name| Symbol::new(name).unwrap()).collect();
        self.session.want(self.now, &Arc::new(names));
    }

    /// Answers the request for details, DEEP with more digits than the wire can carry.
    fn describe(&mut self) {
        let request = self.request(Kind::ProtoOaSymbolByIdReq);
        let asked = wire::ProtoOaSymbolByIdReq::decode(request.payload).unwrap().symbol_id;
        let describe = |id: i64| wire::ProtoOaSymbol {
            symbol_id: id,
            digits: if id == 3 { 6 } else { 5 },
            pip_position: 4,
            ..Default::default()
        };
        let symbol = asked.into_iter().map(describe).collect();
        let details =
            wire::ProtoOaSymbolByIdRes { ctid_trader_account_id: ACCOUNT, symbol, ..Default::default() };
        self.answer(Kind::ProtoOaSymbolByIdRes, &details, request.id);
    }

    fn outputs(&mut self) -> Vec<SessionOutput> {
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    /// The next frame sent; everything before it is passed over.
    fn sent(&mut self) -> Option<wire::ProtoMessage> {
        loop {
            if let Some(body) = self.reader.next_frame().unwrap() {
                return Some(wire::ProtoMessage::decode(body).unwrap());
            }
            if let SessionOutput::Send(bytes) = self.session.poll()? {
                self.reader.push(&bytes);
            }
        }
    }

    fn request(&mut self, kind: Kind) -> Request {
        let message = self.sent().expect("a request");
        assert_eq!(message.payload_type, kind as u32);
        Request {
            kind,
            payload: message.payload.unwrap(),
            id: message.client_msg_id.unwrap().parse().unwrap(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.session.receive(self.now, bytes).map_err(|ending| ending.cause)
    }

    fn answer(&mut self, kind: Kind, message: &impl Message, id: u64) {
        self.receive(&encode(kind as u32, message, Some(id))).unwrap();
    }

    fn refuse(&mut self, request: &Request, code: &str, description: &str) -> Result<(), Cause> {
        let error = wire::ProtoOaErrorRes {
            error_code: code.into(),
            description: Some(description.into()),
            ..Default::default()
        };
        assert_ne!(request.kind, Kind::ProtoOaErrorRes);
        self.receive(&encode(Kind::ProtoOaErrorRes as u32, &error, Some(request.id)))
    }

    fn spot(&mut self, id: i64, bid: Option<u64>, ask: Option<u64>) -> Vec<Tick> {
        let event = wire::ProtoOaSpotEvent {
            ctid_trader_account_id: ACCOUNT,
            symbol_id: id,
            bid,
            ask,
            timestamp: Some(1_789_757_084_253),
            ..Default::default()
        };
        self.receive(&encode(Kind::ProtoOaSpotEvent as u32, &event, None)).unwrap();
        let tick = |output| match output {
            SessionOutput::Tick(_, tick) => Some(tick),
            _ => None,
        };
        self.outputs().into_iter().filter_map(tick).collect()
    }

    fn pass(&mut self, seconds: u64) -> Result<(), Cause> {
        self.now.elapsed += Duration::from_secs(seconds);
        self.session.timeout(self.now).map_err(|ending| ending.cause)
    }
}

fn sides(tick: &Tick) -> (i64, i64) {
    (tick.bid.unwrap().units(), tick.ask.unwrap().units())
}

#[test]
fn each_request_of_the_login_waits_for_the_answer_before_it() {
    let mut played = Played::start();
    let request = played.request(Kind::ProtoOaApplicationAuthReq);
    assert!(played.sent().is_none(), "nothing but the application's login");
    played.answer(Kind::ProtoOaApplicationAuthRes, &wire::ProtoOaApplicationAuthRes::default(), request.id);
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    let login = wire::ProtoOaAccountAuthReq::decode(request.payload.clone()).unwrap();
    assert_eq!((login.ctid_trader_account_id, login.access_token.as_str()), (ACCOUNT, "tok"));
    assert!(played.sent().is_none());
}

#[test]
fn a_login_that_is_already_there_goes_on() {
    let mut played = Played::start();
    let request = played.request(Kind::ProtoOaApplicationAuthReq);
    played.answer(Kind::ProtoOaApplicationAuthRes, &wire::ProtoOaApplicationAuthRes::default(), request.id);
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    played
        .refuse(&request, "ALREADY_LOGGED_IN", "Trading account is already authorized in this channel")
        .unwrap();
    played.request(Kind::ProtoOaSymbolsListReq);
}

#[test]
fn refused_credentials_end_the_session_with_their_cause_and_without_the_secret() {
    let mut played = Played::start();
    let request = played.request(Kind::ProtoOaApplicationAuthReq);
    let cause = played
        .refuse(&request, "CH_CLIENT_AUTH_FAILURE", "clientId or clientSecret is incorrect")
        .unwrap_err();
    assert_eq!(cause.kind, CauseKind::AuthRefused);
    assert!(!cause.to_string().contains("sec)"), "{cause}");
}

#[test]
fn the_first_quote_is_a_snapshot_and_one_sided_quotes_keep_the_other_side() {
    let mut played = Played::holding(&["EURUSD"]);
    let ticks = played.spot(1, Some(114_811), Some(114_813));
    assert_eq!((ticks.len(), ticks[0].snapshot, sides(&ticks[0])), (1, true, (114_811, 114_813)));
    assert_eq!((ticks[0].venue_time_ms, ticks[0].digits), (Some(1_789_757_084_253), 5));
    let ticks = played.spot(1, None, Some(114_814));
    assert_eq!((ticks.len(), ticks[0].snapshot, sides(&ticks[0])), (1, false, (114_811, 114_814)));
    let ticks = played.spot(1, Some(114_814), None);
    assert_eq!(sides(&ticks[0]), (114_814, 114_814), "zero spread");
}

#[test]
fn nothing_is_published_before_both_sides_are_known() {
    let mut played = Played::holding(&["EURUSD"]);
    assert!(played.spot(1, Some(114_811), None).is_empty());
    assert!(played.spot(1, Some(114_812), None).is_empty());
    assert_eq!(played.spot(1, None, Some(114_813)).len(), 1);
}

#[test]
fn late_foreign_and_impossible_quotes_are_passed_over() {
    let mut played = Played::holding(&["EURUSD"]);
    assert!(played.spot(2, Some(1), Some(2)).is_empty(), "not subscribed");
    assert!(played.spot(99, Some(1), Some(2)).is_empty(), "not known");
    assert!(played.spot(1, Some(u64::MAX), Some(2)).is_empty(), "not a price");
    assert_eq!(played.spot(1, Some(1), Some(2)).len(), 1);
}

#[test]
fn what_is_not_wanted_any_more_is_released() {
    let mut played = Played::holding(&["EURUSD", "US100.cash"]);
    played.want(&["EURUSD"]);
    let request = played.request(Kind::ProtoOaUnsubscribeSpotsReq);
    let ids = wire::ProtoOaUnsubscribeSpotsReq::decode(request.payload.clone()).unwrap().symbol_id;
    assert_eq!(ids, [2]);
    assert!(played.spot(2, Some(1), Some(2)).is_empty(), "late quotes are passed over");
    played.refuse(&request, "NOT_SUBSCRIBED_TO_SPOTS", "").unwrap();
    assert_eq!(played.session.entries.len(), 1, "a refusal to release is a release");
}

#[test]
fn a_refused_batch_is_asked_one_by_one_and_only_the_bad_symbol_is_refused() {
    let mut played = Played::ready();
    played.want(&["EURUSD", "US100.cash"]);
    played.describe();
    let batch = played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.refuse(&batch, "ALREADY_SUBSCRIBED", "").unwrap();
    let first = played.request(Kind::ProtoOaSubscribeSpotsReq);
    let second = played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.refuse(&first, "ALREADY_SUBSCRIBED", "").unwrap();
    played.refuse(&second, "SYMBOL_NOT_FOUND", "gone").unwrap();
    let held = played.session.held();
    assert_eq!(held.iter().map(Symbol::as_str).collect::<Vec<_>>(), ["EURUSD"]);
    let refused = played.outputs().into_iter().find_map(|output| match output {
        SessionOutput::State(symbol, state) => Some((symbol, state)),
        _ => None,
    });
    let (symbol, state) = refused.expect("a refusal that is told");
    assert_eq!((symbol.as_str(), state.state), ("US100.cash", SymbolState::Refused));
    assert_eq!(state.message.as_deref(), Some("SYMBOL_NOT_FOUND (gone)"));
}

#[test]
fn a_name_the_venue_does_not_have_and_prices_that_do_not_fit_are_refused_aloud() {
    let mut played = Played::ready();
    played.want(&["NOSUCH", "DEEP"]);
    played.describe();
    let refused: Vec<(String, Option<String>)> = played
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            SessionOutput::State(symbol, state) => Some((symbol.to_string(), state.code)),
            _ => None,
        })
        .collect();
    // The unknown name is told first: its refusal was read off with the request for details.
    assert!(refused.contains(&("DEEP".into(), Some("SYMBOL_REFUSED".into()))), "{refused:?}");
    assert!(played.session.held().is_empty());
}

#[test]
fn the_venues_request_to_slow_down_is_heeded_and_the_request_repeated() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    let request = played.request(Kind::ProtoOaSymbolByIdReq);
    let blocked = wire::ProtoOaErrorRes {
        error_code: "BLOCKED_PAYLOAD_TYPE".into(),
        retry_after: Some(3),
        ..Default::default()
    };
    played.answer(Kind::ProtoOaErrorRes, &blocked, request.id);
    played.pass(2).unwrap();
    assert!(played.sent().is_none(), "three seconds are not over");
    played.pass(1).unwrap();
    played.request(Kind::ProtoOaSymbolByIdReq);
}

#[test]
fn an_unanswered_subscription_is_repeated_and_an_unanswered_login_ends_the_session() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    played.describe();
    played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.pass(10).unwrap();
    played.request(Kind::ProtoOaSubscribeSpotsReq);

    let mut played = Played::start();
    assert_eq!(played.pass(10).unwrap_err().kind, CauseKind::RequestTimeout);
}

#[test]
fn a_heartbeat_follows_own_silence_and_no_heartbeat_is_answered() {
    let mut played = Played::ready();
    // The last request went out a second ago.
    played.pass(8).unwrap();
    assert!(played.sent().is_none());
    played.pass(1).unwrap();
    assert_eq!(played.sent().expect("a heartbeat").payload_type, messages::HEARTBEAT);
    played.receive(&messages::heartbeat()).unwrap();
    assert!(played.sent().is_none(), "an echo would never end");
    assert_eq!(played.session.deadline(), Some(played.now.elapsed + Duration::from_secs(10)));
}

#[test]
fn a_login_ended_by_the_venue_ends_the_session() {
    let disconnect =
        wire::ProtoOaClientDisconnectEvent { reason: Some("maintenance".into()), ..Default::default() };
    let account =
        wire::ProtoOaAccountDisconnectEvent { ctid_trader_account_id: ACCOUNT, ..Default::default() };
    let token = wire::ProtoOaAccountsTokenInvalidatedEvent::default();
    for bytes in [
        encode(Kind::ProtoOaClientDisconnectEvent as u32, &disconnect, None),
        encode(Kind::ProtoOaAccountDisconnectEvent as u32, &account, None),
        encode(Kind::ProtoOaAccountsTokenInvalidatedEvent as u32, &token, None),
    ] {
        let mut played = Played::ready();
        assert_eq!(played.receive(&bytes).unwrap_err().kind, CauseKind::SessionLost);
    }
    let other = wire::ProtoOaAccountDisconnectEvent { ctid_trader_account_id: 8, ..Default::default() };
    let bytes = encode(Kind::ProtoOaAccountDisconnectEvent as u32, &other, None);
    assert!(Played::ready().receive(&bytes).is_ok(), "another account's");
}

#[test]
fn a_stale_feed_is_let_go_and_asked_for_again() {
    let mut played = Played::holding(&["EURUSD"]);
    played.session.ask_again(played.now, &[Symbol::new("EURUSD").unwrap()].into());
    let request = played.request(Kind::ProtoOaUnsubscribeSpotsReq);
    let answer = wire::ProtoOaUnsubscribeSpotsRes { ctid_trader_account_id: ACCOUNT, ..Default::default() };
    played.answer(Kind::ProtoOaUnsubscribeSpotsRes, &answer, request.id);
    played.request(Kind::ProtoOaSubscribeSpotsReq);
    assert!(played.spot(1, Some(1), None).is_empty(), "sides from before are forgotten");
}

#[test]
fn bytes_may_come_one_by_one() {
    let mut played = Played::holding(&["EURUSD"]);
    let event = wire::ProtoOaSpotEvent {
        ctid_trader_account_id: ACCOUNT,
        symbol_id: 1,
        bid: Some(1),
        ask: Some(2),
        ..Default::default()
    };
    for byte in encode(Kind::ProtoOaSpotEvent as u32, &event, None) {
        assert!(played.outputs().is_empty());
        played.receive(&[byte]).unwrap();
    }
    assert!(matches!(played.outputs()[..], [SessionOutput::Tick(..)]));
}
