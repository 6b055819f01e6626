//! Renewing tokens (facts 3.2): ahead of their end, for two codes only, stored before use, adopted however late.

use secrecy::ExposeSecret;
use tickcast_session::Secret;

use super::*;

/// Memory with a pair that ends so many seconds after the start of [`Played`].
fn ending_in(seconds: i64) -> Memory {
    let expires = 1_795_132_800 + seconds;
    let memory = memory(Some("refresh"));
    let text = format!(
        r#"{{"accessToken":"old","refreshToken":"r1","obtainedAt":{},"expiresAt":{expires}}}"#,
        expires - 2_628_000
    );
    assert_eq!(memory.load(&text), Ok(true));
    memory
}

impl Played {
    fn kept_texts(&mut self) -> Vec<Secret> {
        self.outputs()
            .into_iter()
            .filter_map(|output| match output {
                SessionOutput::Keep(secret) => Some(secret),
                _ => None,
            })
            .collect()
    }

    fn refresh_request(&mut self, token: &str) -> Request {
        let request = self.request(Kind::ProtoOaRefreshTokenReq);
        let asked = wire::ProtoOaRefreshTokenReq::decode(request.payload.clone()).unwrap();
        assert_eq!(asked.refresh_token, token);
        request
    }

    fn give_tokens(&mut self, request: &Request, access: &str, refresh: &str) {
        let answer = wire::ProtoOaRefreshTokenRes {
            access_token: access.into(),
            token_type: "bearer".into(),
            expires_in: 2_628_000,
            refresh_token: refresh.into(),
            ..Default::default()
        };
        self.answer(Kind::ProtoOaRefreshTokenRes, &answer, request.id);
    }

    fn kept(&mut self, result: Result<(), String>) {
        self.session.kept(self.now, result);
    }

    /// Takes the account's login; says with which token.
    fn account_with(&mut self) -> String {
        let request = self.request(Kind::ProtoOaAccountAuthReq);
        self.account_answer(&request);
        wire::ProtoOaAccountAuthReq::decode(request.payload).unwrap().access_token
    }
}

/// Row 15: on a fresh connection, before anybody is logged in; stored before it is used.
#[test]
fn tokens_that_end_soon_are_renewed_between_the_two_logins_and_stored_before_use() {
    let memory = ending_in(86_400);
    let mut played = Played::start_with(&memory);
    played.application();
    let request = played.refresh_request("r1");
    assert!(played.is_quiet(), "the account waits");
    played.give_tokens(&request, "new", "r2");
    assert!(played.is_quiet(), "not stored yet");
    let texts = played.kept_texts();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].expose().contains(r#""accessToken": "new""#) && texts[0].expose().contains("r2"));
    played.kept(Ok(()));
    assert_eq!(played.account_with(), "new");
    assert_eq!(memory.lock().tokens.access().expose_secret(), "new");
    assert!(!memory.lock().tokens.unsaved());
    played.list(&[]);
    played.pass(3_600).unwrap();
    assert!(played.is_quiet(), "one renewal is enough");
}

#[test]
fn tokens_that_last_are_left_alone() {
    for seconds in [20 * 86_400, 4 * 86_400] {
        let mut played = Played::start_with(&ending_in(seconds));
        played.application();
        assert_eq!(played.account_with(), "old");
    }
}

/// Facts 3.11: on a living session the two events belong to the session being replaced; one login follows.
#[test]
fn a_renewal_on_a_living_session_logs_in_once_with_the_new_token() {
    // Days are left, so it is not done at the login; the session then lives until an hour before the end.
    for (order, ended) in [([true, false], true), ([false, true], true), ([true, true], false)] {
        let mut played = Played::start_with(&ending_in(4 * 86_400)).log_in();
        played.want(&["EURUSD"]);
        played.describe();
        played.subscribed();
        played.spot(1, Some(1), Some(2));
        played.outputs();
        // It is due an hour before the end.
        played.pass(4 * 86_400 - 3_600 - 10).unwrap();
        assert!(played.is_quiet());
        played.pass(12).unwrap();
        let request = played.refresh_request("r1");
        let events = |played: &mut Played| {
            for token in order {
                if token {
                    played.token_invalidated(&[ACCOUNT]).unwrap();
                } else {
                    played.account_disconnect().unwrap();
                }
            }
        };
        if ended {
            events(&mut played);
        }
        played.give_tokens(&request, "new", "r2");
        assert_eq!(played.kept_texts().len(), 1);
        played.kept(Ok(()));
        if !ended {
            assert!(played.is_quiet(), "the events may still come");
            assert_eq!(played.spot(1, Some(3), Some(4)).len(), 1, "and the old session streams on");
        }
        played.pass(1).unwrap();
        assert_eq!(played.account_with(), "new");
        if ended {
            assert_eq!(played.subscribed(), [1]);
        } else {
            // Its word on the old token comes after the new login: it ends nothing.
            played.token_invalidated(&[ACCOUNT]).unwrap();
        }
        let logins = played.logins();
        assert_eq!(logins.last(), Some(&(AuthState::Ok, None)), "{logins:?}");
        while let Some(request) = played.next_request() {
            assert_ne!(request.kind, Kind::ProtoOaAccountAuthReq, "one login");
        }
    }
}

