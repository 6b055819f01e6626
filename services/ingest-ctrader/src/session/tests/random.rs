//! Random sequences of everything that can happen to a session, by seed: it never panics and keeps its rules.

use std::collections::VecDeque;

use super::*;
use crate::tokens::REFRESH_INTERVAL;

const SEEDS: u64 = 300;
const STEPS: usize = 400;
/// An id no connection of these lives comes to.
const FOREIGN_ID: u64 = 1_000_000;

/// What has to hold over one life, whatever the venue does.
#[derive(Default)]
struct Rules {
    sent: VecDeque<Duration>,
    refreshed_at: Option<Duration>,
    account_open: bool,
    application_open: bool,
}

impl Rules {
    fn sent(&mut self, now: Duration, kind: u32) {
        let second = Duration::from_secs(1);
        while self.sent.front().is_some_and(|at| *at + second <= now) {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
        assert!(self.sent.len() <= 50, "more than the venue allows in a second");
        if kind == messages::HEARTBEAT {
            return;
        }
        let kind = Kind::try_from(i32::try_from(kind).unwrap()).unwrap();
        // Rows 11, 12, 13 and 29: nothing of history, bars or orders is asked for, so none of it can be misread.
        match kind {
            Kind::ProtoOaApplicationAuthReq => {}
            Kind::ProtoOaAccountAuthReq | Kind::ProtoOaGetAccountsByAccessTokenReq => {
                assert!(self.application_open, "{kind:?} before 2101");
            }
            Kind::ProtoOaRefreshTokenReq => {
                assert!(self.application_open);
                let last = self.refreshed_at.replace(now);
                assert!(last.is_none_or(|at| at + REFRESH_INTERVAL <= now), "renewed too soon after another");
            }
            Kind::ProtoOaSymbolsListReq
            | Kind::ProtoOaSymbolByIdReq
            | Kind::ProtoOaSubscribeSpotsReq
            | Kind::ProtoOaUnsubscribeSpotsReq => assert!(self.account_open, "{kind:?} before 2103"),
            other => panic!("{other:?} is none of ours"),
        }
    }
}

struct Life {
    rng: fastrand::Rng,
    played: Played,
    rules: Rules,
    /// Requests the venue has not answered.
    open: Vec<Request>,
    next_token: u32,
    wanted: Vec<&'static str>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let memory = memory(rng.bool().then_some("refresh"));
        let played = Played::start_with(&memory);
        Self { rng, played, rules: Rules::default(), open: Vec::new(), next_token: 0, wanted: Vec::new() }
    }

    /// One thing after another, on one connection after another.
    fn live(&mut self) {
        for _ in 0..STEPS {
            let result = self.step();
            self.drain();
            if result.is_err() {
                self.reconnect();
            }
        }
    }

    fn reconnect(&mut self) {
        let wait = Duration::from_millis(self.rng.u64(0..60_000));
        let now = Now { elapsed: self.played.now.elapsed + wait, ..self.played.now };
        self.played = Played::start_at(&self.played.memory.clone(), now);
        self.played.want(&self.wanted.clone());
        self.open.clear();
        (self.rules.account_open, self.rules.application_open) = (false, false);
        // A connection has limits of its own.
        self.rules.sent.clear();
        self.drain();
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.played.session.poll() {
            outputs += 1;
            if let SessionOutput::Send(bytes) = output {
                self.played.reader.push(&bytes);
            }
        }
        assert!(outputs < 10_000, "bounded");
        while let Some(body) = self.played.reader.next_frame().unwrap() {
            let message = wire::ProtoMessage::decode(body).unwrap();
            self.rules.sent(self.played.now.elapsed, message.payload_type);
            if let Some(id) = message.client_msg_id {
                self.open.push(Request {
                    kind: Kind::try_from(i32::try_from(message.payload_type).unwrap()).unwrap(),
                    payload: message.payload.unwrap(),
                    id: id.parse().unwrap(),
                });
            }
        }
        assert!(self.played.session.deadline().is_some(), "there is always a next deadline");
    }

    fn step(&mut self) -> Result<(), Ending> {
        match self.rng.u32(0..24) {
            0..=9 => self.answer(),
            10..=12 => self.refuse(),
            13 => {
                let count = self.rng.usize(0..6);
                let names = ["EURUSD", "US100.cash", "DEEP", "NOSUCH", "FIVE"];
                self.wanted = (0..count).map(|_| names[self.rng.usize(..names.len())]).collect();
                self.played.want(&self.wanted.clone());
                Ok(())
            }
            14..=16 => self.spot(),
            17 => self.wait(30),
            18 => self.wait(600_000),
            19 => self.loss(),
            20 => {
                let result = if self.rng.bool() { Ok(()) } else { Err("full".to_owned()) };
                self.played.session.kept(self.played.now, result);
                Ok(())
            }
            21 => {
                let silent = [Symbol::new("EURUSD").unwrap(), Symbol::new("FIVE").unwrap()].into();
                self.played.session.ask_again(self.played.now, &silent);
                Ok(())
            }
            22 => self.changed(),
            _ => self.garbage(),
        }
    }

