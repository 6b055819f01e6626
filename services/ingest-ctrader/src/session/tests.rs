//! The session against a venue played by hand; the simulator's pure half meets it in the whole-system tests.

use bytes::Bytes;
use prost::Message;
use tickcast_model::{AuthState, StateChange, SymbolState, Tick};
use tickcast_session::{Note, Retry};

use super::*;
use crate::messages::{Kind, encode, wire};
use crate::tokens::TokenPair;

mod login;
mod random;
mod subscriptions;
mod tokens;

const ACCOUNT: i64 = 7;

/// A session with the venue's side played by the test.
struct Played {
    session: CtraderSession,
    now: Now,
    reader: FrameReader,
    memory: Memory,
    /// Everything put out but bytes.
    told: Vec<SessionOutput>,
}

/// A request as the venue reads it.
#[derive(Clone)]
struct Request {
    kind: Kind,
    payload: Bytes,
    id: u64,
}

fn memory(refresh: Option<&str>) -> Memory {
    let pair = TokenPair::new("tok".to_owned().into(), refresh.map(|token| token.to_owned().into()));
    Memory::new(pair, "app", ACCOUNT)
}

fn session(memory: &Memory) -> CtraderSession {
    CtraderSession::new(SessionSettings {
        host: "demo.ctraderapi.com".into(),
        client_id: "app".into(),
        client_secret: "sec".to_owned().into(),
        account_id: ACCOUNT,
        memory: memory.clone(),
        heartbeat: Duration::from_secs(10),
    })
}

impl Played {
    fn start() -> Self {
        Self::start_with(&memory(None))
    }

    fn start_with(memory: &Memory) -> Self {
        let now = Now { elapsed: Duration::from_secs(1_000), unix_us: 1_795_132_800_000_000 };
        Self::start_at(memory, now)
    }

    fn start_at(memory: &Memory, now: Now) -> Self {
        let session = session(memory);
        let mut played =
            Self { session, now, reader: FrameReader::default(), memory: memory.clone(), told: Vec::new() };
        played.session.start(now);
        played
    }

    /// A session that is logged in, knows EURUSD (1), US100.cash (2) and DEEP (3), and wants nothing.
    fn ready() -> Self {
        Self::start().log_in()
    }

    fn log_in(mut self) -> Self {
        self.application();
        self.account();
        self.list(&[(1, "EURUSD"), (2, "US100.cash"), (3, "DEEP")]);
        self.outputs();
        // The request limit is at rest again.
        self.pass(1).unwrap();
        self
    }

    fn application(&mut self) {
        let request = self.request(Kind::ProtoOaApplicationAuthReq);
        self.answer(Kind::ProtoOaApplicationAuthRes, &wire::ProtoOaApplicationAuthRes::default(), request.id);
    }

    fn account(&mut self) {
        let request = self.request(Kind::ProtoOaAccountAuthReq);
        self.account_answer(&request);
    }

    fn account_answer(&mut self, request: &Request) {
        let answer = wire::ProtoOaAccountAuthRes { ctid_trader_account_id: ACCOUNT, ..Default::default() };
        self.answer(Kind::ProtoOaAccountAuthRes, &answer, request.id);
    }

    fn list(&mut self, symbols: &[(i64, &str)]) {
        let request = self.request(Kind::ProtoOaSymbolsListReq);
        let light = |(id, name): &(i64, &str)| wire::ProtoOaLightSymbol {
            symbol_id: *id,
            symbol_name: Some((*name).into()),
            ..Default::default()
        };
        let list = wire::ProtoOaSymbolsListRes {
            ctid_trader_account_id: ACCOUNT,
            symbol: symbols.iter().map(light).collect(),
            ..Default::default()
        };
        self.answer(Kind::ProtoOaSymbolsListRes, &list, request.id);
    }

    /// A session that holds these symbols: each showed a quote of 1/2.
    fn holding(names: &[&str]) -> Self {
        let mut played = Self::ready();
        played.want(names);
        played.describe();
        for id in played.subscribed() {
            assert_eq!(played.spot(id, Some(1), Some(2)).len(), 1);
        }
        played.outputs();
        played
    }

