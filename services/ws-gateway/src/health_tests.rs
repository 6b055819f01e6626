use super::*;

struct Rig {
    tracker: VenueTracker,
    now: Now,
}

impl Rig {
    fn new() -> Self {
        let now = Now { at: Instant::now(), unix_ms: 1_000_000 };
        let mut tracker = VenueTracker::new(VenueId::new("ctrader").unwrap(), now);
        tracker.catalogue(true);
        Self { tracker, now }
    }

    fn up() -> Self {
        let mut rig = Self::new();
        rig.tracker.bus(true, rig.now);
        rig.hear(|_| {});
        assert_eq!(rig.announced(), "connected");
        rig
    }

    fn pass(&mut self, ms: u64) {
        self.now.at += Duration::from_millis(ms);
        self.now.unix_ms += i64::try_from(ms).unwrap();
    }

    fn hear(&mut self, change: impl FnOnce(&mut VenueHealth)) -> bool {
        let mut health = VenueHealth {
            venue: VenueId::new("ctrader").unwrap(),
            epoch: 5,
            link: LinkState::Up,
            auth: AuthState::Ok,
            data: DataState::Live,
            link_since_ms: 10,
            auth_since_ms: 20,
            data_since_ms: 30,
            cause: None,
            attempt: 0,
            retry_in_ms: None,
            last_tick_age_ms: Some(100),
            catalogue_version: 1,
            at_ms: self.now.unix_ms,
        };
        change(&mut health);
        self.tracker.hear(health, self.now)
    }

    fn announced(&mut self) -> String {
        self.tracker.announce(self.now).map_or_else(|| "-".into(), |view| view.status)
    }

    fn view(&self) -> StatusView {
        self.tracker.view(self.now)
    }
}

#[test]
fn a_gateway_that_has_just_started_says_so_and_then_that_nobody_speaks() {
    let mut rig = Rig::new();
    assert_eq!(rig.announced(), "ws-open");
    rig.tracker.bus(true, rig.now);
    rig.pass(2_900);
    assert_eq!(rig.announced(), "-");
    rig.pass(200);
    assert_eq!(rig.announced(), "disconnected");
    assert_eq!(rig.view().health.cause_code, Some("ingest_gone"));
    assert!(!rig.tracker.is_ready(rig.now));
}

#[test]
fn the_three_axes_make_the_word() {
    type Change = fn(&mut VenueHealth);
    let cases: [(&str, Change); 8] = [
        ("disconnected", |h| {
            (h.link, h.auth) = (LinkState::Down, AuthState::None);
            h.cause = Some(Cause::new(CauseKind::Stopping, ""));
        }),
        ("ctrader-connecting", |h| (h.link, h.auth) = (LinkState::Down, AuthState::None)),
        ("ctrader-connecting", |h| (h.link, h.auth) = (LinkState::Up, AuthState::Pending)),
        ("reconnecting", |h| (h.link, h.auth, h.attempt) = (LinkState::Connecting, AuthState::None, 2)),
        ("reconnecting", |h| (h.auth, h.attempt) = (AuthState::Pending, 1)),
        ("error", |h| (h.link, h.auth, h.attempt) = (LinkState::Down, AuthState::Refused, 3)),
        ("stale", |h| h.data = DataState::Stale),
        ("connected", |h| h.data = DataState::Idle),
    ];
    for (word, change) in cases {
        let mut rig = Rig::up();
        rig.hear(change);
        assert_eq!(rig.view().status, word);
        assert_eq!(rig.tracker.is_ready(rig.now), ["stale", "connected"].contains(&word), "{word}");
    }
}

#[test]
fn a_reconnect_has_its_attempt_and_a_delay_that_counts_down() {
    let mut rig = Rig::up();
    rig.hear(|h| {
        (h.link, h.auth, h.attempt, h.retry_in_ms) = (LinkState::Down, AuthState::None, 3, Some(1_500));
        h.cause = Some(Cause::new(CauseKind::PeerClosed, ""));
    });
    rig.pass(400);
    let view = rig.view();
    assert_eq!((view.attempt, view.delay), (Some(3), Some(1_100)));
    assert_eq!(view.health.retry_in_ms, Some(1_100));
    assert_eq!(view.health.last_tick_age_ms, Some(500));
    assert_eq!(view.health.cause.as_deref(), Some("the venue closed the connection"));
    assert_eq!(view.message, "reconnecting to ctrader: attempt 3 in 1.1 s (the venue closed the connection)");
}

