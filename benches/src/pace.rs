//! How fast the processor was: one whose sibling is busy, or that lies on a busy machine, does everything a third slower,
//! for seconds. That is more than what an attached program costs.

use crate::{percentile, ratio};

/// What was timed.
#[derive(Clone, Copy)]
pub struct Timed {
    /// ns that one of it took.
    pub each: f64,
    /// ns that a fixed piece of work took beside it.
    pub pace: u64,
}

impl Timed {
    /// Than where the fixed piece of work takes the usual time, so many times.
    pub fn slower(&self, usual: u64) -> f64 {
        ratio(self.pace, usual)
    }
}

/// The median of these so many that were disturbed least, scaled to the usual pace.
pub fn scaled_median(timed: &[Timed], least: usize, usual: u64) -> f64 {
    let mut timed = timed.to_vec();
    timed.sort_unstable_by_key(|t| t.pace);
    let mut scaled: Vec<f64> = timed.iter().take(least).map(|t| t.each / t.slower(usual)).collect();
    scaled.sort_unstable_by(f64::total_cmp);
    percentile(&scaled, 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(timed: &[Timed], least: usize) -> String {
        format!("{:.3}", scaled_median(timed, least, 100))
    }

    #[test]
    fn a_slower_processor_changes_nothing() {
        let at = |pace| Timed { each: 4.0 * ratio(pace, 100), pace };
        let undisturbed = [at(100), at(100), at(100)];
        let disturbed = [at(100), at(130), at(160)];
        assert_eq!(told(&undisturbed, 3), "4.000");
        assert_eq!(told(&disturbed, 3), "4.000");
    }

    #[test]
    fn what_itself_takes_longer_is_told() {
        let at = |each, pace| Timed { each, pace };
        assert_eq!(told(&[at(4.0, 100), at(6.0, 100), at(8.0, 100)], 3), "6.000");
        assert_eq!(told(&[at(9.0, 150)], 1), "6.000");
    }

    #[test]
    fn those_that_were_disturbed_least_count() {
        let at = |each, pace| Timed { each, pace };
        assert_eq!(told(&[at(90.0, 300), at(4.0, 100), at(5.0, 101)], 1), "4.000");
    }
}