    /// Takes the next subscription; says of which ids.
    fn subscribed(&mut self) -> Vec<i64> {
        let request = self.request(Kind::ProtoOaSubscribeSpotsReq);
        let answer = wire::ProtoOaSubscribeSpotsRes { ctid_trader_account_id: ACCOUNT, ..Default::default() };
        self.answer(Kind::ProtoOaSubscribeSpotsRes, &answer, request.id);
        let asked = wire::ProtoOaSubscribeSpotsReq::decode(request.payload).unwrap();
        // Row 25.
        assert_eq!(asked.subscribe_to_spot_timestamp, Some(true), "time stamps are always asked for");
        asked.symbol_id
    }

    fn unsubscribed(&mut self) -> Vec<i64> {
        let request = self.request(Kind::ProtoOaUnsubscribeSpotsReq);
        let answer =
            wire::ProtoOaUnsubscribeSpotsRes { ctid_trader_account_id: ACCOUNT, ..Default::default() };
        self.answer(Kind::ProtoOaUnsubscribeSpotsRes, &answer, request.id);
        wire::ProtoOaUnsubscribeSpotsReq::decode(request.payload).unwrap().symbol_id
    }

    fn want(&mut self, names: &[&str]) {
        let names = names.iter().map(|name| Symbol::new(name).unwrap()).collect();
        self.session.want(self.now, &Arc::new(names));
    }

    /// Answers the request for details, DEEP with more digits than the wire can carry.
    fn describe(&mut self) {
        let request = self.request(Kind::ProtoOaSymbolByIdReq);
        let asked = wire::ProtoOaSymbolByIdReq::decode(request.payload.clone()).unwrap().symbol_id;
        let describe = |id: i64| wire::ProtoOaSymbol {
            symbol_id: id,
            digits: if id == 3 { 6 } else { 5 },
            pip_position: 4,
            ..Default::default()
        };
        self.describe_as(&request, asked.into_iter().map(describe).collect());
    }

    fn describe_as(&mut self, request: &Request, symbol: Vec<wire::ProtoOaSymbol>) {
        let details =
            wire::ProtoOaSymbolByIdRes { ctid_trader_account_id: ACCOUNT, symbol, ..Default::default() };
        self.answer(Kind::ProtoOaSymbolByIdRes, &details, request.id);
    }

    /// What was told since last asked; what was sent waits for [`Played::sent`].
    fn outputs(&mut self) -> Vec<SessionOutput> {
        let mut told = std::mem::take(&mut self.told);
        while let Some(output) = self.session.poll() {
            match output {
                SessionOutput::Send(bytes) => self.reader.push(&bytes),
                other => told.push(other),
            }
        }
        told
    }

    /// The next frame sent; what else is told on the way is kept for [`Played::outputs`].
    fn sent(&mut self) -> Option<wire::ProtoMessage> {
        loop {
            if let Some(body) = self.reader.next_frame().unwrap() {
                return Some(wire::ProtoMessage::decode(body).unwrap());
            }
            match self.session.poll()? {
                SessionOutput::Send(bytes) => self.reader.push(&bytes),
                other => self.told.push(other),
            }
        }
    }

    /// The next request; heartbeats are passed over.
    fn next_request(&mut self) -> Option<Request> {
        loop {
            let message = self.sent()?;
            if message.payload_type == messages::HEARTBEAT {
                continue;
            }
            return Some(Request {
                kind: Kind::try_from(i32::try_from(message.payload_type).unwrap()).unwrap(),
                payload: message.payload.unwrap(),
                id: message.client_msg_id.unwrap().parse().unwrap(),
            });
        }
    }

    /// The next request, which may have to wait for the rate limit.
    fn request(&mut self, kind: Kind) -> Request {
        let request = self.next_request().or_else(|| {
            self.pass_ms(25).unwrap();
            self.next_request()
        });
        let request = request.unwrap_or_else(|| panic!("no request, but {kind:?} is due"));
        assert_eq!(request.kind, kind);
        request
    }