    fn wait(&mut self, ms: u64) -> Result<(), Ending> {
        let until = self.played.now.elapsed + Duration::from_millis(self.rng.u64(0..=ms));
        for _ in 0..5_000 {
            let Some(at) = self.played.session.deadline().filter(|at| *at <= until) else { break };
            self.played.now.elapsed = at.max(self.played.now.elapsed);
            self.played.session.timeout(self.played.now)?;
            self.drain();
            assert!(self.played.session.deadline() > Some(self.played.now.elapsed), "time stands still");
        }
        self.played.now.unix_us += 1_000 * i64::try_from(ms).unwrap();
        self.played.now.elapsed = until.max(self.played.now.elapsed);
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        let cut = self.rng.usize(0..=bytes.len());
        self.played.receive(&bytes[..cut])?;
        self.played.receive(&bytes[cut..])
    }

    /// Answers one open request as it should be, sometimes leaves it open for a second answer.
    fn answer(&mut self) -> Result<(), Ending> {
        if self.open.is_empty() {
            return Ok(());
        }
        let index = self.rng.usize(..self.open.len());
        let request = self.open[index].clone();
        if self.rng.u32(0..10) > 0 {
            self.open.swap_remove(index);
        }
        let id = Some(request.id);
        let bytes = match request.kind {
            Kind::ProtoOaApplicationAuthReq => {
                self.rules.application_open = true;
                encode(
                    Kind::ProtoOaApplicationAuthRes as u32,
                    &wire::ProtoOaApplicationAuthRes::default(),
                    id,
                )
            }
            Kind::ProtoOaAccountAuthReq => {
                self.rules.account_open = true;
                encode(Kind::ProtoOaAccountAuthRes as u32, &wire::ProtoOaAccountAuthRes::default(), id)
            }
            Kind::ProtoOaGetAccountsByAccessTokenReq => {
                let account = wire::ProtoOaCtidTraderAccount {
                    ctid_trader_account_id: 7,
                    is_live: Some(self.rng.bool()),
                    ..Default::default()
                };
                let list = wire::ProtoOaGetAccountListByAccessTokenRes {
                    ctid_trader_account: vec![account],
                    ..Default::default()
                };
                encode(Kind::ProtoOaGetAccountsByAccessTokenRes as u32, &list, id)
            }
            Kind::ProtoOaRefreshTokenReq => {
                self.next_token += 1;
                let answer = wire::ProtoOaRefreshTokenRes {
                    access_token: format!("access{}", self.next_token),
                    refresh_token: format!("refresh{}", self.next_token),
                    expires_in: self.rng.i64(-10..4_000),
                    ..Default::default()
                };
                encode(Kind::ProtoOaRefreshTokenRes as u32, &answer, id)
            }
            Kind::ProtoOaSymbolsListReq => {
                let mut symbol = Vec::new();
                for (id, name) in [(1, "EURUSD"), (2, "US100.cash"), (3, "DEEP"), (5, "FIVE")] {
                    if self.rng.u32(0..5) > 0 {
                        let id = id + self.rng.i64(0..2) * 10;
                        let symbol_name = Some(name.to_owned());
                        symbol.push(wire::ProtoOaLightSymbol {
                            symbol_id: id,
                            symbol_name,
                            ..Default::default()
                        });
                    }
                }
                let list = wire::ProtoOaSymbolsListRes { symbol, ..Default::default() };
                encode(Kind::ProtoOaSymbolsListRes as u32, &list, id)
            }
            Kind::ProtoOaSymbolByIdReq => {
                let ids = wire::ProtoOaSymbolByIdReq::decode(request.payload).unwrap().symbol_id;
                let ids = ids.into_iter().filter(|_| self.rng.u32(0..8) > 0).collect::<Vec<_>>();
                let digits = self.rng.i32(2..7);
                let describe =
                    |id| wire::ProtoOaSymbol { symbol_id: id, digits, pip_position: 4, ..Default::default() };
                let details = wire::ProtoOaSymbolByIdRes {
                    symbol: ids.into_iter().map(describe).collect(),
                    ..Default::default()
                };
                encode(Kind::ProtoOaSymbolByIdRes as u32, &details, id)
            }
            Kind::ProtoOaSubscribeSpotsReq => {
                encode(Kind::ProtoOaSubscribeSpotsRes as u32, &wire::ProtoOaSubscribeSpotsRes::default(), id)
            }
            _ => encode(
                Kind::ProtoOaUnsubscribeSpotsRes as u32,
                &wire::ProtoOaUnsubscribeSpotsRes::default(),
                id,
            ),
        };
        self.receive(&bytes)
    }

