use tickcast_model::{Cause, CauseKind};

use crate::messages::Refusal;

/// What an error answer means for us (facts 3.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// What we asked for is already so.
    Already,
    /// Too fast: wait, then ask again.
    SlowDown,
    /// The venue or its backend is away.
    VenueAway,
    /// The login is gone.
    LoggedOut,
    /// The credentials are not accepted; a person is likely needed.
    Refused,
    /// This symbol only.
    Symbol,
    /// A failed request, nothing more.
    Failed,
}

impl Refusal {
    /// Reads the code first; the free text matters in one case only.
    pub(crate) fn meaning(&self) -> Meaning {
        match self.code.as_str() {
            "ALREADY_LOGGED_IN" | "ALREADY_SUBSCRIBED" | "CH_CLIENT_ALREADY_AUTHENTICATED" => {
                Meaning::Already
            }
            "REQUEST_FREQUENCY_EXCEEDED" | "BLOCKED_PAYLOAD_TYPE" | "CONNECTIONS_LIMIT_EXCEEDED" => {
                Meaning::SlowDown
            }
            "SERVER_IS_UNDER_MAINTENANCE"
            | "CH_SERVER_NOT_REACHABLE"
            | "TIMEOUT_ERROR"
            | "CANT_ROUTE_REQUEST" => Meaning::VenueAway,
            "ACCOUNT_NOT_AUTHORIZED" | "CH_CLIENT_NOT_AUTHENTICATED" => Meaning::LoggedOut,
            "INVALID_REQUEST" if self.description.to_ascii_lowercase().contains("not authorized") => {
                Meaning::LoggedOut
            }
            "OA_AUTH_TOKEN_EXPIRED"
            | "CH_ACCESS_TOKEN_INVALID"
            | "CH_CLIENT_AUTH_FAILURE"
            | "CH_OA_CLIENT_NOT_FOUND"
            | "CH_CTID_TRADER_ACCOUNT_NOT_FOUND"
            | "RET_NO_SUCH_LOGIN"
            | "RET_ACCOUNT_DISABLED"
            | "CHANNEL_IS_BLOCKED" => Meaning::Refused,
            "SYMBOL_NOT_FOUND" | "UNKNOWN_SYMBOL" | "NOT_SUBSCRIBED_TO_SPOTS" | "INCORRECT_BOUNDARIES" => {
                Meaning::Symbol
            }
            _ => Meaning::Failed,
        }
    }

    /// The cause for which a connection ends because of this answer.
    pub(crate) fn cause(&self) -> Cause {
        let kind = match self.meaning() {
            Meaning::Refused => CauseKind::AuthRefused,
            Meaning::LoggedOut => CauseKind::SessionLost,
            Meaning::VenueAway if self.code == "SERVER_IS_UNDER_MAINTENANCE" => CauseKind::Maintenance,
            _ => CauseKind::VenueError,
        };
        Cause::new(kind, self.words())
    }

    /// Code and text as one line for people, bounded.
    pub(crate) fn words(&self) -> String {
        let line = if self.description.is_empty() {
            self.code.clone()
        } else {
            format!("{} ({})", self.code, self.description)
        };
        line.chars().filter(|c| !c.is_control()).take(300).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &str, description: &str) -> Refusal {
        Refusal { code: code.into(), description: description.into(), retry_after_s: None }
    }

    #[test]
    fn the_text_decides_only_for_not_authorized() {
        let lost = refusal("INVALID_REQUEST", "Trading account is not authorized");
        assert_eq!(lost.meaning(), Meaning::LoggedOut);
        assert_eq!(lost.cause().kind, CauseKind::SessionLost);
        assert_eq!(refusal("INVALID_REQUEST", "bad field").meaning(), Meaning::Failed);
        assert_eq!(refusal("SOMETHING_NEW", "not authorized").meaning(), Meaning::Failed);
    }

    #[test]
    fn refused_credentials_and_maintenance_have_causes_of_their_own() {
        assert_eq!(refusal("CH_CLIENT_AUTH_FAILURE", "").cause().kind, CauseKind::AuthRefused);
        assert_eq!(refusal("SERVER_IS_UNDER_MAINTENANCE", "").cause().kind, CauseKind::Maintenance);
        assert_eq!(
            refusal("CANT_ROUTE_REQUEST", "x").cause().to_string(),
            "the venue reported an error: CANT_ROUTE_REQUEST (x)"
        );
    }

    #[test]
    fn a_long_or_dirty_text_is_cut() {
        let long = refusal("X", &"a\n".repeat(1000)).words();
        assert!(long.len() <= 300 && !long.contains('\n'));
    }
}
