use std::fmt;

/// Why a link ended, was not made, or is not trusted: a kind programs can count and words people can read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// What kind of end it was.
    pub kind: CauseKind,
    /// The details in words, never a secret.
    pub detail: String,
}

impl Cause {
    /// A cause with its details.
    pub fn new(kind: CauseKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            f.write_str(self.kind.words())
        } else {
            write!(f, "{}: {}", self.kind.words(), self.detail)
        }
    }
}

macro_rules! cause_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        /// The kinds of cause, in the order of a connection's life.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum CauseKind { $($(#[$doc])* $name,)* }

        impl CauseKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The short code: metric label and bus value.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The kind in a few words.
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }

            /// The kind of this code.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

cause_kinds! {
    /// The host name has no address.
    Dns = "dns", "host name not found";
    /// The host answered that nothing listens there.
    Refused = "refused", "connection refused";
    /// No network path, or another socket error while connecting.
    Unreachable = "unreachable", "host not reachable";
    /// Dial, TLS and login together took too long.
    ConnectTimeout = "connect_timeout", "connecting took too long";
    /// The TLS handshake failed or the certificate is not trusted.
    Tls = "tls", "TLS failed";
    /// The venue does not accept our credentials.
    AuthRefused = "auth_refused", "credentials refused";
    /// The access token has run out or was replaced; a newer one, or a person, is needed.
    TokenExpired = "token_expired", "the access token is not accepted any more";
    /// New tokens could not be stored, and must not be used before they are.
    KeepFailed = "keep_failed", "the new tokens could not be stored";
    /// This host does not serve our account.
    WrongHost = "wrong_host", "the account is not served by this host";
    /// The venue wants fewer requests or connections.
    RateLimited = "rate_limited", "the venue asks us to slow down";
    /// The venue ended our login.
    SessionLost = "session_lost", "the venue ended the login";
    /// The venue closed the connection in order.
    PeerClosed = "peer_closed", "the venue closed the connection";
    /// The connection was reset or another read or write error ended it.
    Reset = "reset", "connection lost";
    /// Nothing at all arrived for too long.
    Silence = "silence", "nothing heard from the venue";
    /// Data stopped while the link was alive.
    Stale = "stale", "no data while something is wanted";
    /// Every market of what is wanted is closed.
    MarketClosed = "market_closed", "the market is closed";
    /// The venue sent what cannot be understood.
    Protocol = "protocol", "the venue broke the protocol";
    /// A request was not answered in time.
    RequestTimeout = "request_timeout", "a request was not answered";
    /// The venue says it is under maintenance.
    Maintenance = "maintenance", "the venue is under maintenance";
    /// The venue's front answers and what stands behind it does not.
    VenueAway = "venue_away", "the venue's backend is not reachable";
    /// The venue did not understand a request of ours.
    BadRequest = "bad_request", "the venue did not understand us";
    /// The venue answered with an error that ends the attempt.
    VenueError = "venue_error", "the venue reported an error";
    /// This process or machine stood still: a socket from before is not trusted.
    Suspended = "suspended", "the machine or process was suspended";
    /// Another instance holds the one connection to the venue.
    NotLeading = "not_leading", "another instance holds the connection";
    /// A person or program asked for a reconnect.
    Requested = "requested", "reconnect requested";
    /// This process is stopping.
    Stopping = "stopping", "the service is stopping";
    /// No beat from the venue's ingest for too long.
    IngestGone = "ingest_gone", "no sign of life from the venue's ingest";
    /// The bus is away.
    BusDown = "bus_down", "the message bus is not reachable";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_code() {
        for kind in CauseKind::ALL {
            assert_eq!(CauseKind::from_code(kind.code()), Some(*kind));
        }
        assert_eq!(CauseKind::from_code("other"), None);
    }

    #[test]
    fn a_cause_reads_as_a_sentence() {
        assert_eq!(Cause::new(CauseKind::Silence, "60 s").to_string(), "nothing heard from the venue: 60 s");
        assert_eq!(Cause::new(CauseKind::PeerClosed, "").to_string(), "the venue closed the connection");
    }
}
