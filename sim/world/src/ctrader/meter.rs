use std::time::Duration;

use crate::meter::Window;
use crate::venue::Meter;

/// Requests that are not historical, a second and connection (facts 3.4).
const REQUESTS_PER_S_MAX: usize = 50;
/// Historical requests, a second and connection (facts 3.4).
const HISTORICAL_PER_S_MAX: usize = 5;
/// Refreshes in an hour: one for an expiry, one for each of a few reasons to believe in one. A loop makes hundreds.
const REFRESHES_PER_HOUR_MAX: usize = 12;

const APPLICATION_HEARTBEAT: u64 = 51;
const REFRESH_TOKEN_REQ: u64 = 2173;
const TICK_DATA_REQ: u64 = 2145;
const TRENDBARS_REQ: u64 = 2137;

/// Holds what one process sends against what the venue allows, in any sliding window.
#[derive(Default)]
pub struct RequestMeter {
    requests: Window,
    historical: Window,
    refreshes: Window,
}

impl Meter for RequestMeter {
    /// Waits of a second on average, with the shortest backoff a life has. A loop dials thousands of times.
    const DIALS_PER_MINUTE_MAX: usize = 120;

    fn dialled(&mut self) {
        self.requests = Window::default();
        self.historical = Window::default();
    }

    fn sent(&mut self, now: Duration, frame: &[u8]) {
        let second = Duration::from_secs(1);
        match payload_type(frame) {
            APPLICATION_HEARTBEAT => {}
            TICK_DATA_REQ | TRENDBARS_REQ => {
                let count = self.historical.count(now, second);
                assert!(count <= HISTORICAL_PER_S_MAX, "{count} historical requests within a second");
            }
            kind => {
                let count = self.requests.count(now, second);
                assert!(count <= REQUESTS_PER_S_MAX, "{count} requests within a second, the last of {kind}");
                if kind == REFRESH_TOKEN_REQ {
                    let count = self.refreshes.count(now, Duration::from_secs(3600));
                    assert!(count <= REFRESHES_PER_HOUR_MAX, "a refresh loop: {count} within an hour");
                }
            }
        }
    }
}

/// The payload type of a whole frame: the envelope's first field (facts 1.1). It stands first in what we send.
fn payload_type(frame: &[u8]) -> u64 {
    let envelope = frame.get(4..).unwrap_or_default();
    assert_eq!(envelope.first(), Some(&0x08), "a frame is sent whole and begins with its payload type");
    let mut value = 0;
    for (index, byte) in envelope[1..].iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a frame without a payload type: {frame:?}")
}
