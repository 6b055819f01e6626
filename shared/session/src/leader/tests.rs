use super::*;

const TTL: Duration = Duration::from_secs(3);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn new(holder: &str, at: Duration) -> Leadership {
    Leadership::new(LeadershipSettings { holder: holder.to_owned(), ttl: TTL }, at)
}

fn claim(holder: &str, epoch: u64) -> Claim {
    Claim { holder: holder.to_owned(), write: 1, epoch, ttl: TTL }
}

fn op_of(action: &LeadershipAction) -> u64 {
    match action {
        LeadershipAction::Read { op }
        | LeadershipAction::Write { op, .. }
        | LeadershipAction::Delete { op, .. }
        | LeadershipAction::SkipAhead { op, .. } => *op,
        other => panic!("{other:?} is no operation"),
    }
}

/// Answers the read that is due.
fn see(leadership: &mut Leadership, at: Duration, entry: LeaseEntry) {
    let action = leadership.poll().unwrap();
    assert!(matches!(action, LeadershipAction::Read { .. }), "{action:?}");
    leadership.answer(at, op_of(&action), LeaseAnswer::Seen(entry));
}

/// One that leads from revision 8 on; its acquisition began at 1 s.
fn leading() -> Leadership {
    let mut leadership = new("a", ms(1000));
    see(&mut leadership, ms(1000), LeaseEntry::Released { revision: 7 });
    let write = leadership.poll().unwrap();
    assert!(matches!(&write, LeadershipAction::Write { expected: 7, claim, .. } if claim.epoch == 0));
    leadership.answer(ms(1100), op_of(&write), LeaseAnswer::Done { revision: 8 });
    assert_eq!(leadership.poll(), Some(LeadershipAction::Lead { epoch: 8 }));
    leadership
}

#[test]
fn a_lease_given_back_is_taken_at_once_and_its_revision_is_the_epoch() {
    let leadership = leading();
    assert_eq!(leadership.epoch(), Some(8));
    assert_eq!(leadership.holder(), Some(("a", 8)));
    assert_eq!(leadership.lead_until(), Some(ms(1000) + TTL * 3 / 4), "from the start of the write");
}

#[test]
fn a_lease_whose_revision_stands_still_is_taken_after_the_ttl_and_not_before() {
    let mut leadership = new("b", ms(0));
    see(&mut leadership, ms(40), LeaseEntry::Held { revision: 8, claim: claim("a", 8) });
    let mut at = ms(40);
    while at < ms(3039) {
        at += ms(1);
        leadership.timeout(at);
        while let Some(action) = leadership.poll() {
            assert!(matches!(action, LeadershipAction::Read { .. }), "{action:?} after {at:?}");
            let entry = LeaseEntry::Held { revision: 8, claim: claim("a", 8) };
            leadership.answer(at, op_of(&action), LeaseAnswer::Seen(entry));
        }
    }
    assert_eq!(leadership.deadline(), Some(ms(3040)));
    leadership.timeout(ms(3040));
    assert!(matches!(leadership.poll(), Some(LeadershipAction::Write { expected: 8, .. })));
}

#[test]
fn a_lease_that_is_absent_may_have_been_wiped_under_its_holder() {
    let mut leadership = new("b", ms(0));
    see(&mut leadership, ms(10), LeaseEntry::Absent);
    let Some(LeadershipAction::Write { op, expected: 0, claim: nobody }) = leadership.poll() else {
        panic!("no mark")
    };
    assert_eq!((nobody.holder.as_str(), nobody.epoch), ("", 0));
    leadership.answer(ms(20), op, LeaseAnswer::Done { revision: 1 });
    let marked = LeaseEntry::Held { revision: 1, claim: nobody.clone() };
    see(&mut leadership, ms(30), marked);
    assert_eq!(leadership.holder(), None);
    assert_eq!(leadership.poll(), None);
    // Wiped once more, and marked by another one: whoever held it in between is waited for too.
    leadership.timeout(ms(530));
    see(&mut leadership, ms(530), LeaseEntry::Held { revision: 9, claim: nobody });
    assert_eq!(leadership.free_at(), Some(ms(530) + TTL));
}

