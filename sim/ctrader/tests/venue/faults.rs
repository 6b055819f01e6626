//! What goes wrong on demand, and bytes nobody should send.

use crate::bench::{ACCOUNT, Bench, application_auth, framed, subscribe_spots};
use proptest::prelude::*;
use prost::Message as _;
use sim_ctrader::wire::{
    ProtoHeartbeatEvent, ProtoOaAccountAuthReq, ProtoOaAccountAuthRes, ProtoOaApplicationAuthRes,
    ProtoOaRefreshTokenReq, ProtoOaRefreshTokenRes, ProtoOaSpotEvent, ProtoOaSubscribeSpotsRes,
    ProtoOaVersionReq, ProtoOaVersionRes,
};
use sim_ctrader::{
    Ending, FAULTS, Fault, FaultSpec, FrameDecoder, Lasting, Reason, SimulatedVenue as _, VenueSettings,
};

fn switch(bench: &mut Bench, fault: Fault, on: bool) {
    bench.venue.fault(bench.now(), fault, on);
    bench.pump();
}

#[test]
fn a_cut_resets_every_connection_and_spares_the_next() {
    let mut bench = Bench::usual();
    let (one, two) = (bench.log_in(), bench.open());
    bench.subscribe(one, &[1]);
    switch(&mut bench, Fault::Cut, true);
    assert_eq!(bench.closed(one), Some((Ending::Reset, Reason::Fault)));
    assert_eq!(bench.closed(two), Some((Ending::Reset, Reason::Fault)));
    bench.advance(5_000);
    let again = bench.log_in();
    assert_eq!(bench.subscribe(again, &[1]).len(), 1);
}

#[test]
fn a_cut_inside_a_frame_leaves_half_of_one() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    bench.advance(500);
    switch(&mut bench, Fault::CutInsideFrame, true);
    assert_eq!(bench.closed(id), Some((Ending::Abrupt, Reason::Fault)));
    let mut decoder = FrameDecoder::new(1 << 20);
    let mut rest = bench.bytes(id);
    while let Some(prefix) = rest.first_chunk::<4>() {
        let end = 4 + u32::from_be_bytes(*prefix) as usize;
        if end > rest.len() {
            break;
        }
        decoder.push(&rest[..end]);
        assert!(decoder.next_envelope().unwrap().is_some());
        rest = &rest[end..];
    }
    assert!(rest.len() > 4, "more than a length, less than its frame");
}

#[test]
fn a_stalled_venue_neither_reads_nor_writes_and_goes_on_where_it_was() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    switch(&mut bench, Fault::Stall, true);
    let before = bench.bytes(id).len();
    bench.ask(id, &ProtoOaVersionReq { payload_type: None });
    let late = bench.open();
    bench.ask(late, &application_auth());
    bench.advance(120_000);
    assert_eq!(bench.bytes(id).len(), before);
    assert!(bench.bytes(late).is_empty());
    assert_eq!((bench.closed(id), bench.closed(late)), (None, None));
    switch(&mut bench, Fault::Stall, false);
    bench.answer::<ProtoOaVersionRes>(id);
    assert!(!bench.bytes(late).is_empty());
    bench.advance(1_000);
    let events = bench.spots(id);
    assert!(events[0].bid.is_some() && events[0].ask.is_some(), "what was missed is made up for");
    let quote = bench.venue.quote(1).unwrap();
    let sent = bench.venue.sent(id, 1).unwrap();
    assert_eq!((sent.bid, sent.ask), (quote.bid, quote.ask));
}

#[test]
fn a_muted_venue_answers_and_beats_and_tells_no_quotes() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    switch(&mut bench, Fault::Mute, true);
    bench.ask(id, &subscribe_spots(&[3]));
    bench.answer::<ProtoOaSubscribeSpotsRes>(id);
    for _ in 0..6 {
        bench.advance(5_000);
        bench.ask(id, &ProtoHeartbeatEvent { payload_type: None });
    }
    assert_eq!(bench.next(id).unwrap().payload_type, 51);
    assert_eq!(bench.next(id), None);
    assert!(bench.venue.counters().withheld > 100);
    switch(&mut bench, Fault::Mute, false);
    let owed = bench.answer::<ProtoOaSpotEvent>(id);
    assert_eq!((owed.symbol_id, owed.session_close.is_some()), (3, true));
    bench.advance(1_000);
    let events = bench.spots(id);
    let first = events.iter().find(|event| event.symbol_id == 1).unwrap();
    assert!(first.bid.is_some() && first.ask.is_some());
    assert_eq!(first.session_close, None);
}

#[test]
fn good_credentials_are_refused_while_asked_for() {
    let mut bench = Bench::usual();
    let inside = bench.log_in();
    switch(&mut bench, Fault::RejectCredentials, true);
    let id = bench.open();
    bench.ask(id, &application_auth());
    assert_eq!(bench.refusal(id).0, "CH_CLIENT_AUTH_FAILURE");
    assert_eq!(bench.closed(id), Some((Ending::Orderly, Reason::Credentials)));
    assert_eq!(bench.subscribe(inside, &[1]).len(), 1);
    switch(&mut bench, Fault::RejectCredentials, false);
    bench.log_in();
}

