use sim_kit::ReasonKind as _;
use sim_kit::shell::{Family, Total};

use crate::Counters;

pub(super) fn totals(counters: &Counters) -> Vec<Total> {
    let total = |name, help, total| Total { name, help, total };
    vec![
        total("sim_connections_opened", "Connections ever opened", counters.opened),
        total("sim_spot_events", "Spot events sent, snapshots included", counters.spot_events),
        total("sim_spot_events_withheld", "Spot events a fault withheld", counters.withheld),
        total("sim_requests_beyond_limit", "Requests beyond the venue's own limits", counters.breaches),
        total("sim_heartbeats", "Heartbeats sent", counters.heartbeats),
    ]
}

pub(super) fn families(counters: &Counters) -> Vec<Family> {
    let closed = counters.closed.iter().map(|(reason, total)| (reason.as_str(), *total));
    vec![
        Family::new("sim_connections_closed", "Connections closed", "reason", closed),
        Family::new("sim_requests", "Messages received", "type", counters.requests.clone()),
        Family::new("sim_errors", "Error answers", "code", counters.errors.clone()),
        Family::new("sim_faults", "Faults switched on", "name", counters.faults.clone()),
    ]
}