    fn is_quiet(&mut self) -> bool {
        self.next_request().is_none()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        self.session.receive(self.now, bytes)
    }

    fn answer(&mut self, kind: Kind, message: &impl Message, id: u64) {
        self.receive(&encode(kind as u32, message, Some(id))).unwrap();
    }

    fn push(&mut self, kind: Kind, message: &impl Message) -> Result<(), Ending> {
        self.receive(&encode(kind as u32, message, None))
    }

    fn refuse(&mut self, request: &Request, code: &str, description: &str) -> Result<(), Ending> {
        let error = wire::ProtoOaErrorRes {
            error_code: code.into(),
            description: Some(description.into()),
            ..Default::default()
        };
        self.receive(&encode(Kind::ProtoOaErrorRes as u32, &error, Some(request.id)))
    }

    fn account_disconnect(&mut self) -> Result<(), Ending> {
        let event =
            wire::ProtoOaAccountDisconnectEvent { ctid_trader_account_id: ACCOUNT, ..Default::default() };
        self.push(Kind::ProtoOaAccountDisconnectEvent, &event)
    }

    fn token_invalidated(&mut self, accounts: &[i64]) -> Result<(), Ending> {
        let event = wire::ProtoOaAccountsTokenInvalidatedEvent {
            ctid_trader_account_ids: accounts.to_vec(),
            reason: Some("token was refreshed".into()),
            ..Default::default()
        };
        self.push(Kind::ProtoOaAccountsTokenInvalidatedEvent, &event)
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
        self.event(&event)
    }

    fn event(&mut self, event: &wire::ProtoOaSpotEvent) -> Vec<Tick> {
        self.push(Kind::ProtoOaSpotEvent, event).unwrap();
        let mut ticks = Vec::new();
        for output in self.outputs() {
            match output {
                SessionOutput::Tick(_, tick) => ticks.push(tick),
                other => self.told.push(other),
            }
        }
        ticks
    }

    /// What was told of symbols since last asked.
    fn states(&mut self) -> Vec<(String, StateChange)> {
        self.outputs()
            .into_iter()
            .filter_map(|output| match output {
                SessionOutput::State(symbol, state) => Some((symbol.to_string(), state)),
                _ => None,
            })
            .collect()
    }

    /// What was told of the login since last asked.
    fn logins(&mut self) -> Vec<(AuthState, Option<CauseKind>)> {
        self.outputs()
            .into_iter()
            .filter_map(|output| match output {
                SessionOutput::Auth(auth, cause) => Some((auth, cause.map(|cause| cause.kind))),
                _ => None,
            })
            .collect()
    }

    fn pass(&mut self, seconds: u64) -> Result<(), Ending> {
        self.pass_ms(seconds * 1000)
    }

    /// Lets time pass, calling at each deadline as the supervisor does.
    fn pass_ms(&mut self, ms: u64) -> Result<(), Ending> {
        let until = self.now.elapsed + Duration::from_millis(ms);
        while let Some(at) = self.session.deadline().filter(|at| *at <= until) {
            let step = at.saturating_sub(self.now.elapsed);
            self.now.elapsed += step;
            self.now.unix_us += i64::try_from(step.as_micros()).unwrap();
            self.session.timeout(self.now)?;
            assert!(self.session.deadline() > Some(self.now.elapsed), "time moves on");
        }
        let step = until - self.now.elapsed;
        self.now.elapsed = until;
        self.now.unix_us += i64::try_from(step.as_micros()).unwrap();
        Ok(())
    }

    fn standing(&self, symbol: &str) -> Standing {
        self.session.standing(self.now, &Symbol::new(symbol).unwrap())
    }

    fn held(&self) -> Vec<String> {
        self.session.held().iter().map(ToString::to_string).collect()
    }
}

fn sides(tick: &Tick) -> (i64, i64) {
    (tick.bid.unwrap().units(), tick.ask.unwrap().units())
}

