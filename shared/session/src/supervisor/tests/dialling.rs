//! How often the venue is dialled, and what is said first once it is there.

use super::*;

#[test]
fn a_venue_is_dialled_no_more_often_than_it_allows_whatever_ends_the_connection_and_whoever_leads() {
    let dials = DialPace::per_minute(5);
    let mut dialled = Vec::new();
    let mut elapsed = s(100);
    for _ in 0..3 {
        // Another term of the same process.
        let settings = SupervisorSettings { dials: dials.clone(), ..settings(10) };
        let mut bench = Bench::since(elapsed, Duration::ZERO, settings);
        let until = elapsed + s(100);
        while bench.elapsed < until {
            let actions = bench.pass(s(1));
            if actions.contains(&Action::Dial) {
                dialled.push(bench.elapsed);
                match dialled.len() % 3 {
                    0 => bench.supervisor.dial_failed(bench.now(), Cause::new(CauseKind::Refused, "")),
                    1 => bench.supervisor.reconnect(bench.now()),
                    _ => {
                        bench.supervisor.dialled(bench.now());
                        bench.receive(b"e");
                    }
                }
                let health = bench.health();
                assert!(health.link != LinkState::Down || health.retry_in_ms.is_some(), "{health:?}");
            }
        }
        elapsed = bench.elapsed;
    }
    for start in &dialled {
        let within = dialled.iter().filter(|at| *at >= start && **at < *start + s(60)).count();
        assert!(within <= 5, "{within} within a minute");
    }
    assert!(dialled.len() >= 15, "and none is wasted: {dialled:?}");
}

#[test]
fn prices_that_come_with_the_proof_of_the_login_follow_the_word_that_the_venue_is_ready() {
    let mut bench = Bench::new();
    bench.want(&["EURUSD"]);
    bench.connect();
    let actions = bench.receive(b"ot");
    let ready = actions.iter().position(|action| {
        matches!(action, Action::Health(health) if (health.link, health.auth) == (LinkState::Up, AuthState::Ok))
    });
    let tick = actions
        .iter()
        .position(|action| matches!(action, Action::Event(ChannelEvent { body: Body::Tick(_), .. })));
    assert!(ready.is_some() && ready < tick, "{actions:?}");
}
