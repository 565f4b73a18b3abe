//! The table: each line a figure, what it is compared with, and its goal.

use std::fmt::Write;

use crate::stats::figure;

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Ours divided by the baseline, at most.
    RatioAtMost(f64),
    /// Ours divided by the baseline, at least.
    RatioAtLeast(f64),
    /// Ours itself, at most, in this unit.
    AtMost(f64, &'static str),
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// Ours, for display.
    pub ours: String,
    /// What it is compared with, for display.
    pub baseline: String,
    /// The value that a goal of its own is about.
    pub value: f64,
    /// Ours divided by the baseline.
    pub ratio: Option<f64>,
    /// What it should be.
    pub goal: Option<Goal>,
}

/// All lines.
#[derive(Debug, Default)]
pub struct Table(Vec<Line>);

impl Goal {
    fn text(self) -> String {
        match self {
            Self::RatioAtMost(most) => format!("ratio ≤ {most}"),
            Self::RatioAtLeast(least) => format!("ratio ≥ {least}"),
            Self::AtMost(most, unit) => format!("≤ {most} {unit}"),
        }
    }

    fn verdict(self, line: &Line) -> String {
        let (seen, wanted, is_reached) = match self {
            Self::RatioAtMost(most) => (line.ratio.unwrap_or(f64::NAN), most, line.ratio.is_some_and(|ratio| ratio <= most)),
            Self::RatioAtLeast(least) => (line.ratio.unwrap_or(f64::NAN), least, line.ratio.is_some_and(|ratio| ratio >= least)),
            Self::AtMost(most, _) => (line.value, most, line.value <= most),
        };
        // Nothing here can be below zero: the two sides were not measured alike.
        if seen < 0.0 || line.value < 0.0 {
            return "**not valid: below zero**".to_owned();
        }
        if is_reached { "reached".to_owned() } else { format!("**missed by {:.0} %**", (seen / wanted - 1.0).abs() * 100.0) }
    }
}

impl Table {
    /// Ours against a baseline, by their medians.
    pub fn compare(&mut self, what: &str, ours: (String, f64), baseline: (String, f64), goal: Option<Goal>) {
        let ratio = Some(ours.1 / baseline.1);
        self.add(Line { what: what.to_owned(), ours: ours.0, baseline: baseline.0, value: ours.1, ratio, goal });
    }

    /// Ours alone.
    pub fn state(&mut self, what: &str, ours: (String, f64), goal: Option<Goal>) {
        self.add(Line { what: what.to_owned(), ours: ours.0, baseline: String::new(), value: ours.1, ratio: None, goal });
    }

    /// What was not measured, and why.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        self.add(Line { what: what.to_owned(), ours: format!("not measured: {why}"), baseline: String::new(), value: f64::NAN, ratio: None, goal: None });
    }

    fn add(&mut self, line: Line) {
        // Said at once, since a run takes minutes.
        eprintln!("  {}: {}{}", line.what, line.ours, if line.baseline.is_empty() { String::new() } else { format!(" | {}", line.baseline) });
        self.0.push(line);
    }

    /// The table in Markdown.
    pub fn text(&self) -> String {
        let mut text = "| figure | ours | baseline | ratio | goal | |\n|---|---|---|---|---|---|\n".to_owned();
        for line in &self.0 {
            let ratio = line.ratio.map(figure).unwrap_or_default();
            let (goal, verdict) = line.goal.map(|goal| (goal.text(), goal.verdict(line))).unwrap_or_default();
            // Writing into a string does not fail.
            let _ = writeln!(text, "| {} | {} | {} | {ratio} | {goal} | {verdict} |", line.what, line.ours, line.baseline);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whether_its_goal_is_reached() {
        let mut table = Table::default();
        let of = |value: f64| (figure(value), value);
        table.compare("a", of(1.2), of(1.0), Some(Goal::RatioAtMost(1.25)));
        table.compare("b", of(1.5), of(1.0), Some(Goal::RatioAtMost(1.25)));
        table.compare("c", of(90.0), of(100.0), Some(Goal::RatioAtLeast(1.2)));
        table.state("d", of(15.0), Some(Goal::AtMost(12.0, "MiB")));
        table.state("e", of(-378.0), Some(Goal::AtMost(60.0, "ms")));
        let text = table.text();
        assert!(text.contains("| e | -378 |  |  | ≤ 60 ms | **not valid: below zero** |"), "{text}");
        assert!(text.contains("| a | 1.20 | 1.00 | 1.20 | ratio ≤ 1.25 | reached |"), "{text}");
        assert!(text.contains("**missed by 20 %**") && text.contains("**missed by 25 %**"), "{text}");
    }
}
