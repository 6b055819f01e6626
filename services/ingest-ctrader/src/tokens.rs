use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tickcast_session::{Now, Secret};

/// Least time before expiry at which tokens are renewed (facts 3.2).
const AHEAD_MIN_S: i64 = 15 * 60;
/// Most time before expiry at which tokens are renewed while an account is logged in: it costs that login.
const AHEAD_MAX_S: i64 = 3_600;
/// The same while no account is logged in, when nobody notices.
const AHEAD_FREE_MAX_S: i64 = 3 * 86_400;
/// Lifetime assumed where the file says only when tokens end, in seconds (facts 3.2).
const LIFETIME_S: i64 = 2_628_000;
/// Longest lifetime believed.
const LIFETIME_MAX_S: i64 = 10 * 365 * 86_400;
/// Two attempts to renew are never closer (facts 3.2: not sooner than 5 minutes).
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// An access token and what renews it.
#[derive(Clone)]
pub struct TokenPair {
    /// Opens the account.
    pub access: SecretString,
    /// Renews the pair, once.
    pub refresh: Option<SecretString>,
    /// When the venue gave it, Unix seconds, where that is known.
    pub obtained_unix_s: Option<i64>,
    /// When the access token ends, Unix seconds, where that is known.
    pub expires_unix_s: Option<i64>,
}

impl TokenPair {
    /// A pair of which nothing more is known, as a person enters it.
    pub fn new(access: SecretString, refresh: Option<SecretString>) -> Self {
        Self { access, refresh, obtained_unix_s: None, expires_unix_s: None }
    }
}

/// A pair as the venue gives it.
pub(crate) struct NewPair {
    pub(crate) access: SecretString,
    pub(crate) refresh: SecretString,
    pub(crate) expires_in_s: i64,
}

/// Why a token file is of no use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It is not the JSON this program writes.
    #[error("is not a token file: a JSON object with accessToken and refreshToken")]
    Unreadable,
    /// A token in it is empty.
    #[error("holds an empty token")]
    Empty,
}

/// What the token file says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenFile {
    access_token: String,
    refresh_token: Option<String>,
    /// Unix seconds.
    obtained_at: Option<i64>,
    /// Unix seconds.
    expires_at: Option<i64>,
    /// Which configured tokens these descend from.
    origin: Option<String>,
}

/// The newest tokens known, from one connection to the next: when to renew them, and whether the file has them.
///
/// The pair of the file wins over the configured one as long as it descends from it: a refresh token works once
/// (facts 3.2), so the configured pair is dead once it was renewed. Where a person configured other tokens since, the
/// file is of the past and the configured pair wins.
pub(crate) struct Tokens {
    pair: TokenPair,
    /// Which configured tokens they descend from.
    origin: String,
    /// The file does not have them yet.
    unsaved: bool,
    /// When a renewal was last asked for.
    attempted_at: Option<Duration>,
    /// The venue refused this refresh token: it is used up.
    spent: bool,
    /// They came of a renewal and no login was tried with success since.
    unproved: bool,
}

impl Tokens {
    /// The configured pair; `owner` says whose it is (application and account).
    pub(crate) fn new(pair: TokenPair, owner: &str) -> Self {
        let origin = origin(&pair, owner);
        Self { pair, origin, unsaved: false, attempted_at: None, spent: false, unproved: false }
    }

    /// Takes the file's pair where it is newer than what is known; true where it did.
    pub(crate) fn load(&mut self, text: &str) -> Result<bool, TokenFileError> {
        let file: TokenFile = serde_json::from_str(text).map_err(|_| TokenFileError::Unreadable)?;
        if file.access_token.is_empty() || file.refresh_token.as_deref() == Some("") {
            return Err(TokenFileError::Empty);
        }
        let ours = file.origin.as_ref().is_none_or(|origin| *origin == self.origin);
        let newer = match (file.obtained_at, self.pair.obtained_unix_s) {
            (Some(file), Some(known)) => file > known,
            (_, None) => file.access_token != self.pair.access.expose_secret(),
            (None, Some(_)) => false,
        };
        if !ours || !newer {
            return Ok(false);
        }
        self.pair = TokenPair {
            access: file.access_token.into(),
            refresh: file.refresh_token.map(SecretString::from),
            obtained_unix_s: file.obtained_at,
            expires_unix_s: file.expires_at,
        };
        (self.unsaved, self.spent, self.unproved) = (false, false, false);
        Ok(true)
    }