#[test]
fn faults_that_last_are_seen_to_be_on_and_the_others_are_not() {
    let mut bench = Bench::usual();
    for row in FAULTS {
        switch(&mut bench, row.fault, true);
        assert_eq!(bench.venue.faults().has(row.fault), row.lasting == Lasting::UntilSwitchedOff);
        switch(&mut bench, row.fault, false);
        assert!(!bench.venue.faults().has(row.fault));
    }
}

#[test]
fn a_bad_length_or_envelope_ends_the_connection() {
    for (bytes, code) in [
        (vec![0, 0, 0, 0], None),
        (vec![0xff, 0xff, 0xff, 0xff], Some("FRAME_TOO_LONG")),
        (vec![0, 0x10, 0, 1], Some("FRAME_TOO_LONG")),
        (vec![0, 0, 0, 2, 0xff, 0xff], None),
        (vec![0, 0, 0, 2, 0x12, 0x00], None),
    ] {
        let mut bench = Bench::usual();
        let id = bench.log_in();
        bench.write(id, &bytes);
        assert_eq!(bench.closed(id), Some((Ending::Orderly, Reason::BadFrame)), "{bytes:?}");
        if let Some(code) = code {
            assert_eq!(bench.common_refusal(id), code);
        }
        assert_eq!(bench.next(id), None);
        bench.write(id, &framed(&application_auth(), None));
        bench.advance(60_000);
    }
}

#[test]
fn a_seed_gives_the_same_bytes_twice() {
    let told = |seed: u64| {
        let mut bench = Bench::new(VenueSettings { seed, symbols: 30, ..VenueSettings::default() });
        let id = bench.log_in();
        bench.subscribe(id, &[1, 3, 5, 41]);
        bench.advance(10_000);
        bench.bytes(id).to_vec()
    };
    assert_eq!(told(4), told(4));
    assert_ne!(told(4), told(5));
}

#[derive(Clone, Debug)]
enum Move {
    Bytes(Vec<u8>),
    Frame(u32, Vec<u8>),
    Valid(u8),
    Time(u64),
    Fault(u64, bool),
    Leave,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Move::Bytes),
        (2_095u32..2_195, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, body)| Move::Frame(kind, body)),
        any::<u8>().prop_map(Move::Valid),
        (0u64..20_000).prop_map(Move::Time),
        (any::<u64>(), any::<bool>()).prop_map(|(seed, on)| Move::Fault(seed, on)),
        Just(Move::Leave),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a client sends and whatever goes wrong: no panic, whole frames out, no second end, and time goes on.
    #[test]
    fn nothing_a_client_sends_brings_the_venue_down(moves in moves()) {
        let mut bench = Bench::new(VenueSettings { symbols: 5, ..VenueSettings::default() });
        let mut id = bench.open();
        for step in moves {
            if bench.venue.connections().all(|open| open != id) {
                id = bench.open();
            }
            match step {
                Move::Bytes(bytes) => bench.write(id, &bytes),
                Move::Frame(payload_type, body) => {
                    let envelope = sim_ctrader::wire::ProtoMessage {
                        payload_type,
                        payload: Some(body.into()),
                        client_msg_id: None,
                    };
                    let body = envelope.encode_to_vec();
                    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
                    bytes.extend(body);
                    bench.write(id, &bytes);
                }
                Move::Valid(0..128) => {
                    bench.ask(id, &application_auth());
                    bench.ask(id, &crate::bench::account_auth());
                }
                Move::Valid(key) => bench.ask(id, &subscribe_spots(&[i64::from(key % 12)])),
                Move::Time(ms) => bench.advance(ms),
                Move::Fault(seed, on) => {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let spec = FaultSpec::draw(&mut rng, bench.venue.catalogue());
                    bench.venue.fault(bench.now(), spec, on);
                    bench.pump();
                }
                Move::Leave => bench.venue.closed(id, Reason::Peer),
            }
        }
        bench.venue.heal(bench.now());
        bench.pump();
        // A token that has expired is good again after a refresh only.
        let id = bench.open();
        let refresh_token = bench.venue.refresh_token().to_owned();
        bench.ask(id, &application_auth());
        bench.answer::<ProtoOaApplicationAuthRes>(id);
        bench.ask(id, &ProtoOaRefreshTokenReq { payload_type: None, refresh_token });
        let access_token = bench.answer::<ProtoOaRefreshTokenRes>(id).access_token;
        bench.ask(id, &ProtoOaAccountAuthReq { access_token, ..crate::bench::account_auth() });
        bench.answer::<ProtoOaAccountAuthRes>(id);
        let fresh = id;
        prop_assert!(bench.venue.is_logged_in(fresh));
        prop_assert_eq!(bench.venue.settings().account_id, ACCOUNT);
        prop_assert!(bench.venue.deadline().is_some());
    }
}
