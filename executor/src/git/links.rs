//! Where a symlink of a tree leads, decided from names alone.
//!
//! A link that leaves its release would let a repository reach the files of
//! the host, or of another release, through a path that looks like its own.

use std::collections::{BTreeMap, VecDeque};

/// As the Linux kernel: more links than this in one path are a loop.
const LINKS_FOLLOWED_MAX: usize = 40;

/// Where a path leads once every symlink on the way is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    Inside,
    Outside,
    /// Round and round; the system refuses to follow it.
    Nowhere,
}

/// Whether the symlink at `path` (relative to the root of the tree) with this
/// `target` leaves the tree: an absolute target, or one whose `..` climb above
/// the root at any moment. Other symlinks are not looked at.
pub fn link_leaves(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = parts(path).count().saturating_sub(1);
    for part in parts(target) {
        if part != b".." {
            depth += 1;
        } else if depth == 0 {
            return true;
        } else {
            depth -= 1;
        }
    }
    false
}

/// Follows the symlink at `path` as the system would, through the other
/// symlinks of the tree (path to target).
pub(super) fn leads(path: &[u8], links: &BTreeMap<Vec<u8>, Vec<u8>>) -> Leads {
    let mut here: Vec<u8> = Vec::new();
    let mut ahead: VecDeque<&[u8]> = parts(path).collect();
    let mut followed = 0;
    while let Some(part) = ahead.pop_front() {
        if part == b".." {
            if here.is_empty() {
                return Leads::Outside;
            }
            pop(&mut here);
            continue;
        }
        push(&mut here, part);
        let Some(target) = links.get(&here) else {
            continue;
        };
        followed += 1;
        if target.starts_with(b"/") {
            return Leads::Outside;
        }
        if followed > LINKS_FOLLOWED_MAX {
            return Leads::Nowhere;
        }
        pop(&mut here);
        for part in parts(target).rev() {
            ahead.push_front(part);
        }
    }
    Leads::Inside
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

fn push(path: &mut Vec<u8>, part: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}

fn pop(path: &mut Vec<u8>) {
    let end = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    path.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn links_that_stay_and_links_that_leave() {
        for (path, target, leaves) in [
            ("a", "b", false),
            ("a", "/etc/passwd", true),
            ("a", "..", true),
            ("d/a", "..", false),
            ("d/a", "../..", true),
            ("d/a", "../b/../c", false),
            ("d/a", "x/../../../d/b", true),
            ("d/e/a", "./.././/../b", false),
            ("a", ".", false),
            ("a", "", false),
            ("a", "..b/...", false),
        ] {
            assert_eq!(
                link_leaves(path.as_bytes(), target.as_bytes()),
                leaves,
                "{path} -> {target}"
            );
        }
    }

    fn tree(links: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        links
            .iter()
            .map(|(p, t)| (p.as_bytes().to_vec(), t.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn two_innocent_links_can_leave_together() {
        // By its letters `l` stays inside; through `sub/up` it climbs out.
        let links = tree(&[("sub/up", ".."), ("l", "sub/up/../x")]);
        assert!(!link_leaves(b"sub/up", b"..") && !link_leaves(b"l", b"sub/up/../x"));
        assert_eq!(leads(b"sub/up", &links), Leads::Inside);
        assert_eq!(leads(b"l", &links), Leads::Outside);
    }

    #[test]
    fn a_loop_leads_nowhere() {
        let links = tree(&[("a", "b"), ("b", "a"), ("c", "c/x")]);
        for path in ["a", "b", "c"] {
            assert_eq!(leads(path.as_bytes(), &links), Leads::Nowhere);
        }
    }

    /// Walks with std's components, written differently from the real one.
    fn leaves_by_path(path: &str, target: &str) -> bool {
        use std::path::{Component, Path};
        let mut depth = Path::new(path).components().count() as i64 - 1;
        for part in Path::new(target).components() {
            match part {
                Component::RootDir | Component::Prefix(_) => return true,
                Component::ParentDir => depth -= 1,
                Component::CurDir => {}
                Component::Normal(_) => depth += 1,
            }
            if depth < 0 {
                return true;
            }
        }
        false
    }

    proptest! {
        #[test]
        fn agrees_with_paths(path in "[ab]{1,2}(/[ab]{1,2}){0,4}", target in "/?(\\.\\.|\\.|a|b|)(/(\\.\\.|\\.|a|b|)){0,7}") {
            prop_assert_eq!(link_leaves(path.as_bytes(), target.as_bytes()), leaves_by_path(&path, &target));
        }

        #[test]
        fn one_more_step_up_never_brings_a_link_back(path in "[ab](/[ab]){0,3}", target in "(\\.\\.|a)(/(\\.\\.|a)){0,6}") {
            if link_leaves(path.as_bytes(), target.as_bytes()) {
                let (further, higher) = (format!("{target}/a"), format!("../{target}"));
                prop_assert!(link_leaves(path.as_bytes(), further.as_bytes()));
                prop_assert!(link_leaves(path.as_bytes(), higher.as_bytes()));
            }
        }

        #[test]
        fn a_lone_link_leads_out_exactly_when_it_leaves(path in "[ab](/[ab]){0,3}", target in "(\\.\\.|c)(/(\\.\\.|c)){0,6}") {
            let links = tree(&[(&path, &target)]);
            let outside = leads(path.as_bytes(), &links) == Leads::Outside;
            prop_assert_eq!(outside, link_leaves(path.as_bytes(), target.as_bytes()));
        }

        #[test]
        fn any_set_of_links_ends(links in proptest::collection::btree_map("[ab](/[ab]){0,2}", "/?(\\.\\.|a|b)(/(\\.\\.|a|b)){0,3}", 0..6)) {
            let links: BTreeMap<Vec<u8>, Vec<u8>> = links.into_iter().map(|(p, t)| (p.into_bytes(), t.into_bytes())).collect();
            for path in links.keys() {
                leads(path, &links);
            }
        }
    }
}
