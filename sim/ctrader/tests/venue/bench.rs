//! A venue with clients, in one thread and with a clock that only the test moves.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use prost::Message as _;
use sim_ctrader::wire::{
    ProtoErrorRes, ProtoMessage, ProtoOaAccountAuthReq, ProtoOaAccountAuthRes, ProtoOaApplicationAuthReq,
    ProtoOaApplicationAuthRes, ProtoOaErrorRes, ProtoOaSpotEvent, ProtoOaSubscribeSpotsReq,
    ProtoOaSubscribeSpotsRes,
};
use sim_ctrader::{
    ConnectionId, Ending, Fault, FaultSpec, FrameDecoder, FrameError, Now, Output, Payload, Reason,
    SimulatedVenue as _, Venue, VenueSettings, put_frame,
};

pub(crate) const ACCOUNT: i64 = 1_000_001;
pub(crate) const START_MS: i64 = 1_789_757_000_000;

pub(crate) struct Bench {
    pub(crate) venue: Venue,
    pub(crate) now_ms: u64,
    /// Unix milliseconds at time 0.
    pub(crate) start_ms: i64,
    peers: BTreeMap<ConnectionId, Peer>,
}

struct Peer {
    decoder: FrameDecoder,
    envelopes: VecDeque<ProtoMessage>,
    bytes: Vec<u8>,
    /// Length of each write.
    writes: Vec<usize>,
    /// Why the bytes make no sense any more.
    broken: Option<FrameError>,
    closed: Option<(Ending, Reason)>,
}

impl Bench {
    pub(crate) fn new(settings: VenueSettings) -> Self {
        Self { venue: Venue::new(settings), now_ms: 0, start_ms: START_MS, peers: BTreeMap::new() }
    }

    pub(crate) fn usual() -> Self {
        Self::new(VenueSettings { symbols: 30, ..VenueSettings::default() })
    }

