//! Which parts of a page its reader has already.
//!
//! A part that carries a version (`data-v`) is left out of a fragment when the
//! reader says that it has it; what stands in its place says so (`data-same`),
//! and the script leaves the part alone. A version is made of what the part
//! shows, not of its markup, so that words that count on by themselves, such as
//! "3 min ago", make no new one.

use serde::Serialize;

use super::html::Html;

/// Versions that are looked at: every step of a run and the parts around them.
pub const HAVE_MAX: usize = 256;

/// What the reader has; `None` when it has nothing and wants the whole page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Have<'a>(pub Option<&'a [String]>);

impl Have<'_> {
    /// Does it want no more than what is new?
    pub fn is_part(self) -> bool {
        self.0.is_some()
    }

    /// Does it have the part of this version?
    pub fn has(self, version: &str) -> bool {
        self.0.is_some_and(|have| have.iter().take(HAVE_MAX).any(|known| known == version))
    }

    /// A part with its version, or what says that it is the same. `open` begins
    /// its element and ends before `>`.
    pub fn part(self, open: &'static str, close: &'static str, version: &str, content: impl FnOnce() -> Html) -> Html {
        let mut html = Html::new();
        if self.has(version) {
            html.raw(open).raw(" data-same>").raw(close);
        } else {
            html.raw(open).raw(" data-v=\"").text(version).raw("\">").add(&content()).raw(close);
        }
        html
    }
}

/// The version of what a part shows: FNV-1a of 32 bits over it as JSON. What
/// cannot be written as JSON is never the same.
pub fn of(shown: &impl Serialize) -> String {
    let Ok(bytes) = serde_json::to_vec(shown) else { return String::new() };
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_the_reader_has_is_left_out() {
        let version = of(&("step", 3));
        let part = |have: Have<'_>| have.part("<div id=\"a\"", "</div>", &version, || Html::of("words")).into_string();
        assert_eq!(part(Have::default()), format!("<div id=\"a\" data-v=\"{version}\">words</div>"));
        assert_eq!(part(Have(Some(&[]))), format!("<div id=\"a\" data-v=\"{version}\">words</div>"));
        assert_eq!(part(Have(Some(&["x".into(), version.clone()]))), "<div id=\"a\" data-same></div>");
    }

    #[test]
    fn another_value_is_another_version() {
        assert_ne!(of(&1), of(&2));
        assert_eq!(of(&"a"), of(&"a"));
        assert_eq!(of(&"a").len(), 8);
    }
}
