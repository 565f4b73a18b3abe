//! What the steps of runs took, as the host reported it.

use doorstep_tests::Shop;

use crate::stats::{Series, figure};

/// Milliseconds of each step, in the order of the runs.
#[derive(Debug, Default)]
pub struct Steps(Vec<(String, Series)>);

impl Steps {
    /// Adds those of the newest run.
    pub async fn note_newest(&mut self, shop: &Shop) {
        let Some(newest) = shop.newest_runs(1).await.into_iter().next() else { return };
        for step in shop.run(&newest["id"]).await["steps"].as_array().into_iter().flatten() {
            let (Some(name), Some(ms)) = (step["name"].as_str(), step["duration_ms"].as_f64()) else { continue };
            self.of(name).push(ms);
        }
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: &Self) {
        for (name, series) in &other.0 {
            self.of(name).extend(series);
        }
    }

    /// The median of one step; nothing when no run had it.
    pub fn median(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| known == name).map_or(0.0, |(_, series)| series.median())
    }

    /// The median of each.
    pub fn said(&self) -> String {
        let each: Vec<String> = self.0.iter().map(|(name, series)| format!("{name} {}", figure(series.median()))).collect();
        each.join(", ")
    }

    fn of(&mut self, name: &str) -> &mut Series {
        let at = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.0.push((name.to_owned(), Series::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}