    /// A venue that does not cut silent clients off.
    pub(crate) fn patient() -> Self {
        let inactivity_cutoff = Duration::from_secs(86_400);
        Self::new(VenueSettings { symbols: 30, inactivity_cutoff, ..VenueSettings::default() })
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            elapsed: Duration::from_millis(self.now_ms),
            unix_ms: self.start_ms + i64::try_from(self.now_ms).unwrap(),
        }
    }

    pub(crate) fn open(&mut self) -> ConnectionId {
        let id = self.venue.open(self.now());
        let peer = Peer {
            decoder: FrameDecoder::new(1 << 20),
            envelopes: VecDeque::new(),
            bytes: Vec::new(),
            writes: Vec::new(),
            broken: None,
            closed: None,
        };
        self.peers.insert(id, peer);
        id
    }

    /// A connection with the application let in and the account logged in.
    pub(crate) fn log_in(&mut self) -> ConnectionId {
        let id = self.open();
        self.ask(id, &application_auth());
        self.answer::<ProtoOaApplicationAuthRes>(id);
        self.ask(id, &account_auth());
        self.answer::<ProtoOaAccountAuthRes>(id);
        id
    }

    /// Subscribes and returns the snapshots.
    pub(crate) fn subscribe(&mut self, id: ConnectionId, symbols: &[i64]) -> Vec<ProtoOaSpotEvent> {
        self.ask(id, &subscribe_spots(symbols));
        self.answer::<ProtoOaSubscribeSpotsRes>(id);
        symbols.iter().map(|_| self.answer(id)).collect()
    }

    /// Subscribes one symbol while others may tick, and returns its snapshot.
    pub(crate) fn subscribe_quietly(&mut self, id: ConnectionId, symbol: i64) -> ProtoOaSpotEvent {
        while self.next(id).is_some() {}
        self.ask(id, &subscribe_spots(&[symbol]));
        self.answer::<ProtoOaSubscribeSpotsRes>(id);
        self.answer(id)
    }

    pub(crate) fn ask<P: Payload>(&mut self, id: ConnectionId, request: &P) {
        self.ask_with_id(id, request, Some("m"));
    }

    pub(crate) fn ask_with_id<P: Payload>(
        &mut self,
        id: ConnectionId,
        request: &P,
        client_msg_id: Option<&str>,
    ) {
        self.write(id, &framed(request, client_msg_id));
    }

    pub(crate) fn write(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.venue.receive(id, self.now(), bytes);
        self.pump();
    }

    /// Lets time pass, with every deadline kept on the way.
    pub(crate) fn advance(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some(due) = self.venue.deadline() {
            let due_ms = u64::try_from(due.as_micros().div_ceil(1_000)).unwrap();
            if due_ms > end_ms {
                break;
            }
            self.now_ms = self.now_ms.max(due_ms);
            self.venue.timeout(self.now());
            self.pump();
        }
        self.now_ms = end_ms;
    }

    /// Takes everything the venue has to send.
    pub(crate) fn pump(&mut self) {
        while let Some(output) = self.venue.poll() {
            match output {
                Output::Send { id, message: bytes } => {
                    let peer = self.peers.get_mut(&id).unwrap();
                    assert!(peer.closed.is_none(), "bytes after the end");
                    peer.bytes.extend_from_slice(&bytes);
                    peer.writes.push(bytes.len());
                    peer.decoder.push(&bytes);
                    while peer.broken.is_none() {
                        match peer.decoder.next_envelope() {
                            Ok(Some(envelope)) => {
                                assert!(envelope.payload.is_some(), "the payload field is always written");
                                peer.envelopes.push_back(envelope);
                            }
                            Ok(None) => break,
                            Err(error) => peer.broken = Some(error),
                        }
                    }
                }
                Output::Close { id, ending, reason } => {
                    let peer = self.peers.get_mut(&id).unwrap();
                    assert_eq!(peer.closed.replace((ending, reason)), None, "closed twice");
                }
            }
        }
    }

    pub(crate) fn next(&mut self, id: ConnectionId) -> Option<ProtoMessage> {
        self.peers.get_mut(&id).unwrap().envelopes.pop_front()
    }

    /// The next message, which must be of this type.
    pub(crate) fn answer<P: Payload + Default>(&mut self, id: ConnectionId) -> P {
        let envelope = self.next(id).expect("an answer");
        assert_eq!(envelope.payload_type, P::TYPE, "{envelope:?}");
        P::decode(envelope.payload.unwrap()).unwrap()
    }

    /// The code and the description of the next message, which must be an Open API error.
    pub(crate) fn refusal(&mut self, id: ConnectionId) -> (String, String) {
        let error = self.answer::<ProtoOaErrorRes>(id);
        (error.error_code, error.description.unwrap_or_default())
    }

    /// The code of the next message, which must be an error of the common layer.
    pub(crate) fn common_refusal(&mut self, id: ConnectionId) -> String {
        self.answer::<ProtoErrorRes>(id).error_code
    }

    /// All spot events that came, and nothing else may have come.
    pub(crate) fn spots(&mut self, id: ConnectionId) -> Vec<ProtoOaSpotEvent> {
        let mut events = Vec::new();
        while let Some(envelope) = self.next(id) {
            assert_eq!(envelope.payload_type, ProtoOaSpotEvent::TYPE, "{envelope:?}");
            events.push(ProtoOaSpotEvent::decode(envelope.payload.unwrap()).unwrap());
        }
        events
    }

    /// Every byte the connection was sent.
    pub(crate) fn bytes(&self, id: ConnectionId) -> &[u8] {
        &self.peers[&id].bytes
    }

    /// The length of each write to the connection.
    pub(crate) fn writes(&self, id: ConnectionId) -> &[usize] {
        &self.peers[&id].writes
    }

    /// Why the connection's bytes make no sense any more.
    pub(crate) fn broken(&self, id: ConnectionId) -> Option<FrameError> {
        self.peers[&id].broken
    }

    /// Switches a fault on with these parameters, or lets it happen.
    pub(crate) fn fault(&mut self, name: &str, params: &serde_json::Value) {
        let spec = FaultSpec::named(name, params).unwrap();
        self.venue.check(&spec).unwrap();
        self.venue.fault(self.now(), spec, true);
        self.pump();
    }

    /// Switches a fault off.
    pub(crate) fn heal(&mut self, fault: Fault) {
        self.venue.fault(self.now(), fault, false);
        self.pump();
    }

    /// Nothing more has come.
    pub(crate) fn assert_silent(&mut self, id: ConnectionId) {
        assert_eq!(self.next(id), None);
    }

    pub(crate) fn closed(&self, id: ConnectionId) -> Option<(Ending, Reason)> {
        self.peers[&id].closed
    }
}

pub(crate) fn framed<P: Payload>(message: &P, client_msg_id: Option<&str>) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_frame(&mut out, message, client_msg_id);
    out.to_vec()
}

pub(crate) fn application_auth() -> ProtoOaApplicationAuthReq {
    ProtoOaApplicationAuthReq {
        payload_type: None,
        client_id: "sim-app".into(),
        client_secret: "sim-secret".into(),
    }
}

pub(crate) fn account_auth() -> ProtoOaAccountAuthReq {
    ProtoOaAccountAuthReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        access_token: "sim-token".into(),
    }
}

pub(crate) fn subscribe_spots(symbols: &[i64]) -> ProtoOaSubscribeSpotsReq {
    ProtoOaSubscribeSpotsReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        symbol_id: symbols.to_vec(),
        subscribe_to_spot_timestamp: Some(true),
    }
}
