//! Median, lowest and highest of the rounds: what a few runs allow to say.

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
    pub count: usize,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = if values.len().is_multiple_of(2) { *values.get(middle - 1)? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), lowest, highest, count: values.len() })
    }

    /// `2 [1–3]`; of one value just that.
    pub fn write(&self, write: fn(f64) -> String) -> String {
        if self.count == 1 {
            return write(self.median);
        }
        format!("{} [{}–{}]", write(self.median), write(self.lowest), write(self.highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_with_its_range() {
        let whole = |value: f64| format!("{value:.0}");
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).unwrap().write(whole), "2 [1–3]");
        assert_eq!(Spread::of(vec![1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of(vec![7.0]).unwrap().write(whole), "7");
        assert!(Spread::of(Vec::new()).is_none());
    }
}