/// A session that outlived the renewal keeps everything it holds.
#[test]
fn a_session_that_outlives_the_renewal_keeps_what_it_holds() {
    let mut played = Played::start_with(&ending_in(4 * 86_400)).log_in();
    played.want(&["EURUSD"]);
    played.describe();
    played.subscribed();
    played.spot(1, Some(1), Some(2));
    played.outputs();
    played.pass(4 * 86_400 - 3_590).unwrap();
    let request = played.refresh_request("r1");
    played.give_tokens(&request, "new", "r2");
    played.kept(Ok(()));
    played.pass(1).unwrap();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    played.refuse(&request, "ALREADY_LOGGED_IN", "").unwrap();
    assert!(played.logins().is_empty(), "nobody notices");
    assert_eq!(played.held(), ["EURUSD"]);
    assert_eq!(played.spot(1, Some(3), None).len(), 1);
    assert!(played.is_quiet());
}

/// Row 15: the old refresh token is dead by then, so the answer counts however late it is.
#[test]
fn a_late_answer_is_still_adopted() {
    let memory = ending_in(86_400);
    let mut played = Played::start_with(&memory);
    played.application();
    let request = played.refresh_request("r1");
    played.pass(4).unwrap();
    // The old token may still work; nobody waits for longer.
    assert_eq!(played.account_with(), "old");
    played.list(&[]);
    played.pass(3_600).unwrap();
    played.give_tokens(&request, "new", "r2");
    assert_eq!(played.kept_texts().len(), 1);
    played.kept(Ok(()));
    played.pass(1).unwrap();
    assert_eq!(memory.lock().tokens.access().expose_secret(), "new");
    let last = std::iter::from_fn(|| played.next_request()).last().unwrap();
    let login = wire::ProtoOaAccountAuthReq::decode(last.payload).unwrap();
    assert_eq!(login.access_token, "new");
}

/// Row 15: an end of ours waits some seconds for new tokens that are under way.
#[test]
fn the_connection_stays_open_for_tokens_under_way() {
    for comes in [true, false] {
        let memory = ending_in(86_400);
        let mut played = Played::start_with(&memory);
        played.application();
        let refresh = played.refresh_request("r1");
        played.pass(4).unwrap();
        let request = played.request(Kind::ProtoOaAccountAuthReq);
        // It is dead already, for the renewal worked; its answer is on the way.
        played.refuse(&request, "CH_ACCESS_TOKEN_INVALID", "").unwrap();
        played.pass(2).unwrap();
        assert!(played.is_quiet());
        if comes {
            played.give_tokens(&refresh, "new", "r2");
            played.kept(Ok(()));
            assert_eq!(played.account_with(), "new");
        } else {
            let ending = played.pass(10).unwrap_err();
            assert_eq!((ending.cause.kind, ending.retry), (CauseKind::TokenExpired, Retry::Slowly));
        }
    }
}

#[test]
fn an_answer_that_comes_twice_or_with_a_foreign_id_is_adopted_once() {
    let memory = ending_in(86_400);
    let mut played = Played::start_with(&memory);
    played.application();
    let request = played.refresh_request("r1");
    let foreign = Request { id: 4_711, ..request.clone() };
    played.give_tokens(&foreign, "new", "r2");
    played.kept(Ok(()));
    played.give_tokens(&request, "new", "r2");
    assert_eq!(played.kept_texts().len(), 1);
    assert_eq!(played.account_with(), "new");
}

/// Row 15: what the file could not take is held in memory, used, and stored as soon as it can be.
#[test]
fn tokens_that_could_not_be_stored_are_used_and_stored_later() {
    let memory = ending_in(86_400);
    let mut played = Played::start_with(&memory);
    played.application();
    let request = played.refresh_request("r1");
    played.give_tokens(&request, "new", "r2");
    assert_eq!(played.kept_texts().len(), 1);
    played.kept(Err("disk full".into()));
    assert_eq!(played.account_with(), "new");
    let odd = played
        .outputs()
        .into_iter()
        .any(|output| output == SessionOutput::Note(Note::Odd("tokens_not_stored")));
    assert!(odd, "it is counted");
    assert!(memory.lock().tokens.unsaved());
    played.list(&[]);
    played.pass(60).unwrap();
    assert_eq!(played.kept_texts().len(), 1, "tried again");
    // The next connection takes it up, before anything else is done with them.
    let mut played = Played::start_with(&memory);
    played.application();
    assert!(played.is_quiet());
    assert_eq!(played.kept_texts().len(), 1);
    played.kept(Ok(()));
    assert_eq!(played.account_with(), "new");
    assert!(!memory.lock().tokens.unsaved());
}

