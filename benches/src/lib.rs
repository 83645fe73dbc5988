//! What the measurements share.

pub mod attack;
pub mod empty;
pub mod interrupt;
pub mod pace;
pub mod programs;
pub mod record;
pub mod strategy;
pub mod tracer;
pub mod watch;

/// The smallest value that at least `percent` of the sorted values do not exceed.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// How many times `of` goes into it.
#[allow(clippy::cast_precision_loss)] // what is measured is far below 2^53
pub fn ratio(it: u64, of: u64) -> f64 {
    it as f64 / of as f64
}

/// Where the middle half of some values lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// A quarter of the values is below.
    pub low: f64,
    /// Half.
    pub median: f64,
    /// Three quarters.
    pub high: f64,
}

impl Spread {
    /// Of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Self { low: percentile(&values, 25), median: percentile(&values, 50), high: percentile(&values, 75) }
    }

    /// Whether they are at most `bar`: shown by three quarters of the values, or it is a near thing and told to be one.
    pub fn verdict(&self, bar: f64) -> &'static str {
        if self.high <= bar {
            "met"
        } else if self.median <= bar {
            "within its spread"
        } else if self.low <= bar {
            "missed, within its spread"
        } else {
            "missed"
        }
    }

    /// Whether the middle halves of both have something in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// `123 (120..130)`, with so many decimals.
    pub fn told(&self, decimals: usize) -> String {
        format!("{:.decimals$} ({:.decimals$}..{:.decimals$})", self.median, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 50), 100);
        assert_eq!(percentile(&values, 95), 190);
        assert_eq!(percentile(&values, 100), 200);
        assert_eq!(percentile::<u64>(&[], 50), 0);
        assert_eq!(percentile(&[7], 95), 7);
    }

    #[test]
    fn a_spread_does_not_depend_on_the_order() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { low: 1.0, median: 2.0, high: 3.0 });
        assert_eq!(spread.told(1), "2.0 (1.0..3.0)");
    }

    #[test]
    fn a_bar_is_met_by_three_quarters_of_the_values() {
        let spread = Spread { low: 1.0, median: 2.0, high: 3.0 };
        assert_eq!(spread.verdict(3.0), "met");
        assert_eq!(spread.verdict(2.5), "within its spread");
        assert_eq!(spread.verdict(1.5), "missed, within its spread");
        assert_eq!(spread.verdict(0.5), "missed");
    }

    #[test]
    fn spreads_meet_where_one_value_is_in_both() {
        let spread = |low, high| Spread { low, median: low, high };
        assert!(spread(1.0, 2.0).meets(&spread(2.0, 3.0)));
        assert!(spread(2.0, 3.0).meets(&spread(1.0, 2.0)));
        assert!(spread(1.0, 4.0).meets(&spread(2.0, 3.0)));
        assert!(!spread(1.0, 2.0).meets(&spread(2.1, 3.0)));
        assert!(!spread(2.1, 3.0).meets(&spread(1.0, 2.0)));
    }
}