/// Row 20: nothing outlives the session, so there is one heartbeat; row 21: any frame is life, and none is echoed.
#[test]
fn a_heartbeat_follows_own_silence_and_no_heartbeat_is_answered() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    played.describe();
    played.pass_ms(9_000).unwrap();
    while played.next_request().is_some() {}
    let sent_at = played.session.deadline().unwrap();
    played.receive(&messages::heartbeat()).unwrap();
    assert!(played.sent().is_none(), "an echo would never end");
    assert_eq!(played.session.deadline(), Some(sent_at), "what comes in is no reason to be silent");
    played.pass(60).unwrap();
    let mut beats = 0;
    while let Some(message) = played.sent() {
        beats += u32::from(message.payload_type == messages::HEARTBEAT);
    }
    assert!(beats < 7, "{beats} in a minute, with requests between them");
}

/// Row 1: heartbeats go out in time while a replay fills the request limit.
#[test]
fn work_does_not_hold_heartbeats_up() {
    let mut played = Played::ready();
    let mut silence = Duration::ZERO;
    let mut last = played.now.elapsed;
    for _ in 0..600 {
        played.pass_ms(100).unwrap();
        while played.sent().is_some() {
            silence = silence.max(played.now.elapsed - last);
            last = played.now.elapsed;
        }
    }
    assert!(silence <= Duration::from_millis(10_100), "{silence:?}");
    assert!(last + Duration::from_secs(10) >= played.now.elapsed);
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

/// Row 28: what is sent is whole frames, whatever the order of calls.
#[test]
fn every_send_is_one_whole_frame() {
    let mut played = Played::ready();
    played.want(&["EURUSD", "US100.cash"]);
    played.describe();
    played.subscribed();
    played.pass(30).unwrap();
    let mut frames = 0;
    while let Some(output) = played.session.poll() {
        let SessionOutput::Send(bytes) = output else { continue };
        let length = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
        assert_eq!(bytes.len(), 4 + length);
        frames += 1;
    }
    assert!(frames > 0);
}

/// Rows 23 and 24: what we do not know, and what is meant for others, is counted and passed over.
#[test]
fn unknown_types_and_foreign_ids_change_nothing() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    let request = played.request(Kind::ProtoOaSymbolByIdReq);
    played.outputs();
    played.receive(&encode(2999, &wire::ProtoHeartbeatEvent::default(), None)).unwrap();
    played.answer(Kind::ProtoOaSubscribeSpotsRes, &wire::ProtoOaSubscribeSpotsRes::default(), 9_999);
    played.answer(Kind::ProtoOaUnsubscribeSpotsRes, &wire::ProtoOaUnsubscribeSpotsRes::default(), request.id);
    let foreign = Request { id: 9_999, ..request.clone() };
    played.refuse(&foreign, "INVALID_REQUEST", "Trading account is not authorized").unwrap();
    let odd: Vec<&str> = played
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            SessionOutput::Note(Note::Odd(what)) => Some(what),
            _ => None,
        })
        .collect();
    assert_eq!(
        odd,
        ["unknown_payload_type", "answer_to_nothing", "answer_of_another_type", "error_to_nothing"]
    );
    let symbol = wire::ProtoOaSymbol { symbol_id: 1, digits: 5, pip_position: 4, ..Default::default() };
    played.describe_as(&request, vec![symbol]);
    played.request(Kind::ProtoOaSubscribeSpotsReq);
}

#[test]
fn zero_length_oversize_and_garbage_are_named() {
    for (bytes, words) in [
        (vec![0, 0, 0, 0], "a frame of 0 bytes"),
        (vec![0xff, 0xff, 0xff, 0xff], "a frame of 4294967295 bytes"),
        (vec![0, 0, 0, 3, 0xff, 0xff, 0xff], "undecodable envelope"),
    ] {
        let ending = Played::ready().receive(&bytes).unwrap_err();
        assert_eq!((ending.cause.kind, ending.cause.detail.as_str()), (CauseKind::Protocol, words));
        assert_eq!(ending.retry, Retry::Backoff);
    }
}
