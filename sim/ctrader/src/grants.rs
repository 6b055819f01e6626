//! Accounts, and the pairs of tokens that open them (facts 3.2).

use std::time::Duration;

use sim_kit::Now;

use crate::settings::{Account, Grant, VenueSettings};
use crate::wire::ProtoOaErrorCode;

/// What somebody granted the application once: its tokens change, the accounts it opens do not. Grants are
/// independent of each other.
pub(crate) struct Grants {
    accounts: Vec<Account>,
    held: Vec<Held>,
    lifetime: Duration,
    expired_code: ProtoOaErrorCode,
}

struct Held {
    first: Grant,
    access: String,
    refresh: String,
    refreshes: u32,
    /// In time elapsed.
    expires_at: Duration,
    /// Set once the access token has expired: what a login with it is answered with.
    expired: Option<ProtoOaErrorCode>,
}

/// A new pair of tokens.
pub(crate) struct Pair {
    pub(crate) grant: usize,
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in_s: i64,
}

impl Grants {
    pub(crate) fn new(settings: &VenueSettings) -> Self {
        let held = |first: Grant| Held {
            access: first.access_token.clone(),
            refresh: first.refresh_token.clone(),
            first,
            refreshes: 0,
            expires_at: settings.token_lifetime,
            expired: None,
        };
        Self {
            accounts: settings.accounts(),
            held: settings.grants().into_iter().map(held).collect(),
            lifetime: settings.token_lifetime,
            expired_code: settings.expired_answer.code(),
        }
    }

    /// The grant an access token belongs to.
    ///
    /// # Errors
    /// The code with which the venue refuses it.
    pub(crate) fn find(&self, access_token: &str) -> Result<usize, ProtoOaErrorCode> {
        let at = self.held.iter().position(|held| held.access == access_token);
        let at = at.ok_or(ProtoOaErrorCode::ChAccessTokenInvalid)?;
        self.held[at].expired.map_or(Ok(at), Err)
    }

    /// The accounts a grant opens.
    pub(crate) fn accounts(&self, grant: usize) -> impl Iterator<Item = Account> {
        let held = self.held.get(grant);
        let opened =
            move |account: &&Account| held.is_some_and(|held| held.first.accounts.contains(&account.id));
        self.accounts.iter().filter(opened).copied()
    }

    /// Trades a refresh token for a new pair; both tokens of the old one are void from then on.
    ///
    /// # Errors
    /// The code with which the venue refuses it: unknown, or used before.
    pub(crate) fn refresh(&mut self, now: Now, refresh_token: &str) -> Result<Pair, ProtoOaErrorCode> {
        let at = self.held.iter().position(|held| held.refresh == refresh_token);
        let grant = at.ok_or(ProtoOaErrorCode::ChAccessTokenInvalid)?;
        let held = &mut self.held[grant];
        held.refreshes += 1;
        held.access = format!("{}-{}", held.first.access_token, held.refreshes);
        held.refresh = format!("{}-{}", held.first.refresh_token, held.refreshes);
        held.expires_at = now.elapsed + self.lifetime;
        held.expired = None;
        Ok(Pair {
            grant,
            access: held.access.clone(),
            refresh: held.refresh.clone(),
            expires_in_s: i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX),
        })
    }

    /// The refresh token of the first grant that is good now.
    pub(crate) fn refresh_token(&self) -> &str {
        self.held.first().map_or("", |held| &held.refresh)
    }

    /// Every access token has expired; a login with it is answered with this code.
    pub(crate) fn expire_all(&mut self, code: ProtoOaErrorCode) {
        for held in &mut self.held {
            held.expired = Some(code);
        }
    }

    /// Lets the next access token expire whose time is over; its grant.
    pub(crate) fn expire(&mut self, now: Now) -> Option<usize> {
        let over = |held: &Held| held.expired.is_none() && held.expires_at <= now.elapsed;
        let grant = self.held.iter().position(over)?;
        self.held[grant].expired = Some(self.expired_code);
        Some(grant)
    }

    /// When the next access token expires.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.held.iter().filter(|held| held.expired.is_none()).map(|held| held.expires_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(s: u64) -> Now {
        Now { elapsed: Duration::from_secs(s), unix_ms: 0 }
    }

    fn grants() -> Grants {
        let second =
            Grant { access_token: "two".into(), refresh_token: "two-r".into(), accounts: vec![1_000_002] };
        Grants::new(&VenueSettings {
            more_accounts: vec![Account { id: 1_000_002, is_live: true }],
            more_grants: vec![second],
            token_lifetime: Duration::from_secs(100),
            ..VenueSettings::default()
        })
    }

    #[test]
    fn a_refresh_voids_its_own_pair_and_no_other() {
        let mut grants = grants();
        let pair = grants.refresh(now(10), "sim-refresh").ok().unwrap();
        assert_eq!((pair.grant, pair.expires_in_s), (0, 100));
        assert_eq!(grants.find("sim-token"), Err(ProtoOaErrorCode::ChAccessTokenInvalid));
        assert_eq!(
            grants.refresh(now(11), "sim-refresh").err(),
            Some(ProtoOaErrorCode::ChAccessTokenInvalid)
        );
        assert_eq!((grants.find(&pair.access), grants.find("two")), (Ok(0), Ok(1)));
        assert_eq!(grants.accounts(0).map(|account| account.id).collect::<Vec<_>>(), [1_000_001, 1_000_002]);
        assert_eq!(grants.accounts(1).map(|account| account.id).collect::<Vec<_>>(), [1_000_002]);
    }

    #[test]
    fn a_token_expires_when_its_time_is_over_and_a_refresh_gives_it_a_new_one() {
        let mut grants = grants();
        grants.refresh(now(50), "sim-refresh").ok().unwrap();
        assert_eq!((grants.deadline(), grants.expire(now(99))), (Some(Duration::from_secs(100)), None));
        assert_eq!((grants.expire(now(100)), grants.expire(now(100))), (Some(1), None));
        assert_eq!(grants.find("two"), Err(ProtoOaErrorCode::OaAuthTokenExpired));
        assert_eq!(grants.deadline(), Some(Duration::from_secs(150)));
        assert!(grants.refresh(now(120), "two-r").is_ok());
        assert_eq!(grants.find("two-1"), Ok(1));
    }
}
