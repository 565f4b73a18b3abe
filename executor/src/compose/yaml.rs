//! Compose files as trees, for looking only.
//!
//! Compose reads them with a parser of its own (go.yaml.in/yaml), so what the
//! two read differently must be an error here. Merge keys stay ordinary keys and
//! [`Node::entries`] shows every key that a merge may bring, overridden or not.
//! Tags count for nothing: what `!reset` removes is still seen.
//!
//! `serde-saphyr` because it is kept, bounds aliases, depth and nodes by options,
//! and is safe Rust; `serde_yaml_ng` and `serde_norway` are quiet forks of the
//! archived `serde_yaml` over a libyaml translated to unsafe Rust, with fixed bounds.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::DuplicateKeyPolicy;
use serde_saphyr::options::{MergeKeyPolicy, NonFiniteFloatPolicy};

/// The largest compose files in the wild are some hundred KB.
pub(super) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What Compose itself visits at most, anchors unfolded.
const NODES_MAX: usize = 100_000;

/// Compose files are about ten deep.
const DEPTH_MAX: usize = 64;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Null,
    Text(String),
    /// A number or a truth value: never a path.
    Other,
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Node {
    /// Every entry of a map, with those that its merge keys bring. Nothing for
    /// what is no map.
    pub(super) fn entries(&self) -> Vec<(&str, &Self)> {
        let mut entries = Vec::new();
        self.collect(&mut entries);
        entries
    }

    /// Every value that a key of a map may have.
    pub(super) fn values(&self, key: &str) -> Vec<&Self> {
        self.entries().into_iter().filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
    }

    fn collect<'n>(&'n self, entries: &mut Vec<(&'n str, &'n Self)>) {
        let Self::Map(members) = self else { return };
        for (key, value) in members {
            match (key.as_str(), value) {
                ("<<", Self::List(merged)) => merged.iter().for_each(|node| node.collect(entries)),
                ("<<", merged) => merged.collect(entries),
                (key, value) => entries.push((key, value)),
            }
        }
    }
}

/// Reads every document of a file.
///
/// # Errors
///
/// A sentence with line and column: not YAML, a key twice, more than the limits
/// allow, or something that Compose may read otherwise.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    // A new line for the YAML 1.1 that Compose reads, a letter for YAML 1.2:
    // a key behind one of them would hide in a comment.
    if text.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return Err("it holds a line break that is none in newer YAML".to_owned());
    }
    // Directives change what tags mean, and tags what texts mean.
    if text.lines().any(|line| line.starts_with('%')) {
        return Err("it holds a YAML directive".to_owned());
    }
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| error.to_string())
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_depth: DEPTH_MAX,
            max_documents: 100,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        // As Compose: `yes` and `on` are texts.
        strict_booleans: true,
        // `.inf` is somebody's number, not an error of theirs.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of YAML")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    #[test]
    fn a_merge_hides_no_key() {
        let yaml = "a: &a {k: 1, l: of a}\nb: &b {<<: *a, l: of b}\nc:\n  <<: [*a, *b]\n  l: of c\n";
        let documents = parse(yaml).unwrap();
        let [document] = documents.as_slice() else { panic!("{documents:?}") };
        let [c] = document.values("c").try_into().unwrap();
        assert_eq!(c.values("l"), [&text("of a"), &text("of a"), &text("of b"), &text("of c")]);
    }

    #[test]
    fn tags_of_compose_are_looked_through() {
        let documents = parse("a: !reset null\nb: !override [x]\nc: !reset {d: e}\nf: !!binary L2V0Yw==\n").unwrap();
        let expected = [
            ("a", Node::Null),
            ("b", Node::List(vec![text("x")])),
            ("c", Node::Map(vec![("d".into(), text("e"))])),
            ("f", text("/etc")),
        ];
        assert_eq!(documents, [Node::Map(expected.map(|(key, node)| (key.to_owned(), node)).into())]);
    }

    #[test]
    fn every_document_is_read() {
        let count = |yaml| parse(yaml).map(|documents| documents.len());
        assert_eq!(count("a: 1\n---\nb: 2\n...\n---\nc: 3\n"), Ok(3));
        assert_eq!(count("# nothing\n"), Ok(0));
    }

    #[test]
    fn what_could_be_read_otherwise_is_an_error() {
        let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let large = format!("a: {}", "x".repeat(FILE_BYTES_MAX));
        for yaml in [
            "a: 1\na: 2\n",
            "a: {b: 1, b: 2}\n",
            "a: *nobody\n",
            "a: &a [*a]\n",
            "a: b: c\n",
            "# x\u{2028}include: [y]\n",
            "# x\u{85}include: [y]\n",
            "%TAG !e! tag:yaml.org,2002:\n---\na: !e!binary L2V0Yw==\n",
            &nested,
            &large,
        ] {
            assert!(parse(yaml).is_err(), "{}", yaml.escape_debug().take(60).collect::<String>());
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_an_error_and_not_memory() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
        }
        let error = parse(&bomb).unwrap_err();
        assert!(error.contains("alias replay limit exceeded"), "{error}");
    }
}
