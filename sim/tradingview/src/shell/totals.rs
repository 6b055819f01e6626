use sim_kit::ReasonKind as _;
use sim_kit::shell::{Family, Total};

use crate::Counters;

pub(super) fn totals(counters: &Counters) -> Vec<Total> {
    let total = |name, help, total| Total { name, help, total };
    vec![
        total("sim_connections_opened", "Connections ever opened", counters.opened),
        total("sim_quotes", "qsd messages sent, snapshots included", counters.quotes),
        total("sim_bars", "Bar messages sent", counters.bars),
        total("sim_updates_withheld", "Updates a fault withheld", counters.withheld),
        total("sim_breaches", "Things a careful client does not do", counters.breaches),
        total("sim_heartbeats", "Heartbeats sent", counters.heartbeats),
    ]
}

pub(super) fn families(counters: &Counters) -> Vec<Family> {
    let closed = counters.closed.iter().map(|(reason, total)| (reason.as_str(), *total));
    let refused = counters.refused.iter().map(|(status, total)| (status.to_string(), *total));
    vec![
        Family::new("sim_connections_closed", "Connections closed", "reason", closed),
        Family::new("sim_handshakes_refused", "Handshakes refused", "status", refused),
        Family::new("sim_requests", "Messages received", "type", counters.requests.clone()),
        Family::new("sim_errors", "Errors told", "code", counters.errors.clone()),
    ]
}
