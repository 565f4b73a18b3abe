//! Series of measured values and what is said of them.

/// Values of one kind.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// One more value.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// All values of another series.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that this share of all values does not exceed (nearest rank);
    /// not a number when there is none.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// The middle value.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// `median / p90 / p99`.
    pub fn spread(&self) -> String {
        let [a, b, c] = [0.5, 0.9, 0.99].map(|share| figure(self.quantile(share)));
        format!("{a} / {b} / {c}")
    }

    /// `median (min–max)`, for series too short for a p99.
    pub fn range(&self) -> String {
        format!("{} ({}–{})", figure(self.median()), figure(self.quantile(0.0)), figure(self.quantile(1.0)))
    }
}

/// A number with about three digits that mean something.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_series() {
        let mut series = Series::default();
        assert!(series.median().is_nan());
        for value in [5.0, 1.0, 4.0, 2.0, 3.0] {
            series.push(value);
        }
        assert_eq!([0.0, 0.5, 0.9, 1.0].map(|share| series.quantile(share)), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!(series.range(), "3.00 (1.00–5.00)");
    }
}