#[test]
fn a_holder_who_waits_longer_is_waited_for() {
    let mut leadership = new("b", ms(0));
    let slow = Claim { ttl: ms(10_000), ..claim("a", 8) };
    see(&mut leadership, ms(0), LeaseEntry::Held { revision: 8, claim: slow });
    assert_eq!(leadership.free_at(), Some(ms(10_000)));
}

#[test]
fn a_renewal_that_is_not_confirmed_in_time_ends_the_term() {
    let mut leadership = leading();
    leadership.timeout(ms(1750));
    let renewal = leadership.poll().unwrap();
    assert!(matches!(&renewal, LeadershipAction::Write { expected: 8, claim, .. } if claim.epoch == 8));
    let mut at = ms(1750);
    while at < ms(3249) {
        at += ms(1);
        leadership.timeout(at);
        while let Some(action) = leadership.poll() {
            assert!(matches!(action, LeadershipAction::Read { .. }), "{action:?} at {at:?}");
        }
    }
    leadership.timeout(ms(3250));
    assert_eq!(leadership.poll(), Some(LeadershipAction::StepDown(StepDown::Expired)));
    // The answer that comes now proves nothing any more.
    leadership.answer(ms(3251), op_of(&renewal), LeaseAnswer::Done { revision: 9 });
    assert_eq!(leadership.epoch(), None);
}

#[test]
fn a_renewal_whose_answer_was_lost_is_recognised_by_its_number() {
    let mut leadership = leading();
    leadership.timeout(ms(1750));
    let Some(LeadershipAction::Write { claim: renewal, .. }) = leadership.poll() else {
        panic!("no renewal")
    };
    leadership.timeout(ms(2250));
    leadership.timeout(ms(2450));
    see(&mut leadership, ms(2460), LeaseEntry::Held { revision: 9, claim: renewal });
    assert_eq!(
        leadership.lead_until(),
        Some(ms(1750) + TTL * 3 / 4),
        "from the start of the write that is proved"
    );
    leadership.timeout(ms(2500));
    assert!(matches!(leadership.poll(), Some(LeadershipAction::Write { expected: 9, .. })));
}

#[test]
fn a_lost_answer_to_a_takeover_is_recognised_while_it_is_worth_something() {
    for (seen_at, leads) in [(ms(2200), true), (ms(2300), false)] {
        let mut leadership = new("a", ms(0));
        see(&mut leadership, ms(0), LeaseEntry::Released { revision: 7 });
        let Some(LeadershipAction::Write { claim, .. }) = leadership.poll() else { panic!("no write") };
        leadership.timeout(ms(500));
        leadership.timeout(ms(700));
        see(&mut leadership, seen_at, LeaseEntry::Held { revision: 8, claim });
        match leadership.poll() {
            Some(LeadershipAction::Lead { epoch: 8 }) if leads => {}
            // Too late: the term would be over. It is ours to take anew, with an epoch of its own.
            Some(LeadershipAction::Write { expected: 8, claim, .. }) if !leads => assert_eq!(claim.epoch, 0),
            other => panic!("{other:?} when seen at {seen_at:?}"),
        }
    }
}

#[test]
fn a_leader_that_finds_another_one_or_nothing_steps_down_at_once() {
    let other = LeaseEntry::Held { revision: 9, claim: claim("b", 0) };
    for (entry, why) in [
        (other, StepDown::Superseded),
        (LeaseEntry::Released { revision: 9 }, StepDown::Superseded),
        (LeaseEntry::Absent, StepDown::Vanished),
    ] {
        let mut leadership = leading();
        leadership.timeout(ms(1750));
        let renewal = op_of(&leadership.poll().unwrap());
        leadership.answer(ms(1800), renewal, LeaseAnswer::Conflict);
        see(&mut leadership, ms(1810), entry);
        assert_eq!(leadership.poll(), Some(LeadershipAction::StepDown(why)));
    }
}

#[test]
fn a_process_that_slept_past_its_term_ends_it_before_anything_else() {
    let mut leadership = leading();
    leadership.timeout(ms(60_000));
    assert_eq!(leadership.poll(), Some(LeadershipAction::StepDown(StepDown::Expired)));
    assert!(matches!(leadership.poll(), Some(LeadershipAction::Read { .. })));
}