    /// What the file shall say.
    pub(crate) fn file_text(&self) -> Secret {
        let file = TokenFile {
            access_token: self.pair.access.expose_secret().to_owned(),
            refresh_token: self.pair.refresh.as_ref().map(|token| token.expose_secret().to_owned()),
            obtained_at: self.pair.obtained_unix_s,
            expires_at: self.pair.expires_unix_s,
            origin: Some(self.origin.clone()),
        };
        // Text and numbers always have a JSON form.
        Secret::new(serde_json::to_string_pretty(&file).unwrap_or_default() + "\n")
    }

    pub(crate) fn access(&self) -> &SecretString {
        &self.pair.access
    }

    pub(crate) fn refresh(&self) -> Option<&SecretString> {
        self.pair.refresh.as_ref().filter(|_| !self.spent)
    }

    /// When to renew them ahead of their end, as [`Now::elapsed`]: earlier where no account is logged in (`free`).
    /// `None` where they cannot be renewed, or their end is not known.
    pub(crate) fn refresh_due(&self, now: Now, free: bool) -> Option<Duration> {
        self.refresh()?;
        let expires = self.pair.expires_unix_s?;
        let lifetime =
            self.pair.obtained_unix_s.map_or(LIFETIME_S, |obtained| expires.saturating_sub(obtained));
        let most = if free { AHEAD_FREE_MAX_S } else { AHEAD_MAX_S };
        let ahead = (lifetime / 10).clamp(AHEAD_MIN_S, most);
        let wait = expires.saturating_sub(ahead).saturating_sub(now.unix_ms() / 1000).max(0);
        let due = now.elapsed + Duration::from_secs(wait.unsigned_abs().min(LIFETIME_MAX_S.unsigned_abs()));
        Some(self.attempted_at.map_or(due, |at| due.max(at + REFRESH_INTERVAL)))
    }

    /// Whether they may be renewed because the venue refused the access token: once for a token, and not soon after
    /// another attempt.
    pub(crate) fn may_refresh(&self, now: Now) -> bool {
        let rested = self.attempted_at.is_none_or(|at| at + REFRESH_INTERVAL <= now.elapsed);
        self.refresh().is_some() && rested && !self.unproved
    }

    /// A renewal is being asked for.
    pub(crate) fn attempted(&mut self, now: Now) {
        self.attempted_at = Some(now.elapsed);
    }

    /// The venue gave a new pair; the old one is dead from here on.
    pub(crate) fn adopt(&mut self, now: Now, new: NewPair) {
        let obtained = now.unix_ms() / 1000;
        let lifetime = Some(new.expires_in_s).filter(|seconds| (1..=LIFETIME_MAX_S).contains(seconds));
        self.pair = TokenPair {
            access: new.access,
            refresh: Some(new.refresh),
            obtained_unix_s: Some(obtained),
            expires_unix_s: lifetime.map(|seconds| obtained.saturating_add(seconds)),
        };
        (self.unsaved, self.spent, self.unproved) = (true, false, true);
    }

    /// The venue refused the refresh token; it is not tried again.
    pub(crate) fn refresh_refused(&mut self) {
        self.spent = true;
    }

    /// A login with the access token worked.
    pub(crate) fn proved(&mut self) {
        self.unproved = false;
    }

    pub(crate) fn unsaved(&self) -> bool {
        self.unsaved
    }

    pub(crate) fn saved(&mut self) {
        self.unsaved = false;
    }
}

