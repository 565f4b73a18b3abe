//! The dashboard's own files, under names that change with their content.
//!
//! Whoever has a file of such a name never asks for it again. Without the hash
//! the names lead to the newest, for who wrote them down; those are asked for
//! again soon.

use super::html::Href;

/// A file of the dashboard.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its name below `/assets`, with its hash.
    pub name: &'static str,
    /// Its name without.
    pub plain_name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// A file made of these, with a name that is made when this is compiled.
macro_rules! asset {
    ($stem:literal, $extension:literal, $kind:literal, $($file:literal),+) => {{
        const TEXT: &str = concat!($(include_str!($file)),+);
        const NAME: [u8; $stem.len() + $extension.len() + HASH_DIGITS + 2] = hashed($stem, TEXT, $extension);
        Asset {
            name: match std::str::from_utf8(&NAME) {
                Ok(name) => name,
                Err(_) => concat!($stem, ".", $extension),
            },
            plain_name: concat!($stem, ".", $extension),
            kind: $kind,
            text: TEXT,
        }
    }};
}

/// How the pages look.
pub static STYLE: Asset = asset!("style", "css", "text/css; charset=utf-8", "style.css");
/// What keeps an open page true, and the tools of a log.
pub static LIVE: Asset = asset!("live", "js", "text/javascript; charset=utf-8", "live.js", "log.js");

/// The file of this name, and whether the name has its hash.
#[must_use]
pub fn find(name: &str) -> Option<(&'static Asset, bool)> {
    let all: [&'static Asset; 2] = [&STYLE, &LIVE];
    all.into_iter().find(|asset| name == asset.name || name == asset.plain_name).map(|asset| (asset, name == asset.name))
}

/// Where a file is.
pub fn href(asset: &Asset) -> Href {
    Href::local(&["assets", asset.name])
}

const HASH_DIGITS: usize = 16;

/// `stem.HASH.extension`. The hash is FNV-1a of 64 bits: it tells our own
/// versions apart, and nobody else writes these files.
#[expect(clippy::indexing_slicing, reason = "it runs when this is compiled, and a wrong index would end that")]
const fn hashed<const N: usize>(stem: &str, text: &str, extension: &str) -> [u8; N] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < text.len() {
        hash = (hash ^ text.as_bytes()[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    let mut name = [b'.'; N];
    let mut place = 0;
    while place < stem.len() {
        name[place] = stem.as_bytes()[place];
        place += 1;
    }
    let mut digit = 0;
    while digit < HASH_DIGITS {
        name[stem.len() + 1 + digit] = b"0123456789abcdef"[((hash >> (60 - 4 * digit)) & 15) as usize];
        digit += 1;
    }
    place = 0;
    while place < extension.len() {
        name[stem.len() + HASH_DIGITS + 2 + place] = extension.as_bytes()[place];
        place += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_follows_from_the_content() {
        // The published value of FNV-1a for "foobar".
        assert_eq!(&hashed::<26>("style", "foobar", "css"), b"style.85944171f73967e8.css");
        assert!(STYLE.name.starts_with("style.") && STYLE.name.ends_with(".css") && STYLE.name.len() == 26, "{}", STYLE.name);
        assert!(LIVE.name.starts_with("live.") && LIVE.name.ends_with(".js"));
    }

    #[test]
    fn both_names_lead_to_the_file_and_no_other_does() {
        assert_eq!(find(STYLE.name), Some((&STYLE, true)));
        assert_eq!(find("live.js"), Some((&LIVE, false)));
        for other in ["", "style.0000000000000000.css", "style", "../lib.rs", "style.css/"] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}
