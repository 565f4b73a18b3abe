//! A run's steps in order, each with a bar that says when it was at work.
//!
//! Pure. A bar is drawn in milliseconds of its run, and all bars have one scale,
//! which is the drawing's `viewBox`. While a run goes on the scale ends at a power
//! of two of seconds, so that bars stand still for a while; where it changes, the
//! script changes it on rows that are there, so a refresh sends no row for it.

use doorstep_shared::ids::{RunState, StepState};
use doorstep_shared::time::Timestamp;

use super::html::Html;
use super::parts::{self, Table};
use super::version::{self, Have};
use super::when;
use crate::view::{RunRow, StepRow};

/// Longest time that a bar says, and still a number that a drawing can hold: 31 years.
const TIME_MAX_MS: u64 = 1_000_000_000_000;

/// The section, without the rows that the reader has.
pub fn section(run: &RunRow, steps: &[StepRow], have: Have<'_>, now: Timestamp) -> Html {
    let mut html = Html::new();
    let span = span_ms(run, steps, now);
    html.raw("<section id=\"steps\" data-span=\"").number(span).raw("\"><h2>Steps</h2>");
    if steps.is_empty() {
        html.raw("<p class=\"card\" id=\"no-steps\">No step was reported yet.</p></section>");
        return html;
    }
    let versions: Vec<String> = steps.iter().enumerate().map(|(place, step)| version::of(&(place, step, ended(run).filter(|_| step.state == StepState::Started)))).collect();
    let columns = &["Step", "State", "Took", "When", "Detail"];
    let has_head = versions.iter().any(|version| have.has(version));
    let mut table = if has_head { Table::without_head("Steps", columns) } else { Table::new("Steps", columns) };
    for (place, (step, version)) in steps.iter().zip(&versions).enumerate() {
        let id = format!("step/{place}");
        if have.has(version) {
            table.same(&id);
        } else {
            table.version_row(&id, version, &cells(run, step, span, now));
        }
    }
    html.add(&table.html()).raw("</section>");
    html
}

fn cells(run: &RunRow, step: &StepRow, span: u64, now: Timestamp) -> [Html; 5] {
    let took = match (step.duration_ms, step.state) {
        (Some(ms), _) => Html::of(&when::took_words(ms)),
        (None, StepState::Started) => match ended(run) {
            Some(ended) => Html::of(&when::took_words(ended.ms_since(step.at))),
            None => when::since(step.at, now),
        },
        (None, StepState::Pending | StepState::Succeeded | StepState::Failed | StepState::Undone) => Html::new(),
    };
    let detail = if step.detail.is_empty() { Html::new() } else { parts::quote(&step.detail) };
    [parts::quote(&step.name), parts::step_badge(step.state), took, bar(run, step, span, now), detail]
}

/// When the run ended; a step that was left open then did not go on.
fn ended(run: &RunRow) -> Option<Timestamp> {
    run.ended.filter(|_| run.state != RunState::Running)
}

/// Where a step began and how long it took, in milliseconds of the run.
fn times(run: &RunRow, step: &StepRow, now: Timestamp) -> Option<(u64, u64)> {
    let took = match (step.duration_ms, step.state) {
        (_, StepState::Pending) => return None,
        (Some(ms), _) => ms,
        (None, StepState::Started) => ended(run).unwrap_or(now).ms_since(step.at),
        (None, StepState::Succeeded | StepState::Failed | StepState::Undone) => 0,
    };
    // A step says when it last changed: at its end, once it has one.
    let began = if step.duration_ms.is_some() { Timestamp(step.at.0.saturating_sub(took)) } else { step.at };
    Some((began.ms_since(run.started), took))
}

/// What the whole width stands for.
fn span_ms(run: &RunRow, steps: &[StepRow], now: Timestamp) -> u64 {
    let ends = steps.iter().filter_map(|step| times(run, step, now)).map(|(began, took)| began.saturating_add(took));
    let last = ends.max().unwrap_or(0).clamp(1, TIME_MAX_MS);
    match ended(run) {
        None => 1_000 * last.max(now.ms_since(run.started).min(TIME_MAX_MS)).div_ceil(1_000).next_power_of_two(),
        Some(ended) => last.max(ended.ms_since(run.started).min(TIME_MAX_MS)),
    }
}

