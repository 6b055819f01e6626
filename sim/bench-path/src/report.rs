use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Plan;

/// Everything measured.
#[derive(Default, Debug, Serialize)]
pub struct Report {
    /// One for each program.
    pub measures: Vec<Measure>,
}

/// One program at several rates.
#[derive(Debug, Serialize)]
pub struct Measure {
    /// What was measured.
    pub path: &'static str,
    /// Whose CPU time counts.
    pub program: &'static str,
    /// Symbols the events were spread over.
    pub symbols: usize,
    /// Length of one window, milliseconds.
    pub window_ms: u128,
    /// Every run, in order.
    pub samples: Vec<Sample>,
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Events per second that were to be sent; 0 is as many as go.
    pub offered_per_s: u64,
    /// Events per second that were sent.
    pub sent_per_s: f64,
    /// Events per second the program took in.
    pub taken_per_s: f64,
    /// Events per second that came out at its other end.
    pub done_per_s: f64,
    /// Messages per second that the bus received.
    pub bus_per_s: f64,
    /// Events lost in the window, as far as they are counted.
    pub lost: u64,
    /// CPU time of the program for each event that came out, microseconds.
    pub cpu_us_per_event: f64,
    /// Events that came out for each second of the program's CPU time.
    pub events_per_cpu_s: f64,
    /// Share of one core that the program used.
    pub cores: f64,
    /// Share of one core that nats-server used.
    pub bus_cores: f64,
}

/// What was read before and after a window, as differences.
pub(crate) struct Window {
    pub(crate) took: Duration,
    pub(crate) sent: u64,
    pub(crate) taken: u64,
    pub(crate) done: u64,
    pub(crate) arrived: u64,
    pub(crate) lost: u64,
    pub(crate) cpu: Duration,
    pub(crate) bus_cpu: Duration,
}

impl Measure {
    pub(crate) fn new(path: &'static str, program: &'static str, plan: &Plan) -> Self {
        let window_ms = plan.window.as_millis();
        Self { path, program, symbols: plan.symbols, window_ms, samples: Vec::new() }
    }

    /// The runs of each rate.
    fn rates(&self) -> Vec<(u64, Vec<&Sample>)> {
        let mut rates: Vec<(u64, Vec<&Sample>)> = Vec::new();
        for sample in &self.samples {
            match rates.iter_mut().find(|(rate, _)| *rate == sample.offered_per_s) {
                Some((_, samples)) => samples.push(sample),
                None => rates.push((sample.offered_per_s, vec![sample])),
            }
        }
        rates
    }
}

impl Sample {
    pub(crate) fn new(offered_per_s: u64, window: &Window) -> Self {
        let took = window.took.as_secs_f64();
        let cpu = window.cpu.as_secs_f64();
        let done = count(window.done);
        Self {
            offered_per_s,
            sent_per_s: count(window.sent) / took,
            taken_per_s: count(window.taken) / took,
            done_per_s: done / took,
            bus_per_s: count(window.arrived) / took,
            lost: window.lost,
            cpu_us_per_event: cpu * 1e6 / done.max(1.0),
            events_per_cpu_s: done / cpu.max(1e-9),
            cores: cpu / took,
            bus_cores: window.bus_cpu.as_secs_f64() / took,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

/// The middle one, or the lower of the two in the middle.
fn median(samples: &[&Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| of(sample)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for measure in &self.measures {
            writeln!(
                f,
                "{}: CPU time of {}, {} symbols, windows of {} ms",
                measure.path, measure.program, measure.symbols, measure.window_ms
            )?;
            writeln!(
                f,
                "{:>10} {:>10} {:>10} {:>10} {:>8} {:>9} {:>12} {:>23} {:>6} {:>6} {:>4}",
                "offered/s",
                "sent/s",
                "taken/s",
                "done/s",
                "lost",
                "us/event",
                "events/CPU-s",
                "(least..most)",
                "cores",
                "nats",
                "runs"
            )?;
            for (rate, samples) in measure.rates() {
                let offered = if rate == 0 { "all".to_owned() } else { rate.to_string() };
                let speeds = samples.iter().map(|sample| sample.events_per_cpu_s);
                let least = speeds.clone().fold(f64::INFINITY, f64::min);
                let most = speeds.fold(0.0, f64::max);
                let lost: u64 = samples.iter().map(|sample| sample.lost).sum();
                writeln!(
                    f,
                    "{offered:>10} {:>10.0} {:>10.0} {:>10.0} {lost:>8} {:>9.2} {:>12.0} {:>23} {:>6.2} {:>6.2} {:>4}",
                    median(&samples, |s| s.sent_per_s),
                    median(&samples, |s| s.taken_per_s),
                    median(&samples, |s| s.done_per_s),
                    median(&samples, |s| s.cpu_us_per_event),
                    median(&samples, |s| s.events_per_cpu_s),
                    format!("({least:.0}..{most:.0})"),
                    median(&samples, |s| s.cores),
                    median(&samples, |s| s.bus_cores),
                    samples.len(),
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_ms: u64) -> Sample {
        let window = Window {
            took: Duration::from_secs(2),
            sent: 400,
            taken: 300,
            done: 200,
            arrived: 200,
            lost: 100,
            cpu: Duration::from_millis(cpu_ms),
            bus_cpu: Duration::from_secs(1),
        };
        Sample::new(200, &window)
    }

    #[test]
    fn a_sample_is_counted_in_cpu_time_and_in_elapsed_time() {
        let sample = sample(500);
        assert!((sample.events_per_cpu_s - 400.0).abs() < 1e-6);
        assert!((sample.cpu_us_per_event - 2500.0).abs() < 1e-6);
        assert!((sample.done_per_s - 100.0).abs() < 1e-6);
        assert!((sample.cores - 0.25).abs() < 1e-6);
    }

    #[test]
    fn the_table_shows_the_median_of_each_rate() {
        let samples = vec![sample(100), sample(1_000), sample(200)];
        let measure = Measure { path: "p", program: "q", symbols: 1, window_ms: 2_000, samples };
        let text = Report { measures: vec![measure] }.to_string();
        let row = text.lines().nth(2).unwrap();
        assert!(row.contains(" 1000 "), "200 events in 200 ms: {row}");
        assert!(row.contains("(200..2000)"), "{row}");
    }
}