    fn refuse(&mut self) -> Result<(), Ending> {
        const CODES: [&str; 16] = [
            "ALREADY_LOGGED_IN",
            "ALREADY_SUBSCRIBED",
            "REQUEST_FREQUENCY_EXCEEDED",
            "BLOCKED_PAYLOAD_TYPE",
            "SERVER_IS_UNDER_MAINTENANCE",
            "TIMEOUT_ERROR",
            "CANT_ROUTE_REQUEST",
            "ACCOUNT_NOT_AUTHORIZED",
            "CH_CLIENT_NOT_AUTHENTICATED",
            "OA_AUTH_TOKEN_EXPIRED",
            "CH_ACCESS_TOKEN_INVALID",
            "CH_CLIENT_AUTH_FAILURE",
            "SYMBOL_NOT_FOUND",
            "INVALID_REQUEST",
            "CH_CLIENT_ALREADY_AUTHENTICATED",
            "NO_SUCH_CODE",
        ];
        let id = if self.open.is_empty() || self.rng.u32(0..10) == 0 {
            self.rng.bool().then_some(FOREIGN_ID)
        } else {
            let request = self.open.swap_remove(self.rng.usize(..self.open.len()));
            Some(request.id).inspect(|_| {
                // What the venue calls an error can be a success in disguise.
                self.rules.application_open |= request.kind == Kind::ProtoOaApplicationAuthReq;
                self.rules.account_open |= request.kind == Kind::ProtoOaAccountAuthReq;
            })
        };
        let error = wire::ProtoOaErrorRes {
            error_code: CODES[self.rng.usize(..CODES.len())].into(),
            retry_after: self.rng.bool().then(|| self.rng.u64(..)),
            maintenance_end_timestamp: self.rng.bool().then(|| self.rng.i64(..)),
            ..Default::default()
        };
        self.receive(&encode(Kind::ProtoOaErrorRes as u32, &error, id))
    }

    fn spot(&mut self) -> Result<(), Ending> {
        for _ in 0..self.rng.usize(1..20) {
            let event = wire::ProtoOaSpotEvent {
                ctid_trader_account_id: ACCOUNT,
                symbol_id: self.rng.i64(0..16),
                bid: self.rng.bool().then(|| self.rng.u64(0..1 << 40)),
                ask: self.rng.bool().then(|| self.rng.u64(..)),
                timestamp: self.rng.bool().then(|| self.rng.i64(..)),
                ..Default::default()
            };
            self.receive(&encode(Kind::ProtoOaSpotEvent as u32, &event, None))?;
        }
        Ok(())
    }

    fn loss(&mut self) -> Result<(), Ending> {
        match self.rng.u32(0..3) {
            0 => self.played.account_disconnect(),
            1 => self.played.token_invalidated(&[]),
            _ => {
                let event = wire::ProtoOaClientDisconnectEvent::default();
                self.played.push(Kind::ProtoOaClientDisconnectEvent, &event)
            }
        }
    }

    fn changed(&mut self) -> Result<(), Ending> {
        let event = wire::ProtoOaSymbolChangedEvent {
            ctid_trader_account_id: ACCOUNT,
            symbol_id: (0..self.rng.i64(0..16)).collect(),
            ..Default::default()
        };
        self.played.push(Kind::ProtoOaSymbolChangedEvent, &event)
    }

    fn garbage(&mut self) -> Result<(), Ending> {
        if self.rng.u32(0..4) > 0 {
            let bytes =
                encode(self.rng.u32(0..3_000), &wire::ProtoHeartbeatEvent::default(), Some(FOREIGN_ID));
            return self.receive(&bytes);
        }
        let bytes: Vec<u8> = (0..self.rng.usize(0..40)).map(|_| self.rng.u8(..)).collect();
        self.receive(&bytes)
    }
}

/// Longest wait of ours: a symbol refused, or a request blocked for as long as we believe, and then some.
const HEALED_WITHIN: Duration = Duration::from_secs(400);

