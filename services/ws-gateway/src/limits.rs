use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What one client may do.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// Symbols at a time.
    pub subscriptions_max: usize,
    /// Size of one message, bytes.
    pub message_bytes_max: usize,
    /// Messages in a second.
    pub messages_per_s: u32,
}

impl ClientLimits {
    /// Symbols in one message: enough for everything at once, and for some that are refused.
    pub fn symbols_per_message_max(&self) -> usize {
        self.subscriptions_max.max(5_000)
    }
}

/// Lets through so many things in a second, and a burst of them after a pause.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_s: f32,
    burst: f32,
    tokens: f32,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket whose burst is a second's worth.
    pub fn new(per_s: u32, now: Instant) -> Self {
        Self::with_burst(per_s, per_s, now)
    }

    /// A full bucket that lets through `burst` at once (at least one).
    #[expect(clippy::cast_precision_loss, reason = "at most a million, which the type holds exactly")]
    pub fn with_burst(per_s: u32, burst: u32, now: Instant) -> Self {
        let burst = burst.max(1) as f32;
        Self { per_s: per_s as f32, burst, tokens: burst, filled_at: now }
    }

    /// True where one more may pass now.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f32();
        self.tokens = (self.tokens + passed * self.per_s).min(self.burst);
        self.filled_at = now;
        let passes = self.tokens >= 1.0;
        if passes {
            self.tokens -= 1.0;
        }
        passes
    }
}

/// Counts connections, in all and by address.
#[derive(Debug)]
pub struct Doors {
    connections_max: usize,
    /// 0 = no limit.
    per_ip_max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// The right to be connected; dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    doors: Arc<Doors>,
    ip: IpAddr,
}

/// Which limit is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// The gateway's.
    Gateway,
    /// The address's.
    Address,
}

impl Doors {
    /// Doors for `connections_max` connections, at most `per_ip_max` (0 = any number) of one address.
    pub fn new(connections_max: usize, per_ip_max: usize) -> Self {
        Self { connections_max, per_ip_max, inside: Mutex::default() }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Full> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.all >= self.connections_max {
            return Err(Full::Gateway);
        }
        if self.per_ip_max > 0 {
            let count = inside.by_ip.entry(ip).or_insert(0);
            if *count >= self.per_ip_max {
                return Err(Full::Address);
            }
            *count += 1;
        }
        inside.all += 1;
        Ok(Place { doors: self.clone(), ip })
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.doors.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.all -= 1;
        if let Some(count) = inside.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                inside.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 5);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| bucket.take(much_later)).count(), 10);
    }

    #[test]
    fn places_are_given_back() {
        let doors = Arc::new(Doors::new(3, 2));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = doors.enter(a).unwrap();
        let _second = doors.enter(a).unwrap();
        assert_eq!(doors.enter(a).unwrap_err(), Full::Address);
        let _third = doors.enter(b).unwrap();
        assert_eq!(doors.enter(b).unwrap_err(), Full::Gateway);
        drop(first);
        assert!(doors.enter(a).is_ok());
        assert_eq!(doors.count(), 2);
    }
}
