use tickcast_model::CauseKind;

/// What the settings of a venue are called, for advice that names them.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The host, and the port where it is a setting of its own.
    pub host: &'static str,
    /// The extra trust anchor.
    pub ca_file: &'static str,
    /// What proves who we are.
    pub credentials: &'static str,
}

impl Names {
    /// What a person can do about a connection that fails for this.
    pub(super) fn advice(self, kind: CauseKind) -> String {
        let Self { host, ca_file, credentials } = self;
        match kind {
            CauseKind::Dns => format!("check {host}, and whether this machine resolves other names"),
            CauseKind::Refused | CauseKind::Unreachable | CauseKind::ConnectTimeout => {
                format!("check {host}, and what a firewall lets out of this machine")
            }
            CauseKind::Tls => {
                format!("check that {host} is the venue's; a trust anchor of your own goes into {ca_file}")
            }
            CauseKind::AuthRefused => format!("check {credentials}"),
            CauseKind::TokenExpired => {
                format!("get a new token and set it ({credentials}); the doctor renews none, the service may")
            }
            CauseKind::WrongHost => {
                format!("the account belongs to the venue's other environment: change {host}")
            }
            CauseKind::Maintenance => "wait until the venue is back".into(),
            CauseKind::VenueAway => format!("check {host}; if it is right, wait until the venue is back"),
            CauseKind::RateLimited => "wait a minute before the next try".into(),
            _ => "try again in some minutes; if it stays, ask the venue".into(),
        }
    }
}
