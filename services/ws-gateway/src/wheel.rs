/// Things that are due within a short time, by the millisecond. Putting in and taking out cost the same however many
/// there are, and in steady state nothing is allocated.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<u32>>,
    /// Everything due up to this millisecond was taken out.
    done_ms: u64,
    count: usize,
}

impl Wheel {
    /// A wheel for things due at most `span_ms` ahead.
    pub fn new(span_ms: u64) -> Self {
        let slots = usize::try_from(span_ms).unwrap_or(usize::MAX).saturating_add(2);
        Self { slots: vec![Vec::new(); slots], done_ms: 0, count: 0 }
    }

    /// Puts something in that is due at `due_ms`; what is late or too far ahead is due as near to that as the wheel goes.
    pub fn insert(&mut self, due_ms: u64, item: u32) {
        let last = self.done_ms + self.slots.len() as u64 - 1;
        let due_ms = due_ms.clamp(self.done_ms + 1, last);
        let slot = self.slot(due_ms);
        self.slots[slot].push(item);
        self.count += 1;
    }

    /// Takes out what is due at `now_ms`.
    pub fn take_due(&mut self, now_ms: u64, due: &mut Vec<u32>) {
        if self.count == 0 {
            self.done_ms = self.done_ms.max(now_ms);
            return;
        }
        let rounds = now_ms.saturating_sub(self.done_ms).min(self.slots.len() as u64);
        for step in 1..=rounds {
            let slot = self.slot(self.done_ms + step);
            self.count -= self.slots[slot].len();
            due.append(&mut self.slots[slot]);
        }
        self.done_ms = self.done_ms.max(now_ms);
    }

    /// The next millisecond at which something is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        (self.done_ms + 1..=self.done_ms + self.slots.len() as u64)
            .find(|ms| !self.slots[self.slot(*ms)].is_empty())
    }

    fn slot(&self, ms: u64) -> usize {
        usize::try_from(ms % self.slots.len() as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.take_due(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn things_come_out_when_they_are_due() {
        let mut wheel = Wheel::new(5);
        assert!(due(&mut wheel, 1_000).is_empty());
        wheel.insert(1_005, 1);
        wheel.insert(1_002, 2);
        assert_eq!(wheel.next_due_ms(), Some(1_002));
        assert!(due(&mut wheel, 1_001).is_empty());
        assert_eq!(due(&mut wheel, 1_004), [2]);
        assert_eq!(due(&mut wheel, 9_999), [1]);
        assert_eq!(wheel.next_due_ms(), None);
    }

    #[test]
    fn what_is_late_comes_out_next() {
        let mut wheel = Wheel::new(5);
        assert!(due(&mut wheel, 100).is_empty());
        wheel.insert(50, 1);
        assert_eq!(wheel.next_due_ms(), Some(101));
        assert_eq!(due(&mut wheel, 101), [1]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_early_or_late(steps in proptest::collection::vec((0u64..4, 0u64..=7), 1..200)) {
            let mut wheel = Wheel::new(7);
            let mut now = 10;
            let mut waiting: Vec<(u64, u32)> = Vec::new();
            let mut out = Vec::new();
            wheel.take_due(now, &mut out);
            for (item, (wait, ahead)) in (0u32..).zip(steps) {
                now += wait;
                out.clear();
                wheel.take_due(now, &mut out);
                for item in &out {
                    let place = waiting.iter().position(|(_, waited)| waited == item).unwrap();
                    prop_assert!(waiting.remove(place).0 <= now);
                }
                prop_assert!(waiting.iter().all(|(due, _)| *due > now));
                wheel.insert(now + ahead, item);
                waiting.push(((now + ahead).max(now + 1), item));
                prop_assert_eq!(wheel.next_due_ms(), waiting.iter().map(|(due, _)| *due).min());
            }
        }
    }
}