#[test]
fn a_term_the_shell_has_ended_is_followed_by_one_of_another_epoch() {
    let mut leadership = leading();
    leadership.abandon(ms(1150), 7);
    assert_eq!(leadership.epoch(), Some(8), "that was an earlier one");
    leadership.abandon(ms(1200), 8);
    assert_eq!(leadership.poll(), Some(LeadershipAction::StepDown(StepDown::Expired)));
    see(&mut leadership, ms(1210), LeaseEntry::Held { revision: 8, claim: claim("a", 8) });
    let write = leadership.poll().unwrap();
    assert!(matches!(&write, LeadershipAction::Write { expected: 8, claim, .. } if claim.epoch == 0));
    leadership.answer(ms(1220), op_of(&write), LeaseAnswer::Done { revision: 9 });
    assert_eq!(leadership.poll(), Some(LeadershipAction::Lead { epoch: 9 }));
}

#[test]
fn a_lease_is_given_back_as_it_is_and_what_is_unknown_is_read_first() {
    let mut leadership = leading();
    leadership.leave(ms(1200));
    let delete = leadership.poll().unwrap();
    assert!(matches!(delete, LeadershipAction::Delete { expected: 8, .. }), "{delete:?}");
    assert!(!leadership.has_left());
    leadership.answer(ms(1210), op_of(&delete), LeaseAnswer::Done { revision: 9 });
    assert!(leadership.has_left());
    assert_eq!(leadership.deadline(), None);

    let mut leadership = leading();
    leadership.timeout(ms(1750));
    let Some(LeadershipAction::Write { op, claim: renewal, .. }) = leadership.poll() else { panic!() };
    leadership.leave(ms(1760));
    leadership.answer(ms(1770), op, LeaseAnswer::Failed);
    leadership.timeout(ms(2000));
    see(&mut leadership, ms(2000), LeaseEntry::Held { revision: 9, claim: renewal });
    assert!(matches!(leadership.poll(), Some(LeadershipAction::Delete { expected: 9, .. })));
}

#[test]
fn a_follower_leaves_without_touching_what_is_not_its_own() {
    let mut leadership = new("b", ms(0));
    see(&mut leadership, ms(0), LeaseEntry::Held { revision: 8, claim: claim("a", 8) });
    leadership.leave(ms(10));
    assert!(leadership.has_left());
    assert_eq!(leadership.poll(), None);
}

#[test]
fn a_store_put_back_to_an_earlier_state_is_taken_beyond_what_was_used() {
    let mut leadership = new("b", ms(0));
    see(&mut leadership, ms(0), LeaseEntry::Held { revision: 900, claim: claim("a", 850) });
    leadership.timeout(ms(500));
    see(&mut leadership, ms(500), LeaseEntry::Released { revision: 20 });
    let write = op_of(&leadership.poll().unwrap());
    leadership.answer(ms(510), write, LeaseAnswer::Done { revision: 21 });
    let skip = leadership.poll().unwrap();
    assert!(matches!(skip, LeadershipAction::SkipAhead { beyond: 900, .. }), "{skip:?}");
    leadership.answer(ms(520), op_of(&skip), LeaseAnswer::Done { revision: 0 });
    see(&mut leadership, ms(530), LeaseEntry::Absent);
    let Some(LeadershipAction::Write { op, claim: nobody, .. }) = leadership.poll() else {
        panic!("no mark")
    };
    leadership.answer(ms(540), op, LeaseAnswer::Done { revision: 901 });
    see(&mut leadership, ms(550), LeaseEntry::Held { revision: 901, claim: nobody });
    leadership.timeout(ms(3550));
    let write = op_of(&leadership.poll().unwrap());
    leadership.answer(ms(3560), write, LeaseAnswer::Done { revision: 902 });
    assert_eq!(leadership.poll(), Some(LeadershipAction::Lead { epoch: 902 }));
}

#[test]
fn hints_make_a_follower_look_but_not_without_measure() {
    let mut leadership = new("b", ms(0));
    let entry = LeaseEntry::Held { revision: 8, claim: claim("a", 8) };
    see(&mut leadership, ms(0), entry.clone());
    let mut looks = 0;
    for at in 1..=1000 {
        leadership.hint(ms(at));
        leadership.timeout(ms(at));
        while let Some(action) = leadership.poll() {
            looks += 1;
            leadership.answer(ms(at), op_of(&action), LeaseAnswer::Seen(entry.clone()));
        }
    }
    assert!((20..=34).contains(&looks), "{looks} looks in a second");
}

#[path = "simulation.rs"]
mod simulation;
