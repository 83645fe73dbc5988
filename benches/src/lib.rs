//! What the measurements share.

/// The smallest value that at least `percent` of the sorted values do not exceed.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// A line of a distribution: minimum, median, 95th percentile, maximum.
pub fn distribution(values: &mut [u64]) -> String {
    values.sort_unstable();
    format!(
        "{:>6} {:>8} {:>6} {:>6}",
        values.first().copied().unwrap_or(0),
        percentile(values, 50),
        percentile(values, 95),
        values.last().copied().unwrap_or(0)
    )
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
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(percentile(&[7], 95), 7);
    }
}