/// A short mark of configured tokens, to see whether a person changed them (FNV-1a, 64 bits). It stands beside the tokens
/// themselves, so it gives nothing away.
fn origin(pair: &TokenPair, owner: &str) -> String {
    let refresh = pair.refresh.as_ref().map_or("", |token| token.expose_secret());
    let parts = [owner, pair.access.expose_secret(), refresh];
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX_S: i64 = 1_795_132_800;

    fn now(elapsed_s: u64) -> Now {
        let unix_us = (UNIX_S + i64::try_from(elapsed_s).unwrap()) * 1_000_000;
        Now { elapsed: Duration::from_secs(elapsed_s), unix_us }
    }

    fn configured(access: &str) -> Tokens {
        Tokens::new(TokenPair::new(access.to_owned().into(), Some("refresh".to_owned().into())), "app 7")
    }

    fn renewed(expires_in_s: i64) -> Tokens {
        let mut tokens = configured("first");
        tokens.attempted(now(10));
        let new =
            NewPair { access: "second".to_owned().into(), refresh: "next".to_owned().into(), expires_in_s };
        tokens.adopt(now(11), new);
        tokens
    }

    /// Row 15: what was renewed is found again, and a person's newer tokens are not overruled by it.
    #[test]
    fn the_files_pair_wins_until_other_tokens_are_configured() {
        let text = renewed(2_628_000).file_text();
        let mut restarted = configured("first");
        assert_eq!(restarted.load(text.expose()), Ok(true));
        assert_eq!(restarted.access().expose_secret(), "second");
        assert_eq!(restarted.refresh().unwrap().expose_secret(), "next");
        assert_eq!(restarted.pair.expires_unix_s, Some(UNIX_S + 11 + 2_628_000));
        assert_eq!(restarted.load(text.expose()), Ok(false), "it has them already");

        let mut consented_again = configured("entered by hand");
        assert_eq!(consented_again.load(text.expose()), Ok(false));
        assert_eq!(consented_again.access().expose_secret(), "entered by hand");
    }

    #[test]
    fn a_file_written_by_hand_is_taken_and_garbage_is_named() {
        let mut tokens = configured("first");
        assert_eq!(tokens.load(r#"{"accessToken":"hand","refreshToken":"r"}"#), Ok(true));
        assert_eq!(tokens.access().expose_secret(), "hand");
        assert_eq!(tokens.load("{"), Err(TokenFileError::Unreadable));
        assert_eq!(tokens.load(r#"{"accessToken":""}"#), Err(TokenFileError::Empty));
        assert_eq!(renewed(9).load(r#"{"accessToken":"old"}"#), Ok(false), "memory is newer");
    }

    #[test]
    fn tokens_are_renewed_an_hour_ahead_and_days_ahead_where_nobody_is_logged_in() {
        let tokens = renewed(2_628_000);
        assert_eq!(tokens.refresh_due(now(11), false), Some(Duration::from_secs(11 + 2_628_000 - 3_600)));
        assert_eq!(tokens.refresh_due(now(11), true), Some(Duration::from_secs(11 + 2_628_000 - 259_200)));
        assert_eq!(configured("first").refresh_due(now(11), true), None, "its end is not known");
        assert_eq!(renewed(-5).refresh_due(now(11), true), None, "a lifetime that cannot be");
    }

    /// Rows 15 and 16: attempts keep their distance whatever the venue says of lifetimes.
    #[test]
    fn attempts_are_never_closer_than_five_minutes() {
        let mut tokens = renewed(60);
        assert_eq!(tokens.refresh_due(now(11), false), Some(Duration::from_secs(310)));
        tokens.proved();
        assert!(!tokens.may_refresh(now(309)));
        assert!(tokens.may_refresh(now(310)));
    }

    #[test]
    fn a_token_is_renewed_once_and_a_refused_refresh_token_never_again() {
        let mut tokens = renewed(2_628_000);
        assert!(
            !tokens.may_refresh(now(9_999)),
            "the new one was never accepted: renewing it would be a loop"
        );
        tokens.proved();
        assert!(tokens.may_refresh(now(9_999)));
        tokens.refresh_refused();
        assert!(!tokens.may_refresh(now(99_999)));
        assert_eq!(tokens.refresh_due(now(99_999), true), None);
    }
}