#[test]
fn a_store_that_does_not_answer_holds_the_login_up_for_seconds_only() {
    let mut played = Played::start_with(&ending_in(86_400));
    played.application();
    let request = played.refresh_request("r1");
    played.give_tokens(&request, "new", "r2");
    played.pass(4).unwrap();
    assert!(played.is_quiet());
    played.pass(1).unwrap();
    assert_eq!(played.account_with(), "new");
}

/// Rows 15 and 16: for the two codes, once for a token, and never soon after.
#[test]
fn a_refused_token_is_renewed_once_and_then_a_person_is_needed() {
    for code in ["OA_AUTH_TOKEN_EXPIRED", "CH_ACCESS_TOKEN_INVALID"] {
        let memory = memory(Some("r1"));
        let mut played = Played::start_with(&memory);
        played.application();
        let request = played.request(Kind::ProtoOaAccountAuthReq);
        played.refuse(&request, code, "").unwrap();
        let refresh = played.refresh_request("r1");
        played.give_tokens(&refresh, "new", "r2");
        played.kept(Ok(()));
        let request = played.request(Kind::ProtoOaAccountAuthReq);
        let ending = played.refuse(&request, code, "").unwrap_err();
        assert_eq!((ending.cause.kind, ending.retry), (CauseKind::TokenExpired, Retry::Slowly));
        // Nor on later connections, while this token was never accepted.
        let later = Now { elapsed: played.now.elapsed + Duration::from_secs(9_999), ..played.now };
        let mut played = Played::start_at(&memory, later);
        played.application();
        let request = played.request(Kind::ProtoOaAccountAuthReq);
        let ending = played.refuse(&request, code, "").unwrap_err();
        assert!(ending.cause.detail.contains("CTRADER_REFRESH_TOKEN"), "{ending:?}");
    }
}

#[test]
fn without_a_refresh_token_a_refused_token_says_what_to_do() {
    let mut played = Played::start();
    played.application();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    let ending = played.refuse(&request, "OA_AUTH_TOKEN_EXPIRED", "").unwrap_err();
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::TokenExpired, Retry::Slowly));
    assert!(ending.cause.detail.contains("there is no refresh token"), "{ending:?}");
}

#[test]
fn a_refused_renewal_leaves_a_token_in_use_that_still_works() {
    let memory = ending_in(86_400);
    let mut played = Played::start_with(&memory);
    played.application();
    let request = played.refresh_request("r1");
    played.refuse(&request, "CH_ACCESS_TOKEN_INVALID", "used").unwrap();
    assert_eq!(played.account_with(), "old");
    played.list(&[]);
    played.pass(7_200).unwrap();
    assert!(played.is_quiet(), "a refresh token that was refused is not tried again");
}

/// Row 16: it would be a loop, for "the token was renewed" is one of its causes.
#[test]
fn an_invalidated_token_is_never_an_occasion_to_renew() {
    let memory = memory(Some("r1"));
    let mut played = Played::start_with(&memory).log_in();
    for second in 0..600 {
        if second % 30 == 0 {
            played.token_invalidated(&[]).unwrap();
        }
        played.pass(1).unwrap();
        while let Some(request) = played.next_request() {
            assert_ne!(request.kind, Kind::ProtoOaRefreshTokenReq);
            if request.kind == Kind::ProtoOaAccountAuthReq {
                played.account_answer(&request);
            }
        }
    }
}

/// Row 27: `expiresIn` is seconds, the file's times are Unix seconds, ours is monotonic: a step of the wall clock moves none.
#[test]
fn a_step_of_the_wall_clock_moves_no_renewal() {
    let mut played = Played::start_with(&ending_in(4 * 86_400)).log_in();
    played.now.unix_us += 10 * 86_400 * 1_000_000;
    played.want(&["EURUSD"]);
    while let Some(request) = played.next_request() {
        assert_ne!(request.kind, Kind::ProtoOaRefreshTokenReq);
    }
}

#[test]
fn no_secret_is_in_any_words() {
    let memory = memory(Some("hidden-refresh"));
    let mut played = Played::start_with(&memory);
    played.application();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    played.refuse(&request, "OA_AUTH_TOKEN_EXPIRED", "").unwrap();
    let refresh = played.refresh_request("hidden-refresh");
    played.give_tokens(&refresh, "hidden-access", "hidden-next");
    let told = format!(
        "{:?}",
        played.outputs().iter().filter(|o| !matches!(o, SessionOutput::Send(_))).collect::<Vec<_>>()
    );
    assert!(told.contains("Keep(Secret)") && !told.contains("hidden"), "{told}");
}
