use super::*;

/// Logged in, with room for two symbols, of which one holder wants three.
fn crowded() -> (Bench, Vec<Action>) {
    let demand = DemandLimits { symbols_max: 2, ..settings(10).demand };
    let mut bench = Bench::since(s(100), Duration::ZERO, SupervisorSettings { demand, ..settings(10) });
    let mut actions = bench.want(&["AUDUSD", "EURUSD", "GBPUSD"]);
    bench.connect();
    actions.extend(bench.receive(b"o"));
    (bench, actions)
}

fn said(actions: &[Action], name: &str) -> Vec<(SymbolState, Option<String>)> {
    let state = |action: &Action| match action {
        Action::Event(ChannelEvent { symbol, body: Body::State(state), .. }) if symbol.as_str() == name => {
            Some((state.state, state.code.clone()))
        }
        _ => None,
    };
    actions.iter().filter_map(state).collect()
}

fn demand_hop(bench: &Bench, name: &str) -> String {
    let hops = bench.supervisor.explain(bench.now(), &symbol(name));
    hops.into_iter().find(|hop| hop.name == "demand").unwrap().detail
}

#[test]
fn a_symbol_there_is_no_room_for_is_refused_by_name_and_a_person_is_told_once() {
    let (mut bench, actions) = crowded();
    let code = Some("TOO_MANY_SYMBOLS".to_owned());
    assert_eq!(said(&actions, "GBPUSD"), [(SymbolState::Refused, code)]);
    let notes = actions.iter().filter(|action| matches!(action, Action::Demand(_))).count();
    assert_eq!(notes, 1);
    assert!(demand_hop(&bench, "GBPUSD").starts_with("wanted, and left out: no more than 2 symbols at once"));
    assert!(demand_hop(&bench, "EURUSD").starts_with("wanted; "));
    assert!(demand_hop(&bench, "USDJPY").starts_with("nobody wants it"));
    // The same set once more is a renewal.
    let renewal = bench.want(&["AUDUSD", "EURUSD", "GBPUSD"]);
    assert_eq!(said(&renewal, "GBPUSD"), []);
    assert_eq!((bench.supervisor.take_refused(), bench.supervisor.take_refused()), (1, 0));
}

#[test]
fn a_symbol_that_was_left_out_is_served_when_others_are_given_up() {
    let (mut bench, _) = crowded();
    let actions = bench.want(&["EURUSD", "GBPUSD"]);
    assert_eq!(said(&actions, "GBPUSD"), [(SymbolState::Pending, None)]);
    assert!(bench.supervisor.wanted().contains("GBPUSD"));
    assert!(actions.contains(&Action::Demand(DemandNote::RoomAgain)));
    assert!(demand_hop(&bench, "GBPUSD").starts_with("wanted; "));
}

#[test]
fn a_lease_of_everything_is_told_of_some_symbols_only() {
    let (mut bench, _) = crowded();
    let names: Vec<String> = (0..3_000).map(|index| format!("S{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let refused = states(&bench.want(&names)).into_iter().filter(|state| *state == SymbolState::Refused);
    assert_eq!(refused.count(), REFUSALS_TOLD_MAX);
    assert_eq!(bench.supervisor.wanted().len(), 2);
}