#[test]
fn a_weekend_is_connected_with_its_cause_and_the_week_begins_without_a_resume() {
    let mut rig = Rig::up();
    rig.hear(|h| {
        h.data = DataState::Idle;
        h.cause = Some(Cause::new(CauseKind::MarketClosed, "until 2026-11-22T22:00:00Z"));
    });
    assert_eq!(rig.announced(), "connected");
    let view = rig.view();
    assert_eq!(view.message, "ctrader is connected (the market is closed: until 2026-11-22T22:00:00Z)");
    assert_eq!((view.health.data, view.health.cause_code), ("idle", Some("market_closed")));
    assert!(rig.tracker.is_ready(rig.now), "symbols can be subscribed, and will tick");
    // While only the bus is away too.
    rig.tracker.bus(false, rig.now);
    assert_eq!(rig.view().health.data, "idle");
    rig.tracker.bus(true, rig.now);
    rig.hear(|h| (h.data, h.cause) = (DataState::Live, None));
    assert_eq!(rig.announced(), "connected");
    assert_eq!(rig.view().message, "ctrader is connected");
}

#[test]
fn ages_alone_are_not_announced() {
    let mut rig = Rig::up();
    for age in [200, 300, 400] {
        rig.pass(1_000);
        assert!(!rig.hear(|h| h.last_tick_age_ms = Some(age)));
        assert_eq!(rig.announced(), "-");
    }
    rig.hear(|h| h.attempt = 1);
    assert_eq!(rig.announced(), "connected");
    rig.tracker.announce_again();
    assert_eq!(rig.announced(), "connected");
}

#[test]
fn a_new_connection_whose_prices_move_late_is_connected_and_not_resumed() {
    let mut rig = Rig::up();
    rig.hear(|h| h.data = DataState::Stale);
    assert_eq!(rig.announced(), "stale");
    rig.hear(|h| (h.link, h.data, h.attempt) = (LinkState::Down, DataState::Stale, 1));
    assert_eq!(rig.announced(), "reconnecting");
    rig.hear(|h| (h.data, h.attempt) = (DataState::Stale, 1));
    assert_eq!(rig.announced(), "stale");
    rig.hear(|h| h.attempt = 1);
    assert_eq!(rig.announced(), "connected");
}

#[test]
fn prices_that_move_again_are_announced_once() {
    let mut rig = Rig::up();
    rig.hear(|h| h.data = DataState::Stale);
    assert_eq!(rig.announced(), "stale");
    rig.hear(|_| {});
    assert_eq!(rig.announced(), "tick_resumed");
    assert_eq!(rig.view().status, "connected");
    assert_eq!(rig.announced(), "-");
}

#[test]
fn a_missing_beat_means_the_ingest_is_gone_until_it_speaks_again() {
    let mut rig = Rig::up();
    rig.pass(2_999);
    assert_eq!(rig.announced(), "-");
    rig.pass(1);
    assert_eq!(rig.announced(), "disconnected");
    let view = rig.view();
    assert_eq!((view.health.link, view.health.data), ("down", "stale"));
    assert_eq!(view.health.cause_code, Some("ingest_gone"));
    assert!(rig.hear(|h| h.epoch = 6), "another incarnation is news");
    assert_eq!(rig.announced(), "connected");
}

#[test]
fn without_the_bus_every_venue_is_disconnected_and_comes_back_with_its_beat() {
    let mut rig = Rig::up();
    rig.tracker.bus(false, rig.now);
    assert_eq!(rig.announced(), "disconnected");
    let view = rig.view();
    assert_eq!(view.health.cause_code, Some("bus_down"));
    assert_eq!((view.health.link, view.health.data), ("up", "stale"), "the venue's link is not the bus");
    rig.pass(60_000);
    rig.tracker.bus(true, rig.now);
    assert_eq!(rig.announced(), "-", "the first beat is on its way");
    assert!(rig.hear(|_| {}), "the first word after the bus came back is news");
    assert_eq!(rig.announced(), "connected");
}

#[test]
fn an_ingest_that_went_with_the_bus_is_noticed() {
    let mut rig = Rig::up();
    rig.tracker.bus(false, rig.now);
    rig.pass(10_000);
    rig.tracker.bus(true, rig.now);
    rig.pass(3_000);
    assert_eq!(rig.view().health.cause_code, Some("ingest_gone"));
}

#[test]
fn a_venue_is_not_connected_before_its_instruments_are_known() {
    let mut rig = Rig::new();
    rig.tracker.catalogue(false);
    rig.tracker.bus(true, rig.now);
    rig.hear(|_| {});
    assert_eq!(rig.announced(), "ctrader-connecting");
    assert_eq!(rig.tracker.edition(rig.now), Some((5, 1)));
    rig.tracker.catalogue(true);
    assert_eq!(rig.announced(), "connected");
}

#[test]
fn an_older_incarnation_is_not_believed_while_a_newer_one_lives() {
    let mut rig = Rig::up();
    rig.hear(|h| (h.epoch, h.data) = (4, DataState::Stale));
    assert_eq!(rig.view().status, "connected");
    rig.pass(5_000);
    rig.hear(|h| (h.epoch, h.data) = (4, DataState::Stale));
    assert_eq!(rig.view().status, "stale");
}
