//! What the edge was told of a run, as stories look at it. A run is what
//! [`Shop::run`](crate::Shop::run) returns.

use serde_json::Value;

/// The names of its steps, in order.
#[must_use]
pub fn step_names(run: &Value) -> Vec<&str> {
    run["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect()
}

/// Its log, a line each.
#[must_use]
pub fn log(run: &Value) -> String {
    run["log"].as_array().unwrap().iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect()
}

/// How one that did not succeed ended: state, kind and step.
#[must_use]
pub fn end(run: &Value) -> [&str; 3] {
    let run = &run["run"];
    [&run["state"], &run["failure"]["kind"], &run["failure"]["step"]].map(|word| word.as_str().unwrap_or_default())
}

/// Why it did not succeed.
#[must_use]
pub fn message(run: &Value) -> &str {
    run["run"]["failure"]["message"].as_str().unwrap_or_default()
}