fn bar(run: &RunRow, step: &StepRow, span: u64, now: Timestamp) -> Html {
    let mut html = Html::new();
    let Some((began, took)) = times(run, step, now) else { return html };
    let tone = match step.state {
        StepState::Pending | StepState::Started => "busy",
        StepState::Succeeded => "ok",
        StepState::Failed => "bad",
        StepState::Undone => "warn",
    };
    html.raw("<svg class=\"span\" role=\"img\" aria-label=\"after ").text(&when::took_words(began));
    html.raw("\" viewBox=\"0 0 ").number(span).raw(" 10\" preserveAspectRatio=\"none\"><rect class=\"way\" y=\"4\" width=\"100%\" height=\"2\"></rect>");
    // However short it was, its outline can be seen.
    html.raw("<rect class=\"bar ").raw(tone).raw("\" x=\"").number(began.min(TIME_MAX_MS)).raw("\" width=\"").number(took.min(TIME_MAX_MS)).raw("\" height=\"10\"></rect></svg>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn step(at: u64, took: Option<u64>, state: &str) -> StepRow {
        StepRow { at: Timestamp(a_run("r", "succeeded").started.0 + at), ..a_step("x", state, took, "") }
    }

    #[test]
    fn bars_stand_where_their_steps_were_at_work() {
        let run = a_run("r", "succeeded"); // of 12.4 s
        let html = |step: StepRow| bar(&run, &step, 12_400, NOW).into_string();
        assert!(html(step(6_200, Some(6_200), "succeeded")).contains("class=\"bar ok\" x=\"0\" width=\"6200\""));
        let last = html(step(12_400, Some(1), "failed"));
        assert!(last.contains("viewBox=\"0 0 12400 10\"") && last.contains("class=\"bar bad\" x=\"12399\" width=\"1\"") && last.contains("aria-label=\"after 12.3 s\""), "{last}");
        assert_eq!(html(step(0, None, "pending")), "");
        // It was left open when the run ended.
        assert!(html(step(400, None, "started")).contains("x=\"400\" width=\"12000\""));
        // A clock that went back, or a step that is longer than its run.
        assert!(html(step(0, Some(u64::MAX), "succeeded")).contains("x=\"0\" width=\"1000000000000\""));
    }

    #[test]
    fn the_scale_of_a_run_under_way_holds_still() {
        let run = a_run("r", "running");
        let at = |ms: u64| span_ms(&run, &[StepRow { at: run.started, ..step(0, Some(ms), "succeeded") }, StepRow { at: run.started, ..step(0, None, "started") }], Timestamp(run.started.0 + ms));
        assert_eq!([at(1), at(900), at(3_100), at(4_000), at(4_001)], [1_000, 1_000, 4_000, 4_000, 8_000]);
        assert_eq!(span_ms(&a_run("r", "succeeded"), &[], NOW), 12_400);
        assert!(span_ms(&a_run("r", "running"), &[step(0, Some(u64::MAX), "succeeded")], NOW) > 0);
    }

    #[test]
    fn only_rows_that_changed_are_sent_again() {
        let run = a_run("r", "running");
        let mut steps = vec![a_step("fetch", "succeeded", Some(800), "a1b2c3d"), a_step("build", "started", None, "")];
        let whole = section(&run, &steps, Have::default(), NOW).into_string();
        let have: Vec<String> = whole.split(" data-v=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
        assert_eq!(have.len(), 2);
        let same = section(&run, &steps, Have(Some(&have)), NOW).into_string();
        assert!(same.contains("<tr role=\"row\" id=\"step/0\" data-same></tr><tr role=\"row\" id=\"step/1\" data-same></tr>"), "{same}");
        // The scale has changed meanwhile; the rows have not.
        let later = section(&run, &steps, Have(Some(&have)), NOW.plus_ms(100_000)).into_string();
        assert!(whole.contains(" data-span=\"64000\"") && later.contains(" data-span=\"256000\"") && !later.contains("data-v"), "{later}");
        steps[1] = a_step("build", "succeeded", Some(90), "slot 2");
        let next = section(&run, &steps, Have(Some(&have)), NOW).into_string();
        assert!(next.contains("<thead data-same></thead>") && next.contains("id=\"step/0\" data-same") && next.contains("slot 2"), "{next}");
        assert_well_formed(&next);
    }
}