impl Life {
    /// The venue does everything right from here on; so everything wanted that it has must come to be held.
    fn heal(&mut self) {
        self.wanted = vec!["EURUSD", "US100.cash", "NOSUCH", "FIVE"];
        self.played.want(&self.wanted.clone());
        self.open.clear();
        let mut subscribed = BTreeSet::new();
        let until = self.played.now.elapsed + HEALED_WITHIN;
        // Names may have got other ids, or been lost: the venue says so.
        let changed = wire::ProtoOaSymbolChangedEvent {
            ctid_trader_account_id: ACCOUNT,
            symbol_id: (0..16).collect(),
            ..Default::default()
        };
        if self.played.push(Kind::ProtoOaSymbolChangedEvent, &changed).is_err() {
            self.reconnect();
        }
        // A missed answer may have left anything subscribed; the venue forgets all of it.
        let _ = self.played.account_disconnect();
        self.rules.account_open = true;
        while self.played.now.elapsed < until {
            self.drain();
            for request in std::mem::take(&mut self.open) {
                if self.grant(&request, &mut subscribed).is_err() {
                    self.reconnect();
                    self.rules.account_open = true;
                    self.rules.application_open = true;
                    subscribed.clear();
                    break;
                }
            }
            self.played.session.kept(self.played.now, Ok(()));
            if self.wait(200).is_err() {
                self.reconnect();
                self.rules.account_open = true;
                self.rules.application_open = true;
                subscribed.clear();
            }
            if self.played.held() == ["EURUSD", "FIVE", "US100.cash"] && self.open.is_empty() {
                return;
            }
        }
        panic!("held {:?}; EURUSD {:?}", self.played.held(), self.played.standing("EURUSD"));
    }

    /// Answers a request as the venue does on a good day, with a price for each subscription.
    fn grant(&mut self, request: &Request, subscribed: &mut BTreeSet<i64>) -> Result<(), Ending> {
        let id = Some(request.id);
        let payload = request.payload.clone();
        let bytes = match request.kind {
            Kind::ProtoOaApplicationAuthReq => {
                self.rules.application_open = true;
                encode(
                    Kind::ProtoOaApplicationAuthRes as u32,
                    &wire::ProtoOaApplicationAuthRes::default(),
                    id,
                )
            }
            Kind::ProtoOaSymbolsListReq => {
                let light = |(id, name): (i64, &str)| wire::ProtoOaLightSymbol {
                    symbol_id: id,
                    symbol_name: Some(name.to_owned()),
                    ..Default::default()
                };
                let symbol = [(1, "EURUSD"), (2, "US100.cash"), (5, "FIVE")].map(light).to_vec();
                let list = wire::ProtoOaSymbolsListRes { symbol, ..Default::default() };
                encode(Kind::ProtoOaSymbolsListRes as u32, &list, id)
            }
            Kind::ProtoOaSymbolByIdReq => {
                let ids = wire::ProtoOaSymbolByIdReq::decode(payload).unwrap().symbol_id;
                let describe = |id| wire::ProtoOaSymbol {
                    symbol_id: id,
                    digits: 5,
                    pip_position: 4,
                    ..Default::default()
                };
                let symbol = ids.into_iter().map(describe).collect();
                let details = wire::ProtoOaSymbolByIdRes { symbol, ..Default::default() };
                encode(Kind::ProtoOaSymbolByIdRes as u32, &details, id)
            }
            Kind::ProtoOaSubscribeSpotsReq => {
                let ids = wire::ProtoOaSubscribeSpotsReq::decode(payload).unwrap().symbol_id;
                if ids.iter().any(|id| subscribed.contains(id)) {
                    return self.played.refuse(request, "ALREADY_SUBSCRIBED", "");
                }
                let answer = wire::ProtoOaSubscribeSpotsRes::default();
                self.receive(&encode(Kind::ProtoOaSubscribeSpotsRes as u32, &answer, id))?;
                for id in ids {
                    subscribed.insert(id);
                    self.played.spot(id, Some(1), Some(2));
                }
                return Ok(());
            }
            Kind::ProtoOaUnsubscribeSpotsReq => {
                for id in wire::ProtoOaUnsubscribeSpotsReq::decode(payload).unwrap().symbol_id {
                    subscribed.remove(&id);
                }
                let answer = wire::ProtoOaUnsubscribeSpotsRes::default();
                encode(Kind::ProtoOaUnsubscribeSpotsRes as u32, &answer, id)
            }
            Kind::ProtoOaAccountAuthReq => {
                subscribed.clear();
                encode(Kind::ProtoOaAccountAuthRes as u32, &wire::ProtoOaAccountAuthRes::default(), id)
            }
            _ => {
                self.open.push(request.clone());
                return self.answer();
            }
        };
        self.receive(&bytes)
    }
}

#[test]
fn whatever_happens_the_rules_are_kept_and_a_venue_that_is_well_again_is_used() {
    let seed = std::env::var("SESSION_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let lived = std::panic::catch_unwind(|| {
            let mut life = Life::new(seed);
            life.live();
            life.heal();
        });
        assert!(lived.is_ok(), "SESSION_SEED={seed} shows it");
    }
}
