use std::collections::BTreeMap;

use crate::Target;
use crate::ask::page;

/// The numbers of a metrics page (Prometheus text), by name with labels.
pub type Samples = BTreeMap<String, f64>;

/// Reads the numbers; comments and what is no number are left out.
pub fn read_samples(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    // A page in pieces (chunked) has lines with lengths between; they hold no blank.
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// What grew between two readings, and by how much.
pub fn growth(before: &Samples, after: &Samples) -> Samples {
    let grown =
        after.iter().map(|(name, value)| (name.clone(), value - before.get(name).copied().unwrap_or(0.0)));
    grown.filter(|(name, grown)| *grown != 0.0 && !name.contains("_bucket")).collect()
}

/// The numbers of the server's metrics page now; nothing where it cannot be read.
pub(crate) fn samples_of(target: Option<&Target>) -> Samples {
    target.and_then(page).map(|text| read_samples(&text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_labels_and_compared() {
        let before = read_samples("# HELP a\na_total{x=\"1 2\"} 5\nb 2.5\nc_bucket{le=\"1\"} 1\n");
        assert_eq!(before["a_total{x=\"1 2\"}"], 5.0);
        let after = read_samples("1f3\na_total{x=\"1 2\"} 9\nb 2.5\nnew 1\nc_bucket{le=\"1\"} 7\nd NaNx\n");
        let grown = growth(&before, &after);
        assert_eq!(grown, Samples::from([("a_total{x=\"1 2\"}".into(), 4.0), ("new".into(), 1.0)]));
    }
}
