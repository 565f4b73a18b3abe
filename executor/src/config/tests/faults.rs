//! What wrong files are told.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::{FILE_BYTES_MAX, parse};
use super::{SHOP, read, report, shop_and};

#[test]
fn every_fault_is_in_one_report_in_the_order_of_the_file() {
    let text = r#"edge = "doorstep.example"
colour = "red"

[policy]
remote = ["deploy", "deplot", 3]

[project.shop]
repo = "https://me:hunter2@github.com/me/shop"
brnch = "main"
  dir = "srv"
[project.shop.process]
command = []
stop = { signal = "KILL", grace = "1.5s" }
[project.shop.health]
http = "/health"
good = 0

[project.Media]
repo = 7
"#;
    let expected = [
        "f:1:8: `edge`: expected a URL that starts with https:// or http://",
        "f:2:1: unknown key `colour` in the file",
        "f:5:21: in `remote`: \"deplot\" is none of \"fetch\", \"deploy\", \"restart\", \"stop\", \"start\", \"rebuild\", \"rollback\", \"logs\"; did you mean `deploy`?",
        "f:5:31: expected a string, found a whole number",
        "f:8:8: `repo`: no user or password may stand in a URL; put the token in a file and name it in `token_file`",
        "f:9:1: unknown key `brnch` in [project.shop]; did you mean `branch`?",
        "f:10:9: `dir`: an absolute path, such as \"/srv/shop\", is needed",
        "f:12:11: `command` is an empty list; leave it out or name something",
        "f:13:19: `signal`: \"KILL\" is none of \"TERM\", \"INT\", \"QUIT\", \"HUP\", \"USR1\", \"USR2\"",
        "f:13:35: `grace`: a duration is a whole number and one of ms, s, m, h, such as \"30s\" or \"1500ms\"",
        "f:16:8: `good` is a whole number from 1 to 1000",
        "f:18:10: Media is no name for a project: use at most 63 of a-z, 0-9, `.`, `_`, `-`, a letter or digit first",
        "f:19:8: expected a string, found a whole number",
    ];
    assert_eq!(report(text), expected);
}

/// Texts with syntax faults, and whole reports on them.
#[rustfmt::skip]
const BROKEN: &[(&str, &[&str])] = &[
    (
        "edge = \nbrnch 3\n[project.shop]\nrepo = '/a'\nrepo = '/b'\nbrunch = 'x'\nbranch = x y\n[project.shop]\n",
        &[
            "f:1:8: not valid TOML: string values must be quoted, expected literal string",
            "f:2:7: not valid TOML: key with no value, expected `=`",
            "f:5:1: `repo` is there twice",
            "f:6:1: unknown key `brunch` in [project.shop]; did you mean `branch`?",
            "f:7:10: not valid TOML: string values must be quoted, expected literal string",
            "f:8:10: `shop` is there twice",
        ],
    ),
    (
        "[project.shop\nrepo='-'\n[policy]\nremote = ['deploy'\n[project.b]\nrepo='-'\n",
        &[
            "f:1:14: not valid TOML: unclosed table, expected `]`",
            "f:4:19: not valid TOML: unclosed array, expected `]`",
            "f:6:6: `repo`: not a git origin: it is empty, starts with `-` or holds a control character",
        ],
    ),
    (
        "[project.a]\npaths = [\n 'a',\n 'b'\n[project.b]\nx=1\n[c]\nfoo bar\n",
        &[
            "f:4:5: not valid TOML: unclosed array, expected `]`",
            "f:6:1: unknown key `x` in [project.b]",
            "f:7:2: unknown key `c` in the file; a project is written: [project.c]",
            "f:8:5: not valid TOML: key with no value, expected `=`",
        ],
    ),
    (
        "[project.b.process]\nstop = { grace = '1s'\n[project.c]\nx=1\n[project.d]\nbranch = \"main\nfoo='x'\n",
        &[
            "f:2:22: not valid TOML: unclosed inline table, expected `}`",
            "f:4:1: unknown key `x` in [project.c]",
            "f:6:15: not valid TOML: invalid basic string, expected `\"`",
            "f:7:1: unknown key `foo` in [project.d]",
        ],
    ),
    (
        "process = 1\n[project.b]\nbranch = 'a..b'\nstop = { x = 1, x = 2, y = 3 }\n",
        &[
            "f:1:1: unknown key `process` in the file",
            "f:3:10: `branch`: not a branch name: it holds `..`, `@{` or `//`",
            "f:4:1: unknown key `stop` in [project.b]; it belongs in [project.b.process]",
            "f:4:17: `x` is there twice",
        ],
    ),
    // Nothing is called missing in a file that could not be read.
    (
        "[project.shop]\nrepo : '/x'\n[project.b.process]\n",
        &["f:2:6: not valid TOML: key with no value, expected `=`"],
    ),
];

#[test]
fn syntax_faults_are_told_apart_and_stand_beside_the_others() {
    for (text, expected) in BROKEN {
        assert_eq!(report(text), *expected, "{text}");
    }
}

/// Lines after `SHOP`, hence from line 3, and the one fault they make.
#[rustfmt::skip]
const ONE_FAULT: &[(&str, &str)] = &[
    ("token = 'hunter2'", "3:1: `token` in [project.shop] looks like a secret, and this file holds none; a git token goes in DOORSTEP_PROJECT_SHOP_TOKEN"),
    ("password = 'hunter2'", "3:1: `password` in [project.shop] looks like a secret"),
    ("[token]", "3:2: `token` in the file looks like a secret, and this file holds none; it goes in the environment"),
    ("process = { command=['x'], env={ DB_PASSWORD='hunter2' } }", "3:34: `DB_PASSWORD` looks like a secret"),
    ("process = { command=['x'], env={ 'A B'='x' } }", "3:34: `A B` is no name"),
    ("process = { command=['x'], env={ A=1 } }", "3:36: expected a string, found a whole number"),
    ("process = 'x'", "3:11: expected a table, found a string"),
    ("process = { listen='127.0.0.1:80' }", "3:11: [project.shop.process] needs `command`"),
    ("process = { command='x' }", "3:21: expected a list, found a string"),
    ("process = { command=['x', ''] }", "3:27: in `command`: an empty string"),
    ("process = { command=[1.5] }", "3:22: expected a string, found a decimal number"),
    ("process = { command=['x'], listen='shop.lan:80' }", "3:35: `listen`: the host of `listen` is an IP"),
    ("process = { command=['x'], stop={ grace=30 } }", "3:41: expected a string, found a whole number"),
    ("process = { command=['x'], stop={ grace='2h' } }", "3:41: `grace`: the duration is from 0s to 1h"),
    ("process = { command=['x'], stop={ signal='SIGTERM' } }", "3:42: `signal`: \"SIGTERM\" is none of"),
    ("process = { command=['x'] }\ncompose = {}", "4:11: [project.shop] has both `process` and `compose`"),
    ("process = { command=['x'] }\nsystemd.unit = 'shop.service'", "4:1: [project.shop] has both `process` and `systemd`"),
    ("systemd.unit = 'shop'\ncompose = {}", "4:11: [project.shop] has both `systemd` and `compose`"),
    ("systemd = {}", "3:11: [project.shop.systemd] needs `unit`, the service that runs the app"),
    ("systemd.unit = 'shop.timer'", "3:16: `unit`: not the name of a service"),
    ("systemd.unit = '--all'", "3:16: `unit`: not the name of a service"),
    ("systemd.unit = 'a/b.service'", "3:16: `unit`: not the name of a service"),
    ("systemd = { unit='shop', manager='root' }", "3:34: `manager`: \"root\" is none of"),
    ("systemd.unit = 'shop'\nhealth = { http='/' }", "4:17: this check needs a port"),
    ("listen = '127.0.0.1:80'", "3:1: unknown key `listen` in [project.shop]; it belongs in [project.shop.compose] or [project.shop.process]"),
    ("health = {}", "3:10: [project.shop.health] needs one of `http`, `tcp`, `command`"),
    ("health = { http='/' }", "3:17: this check needs a port of the release: give [project.shop.process]"),
    ("health = { tcp='localhost:{port}' }", "3:16: this check needs a port"),
    ("process.command=['x']\nhealth = { http='/' }", "4:17: this check needs a port"),
    ("health = { http='http://x/', tcp='x:1' }", "3:10: [project.shop.health] has more than one"),
    ("health = { tcp='x:1', good=1001 }", "3:28: `good` is a whole number from 1 to 1000"),
    ("health = { tcp='x:1', good=99999999999999999999 }", "3:28: `good` is a whole number"),
    ("health = { tcp='x:1', good='3' }", "3:28: expected a whole number, found a string"),
    ("health = { tcp='x:1', interval='0ms' }", "3:32: `interval`: the duration is from 1ms to 1h"),
    ("health = { tcp='x:1', within='61m' }", "3:30: `within`: the duration is from 1ms to 1h"),
    ("health = { tcp='x:1', interval='2m' }", "3:32: `interval`: longer than `within`, which is 1m"),
    ("health = { tcp='x:1', interval='2m', within='1d' }", "3:45: `within`: a duration is"),
    ("health = { tcp='x:1', statsu=200 }", "3:23: unknown key `statsu` in [project.shop.health]; did you mean `status`?"),
    ("python.sync = 'lock'", "3:15: `sync`: \"lock\" is none of \"locked\", \"upgrade\"; did you mean `locked`?"),
    ("compose.file = '../x'", "3:16: `file`: a path holds no `..`"),
    ("compose.services = ['-x']", "3:21: in `services`: a service is named"),
    ("compose = { file='a.yaml', files=['b.yaml'] }", "3:11: [project.shop.compose] has both `file` and `files`"),
    ("compose.listen = '127.0.0.1:80'", "3:18: `listen` leads to a service"),
    ("compose.serves = 'web'", "3:18: `serves`: a service and its port"),
    ("compose.name = 'Shop'", "3:16: `name`: a compose project is named"),
    ("compose.binds = ['media']", "3:18: in `binds`: an absolute path"),
    ("compose = {}\nhealth = { http='/' }", "4:17: this check needs a port"),
    ("command.build = ['make']", "3:18: expected a list, found a string"),
    ("command.build = [['make'], []]", "3:28: `build` is an empty list"),
    ("command.reload = []", "3:18: `reload` is an empty list"),
    ("branch = 'a..b'", "3:10: `branch`: not a branch name"),
    ("branch = 2024-01-01", "3:10: expected a string, found a date"),
    ("branch = true", "3:10: expected a string, found a boolean"),
    ("branch = \"a\\u0000b\"", "3:10: a string holds no NUL character"),
    ("paths = []", "3:9: `paths` is an empty list"),
    ("paths = ['ok', '/x']", "3:16: in `paths`: "),
    ("token_file = 'x/'", "3:14: `token_file`: this names a directory"),
    ("env_file = ''", "3:12: `env_file`: a path is neither empty"),
    ("policy.remote = ['exec']", "3:18: in `remote`: \"exec\" is none of"),
    ("policy.local = []", "3:8: unknown key `local` in [project.shop.policy]"),
    ("[project.shop.helth]\ntcp='x:1'", "3:15: unknown key `helth` in [project.shop]; did you mean `health`?"),
    ("[project.my.app]\nrepo='/x'", "3:13: unknown key `app` in [project.my]; a name with a dot stands in quotes: [project.\"my.app\"]"),
    ("[web]\nx=1", "3:2: unknown key `web` in the file; a project is written: [project.web]"),
    ("[projects.x]", "3:2: unknown key `projects` in the file; did you mean `project`?"),
    ("[[project.b]]\nrepo='/x'", "3:1: expected a table, found a list"),
    ("[project.b]", "3:1: [project.b] needs `repo`, the git origin"),
    ("[project.b]\nrepo='--upload-pack=x'", "4:6: `repo`: not a git origin"),
    ("branch = 'main'\r\n\tbrnch = 'ü'", "4:2: unknown key `brnch`"),
    ("process = { command = ['ü'], lisen = '' }", "3:30: unknown key `lisen` in [project.shop.process]; did you mean `listen`?"),
    ("\"\\u001b[2J\" = 1", "3:1: unknown key `\\u{1b}[2J` in [project.shop]"),
    ("branch = \"a\0b\"", "3:12: not valid TOML"),
    ("branch = 'x'\nbranch = 'y'", "4:1: `branch` is there twice"),
];

#[test]
fn each_fault_has_its_place_and_its_meaning() {
    let mut wrong = Vec::new();
    for (lines, expected) in ONE_FAULT {
        let report: Vec<String> = report(&shop_and(lines))
            .into_iter()
            .filter(|line| !line.contains("[project.my] needs `repo`"))
            .collect();
        let expected = format!("f:{expected}");
        let right = report.len() == 1 && report[0].starts_with(&expected);
        if !right || report[0].contains("hunter2") {
            wrong.push(format!("{lines}\n  expected {expected}\n  got {report:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn two_projects_share_neither_address_nor_directory() {
    let text = "\
[project.b]
repo = '/x'
dir = '/srv/b/'
process = { command = ['x'], listen = 'localhost:80' }
[project.a]
repo = '/x'
dir = '/srv//b'
process = { command = ['x'], listen = '0.0.0.0:80' }
[project.c]
repo = '/x'
dir = '/srv/b/c'
";
    let expected = [
        "f:7:7: `dir`: /srv/b is also the directory of the project b (here: a)",
        "f:8:39: `listen`: 0.0.0.0:80 collides with 127.0.0.1:80 of the project b (here: a)",
        "f:11:7: `dir`: one inside the other, with /srv/b of the project a (here: c)",
        "f:11:7: `dir`: one inside the other, with /srv/b of the project b (here: c)",
    ];
    assert_eq!(report(text), expected);
}

#[test]
fn limits_are_kept() {
    let long = "x".repeat(4 * 1024);
    assert!(read(&shop_and(&format!("env_file = '{long}'"))).is_ok());
    let longer = report(&shop_and(&format!("env_file = '{long}x'")));
    assert_eq!(longer, ["f:3:12: a string is at most 4096 bytes long"]);

    let globs = |n: usize| shop_and(&format!("paths = [{}]", "'a',".repeat(n)));
    assert!(read(&globs(64)).is_ok());
    assert_eq!(
        report(&globs(65)),
        ["f:3:9: `paths` has more than 64 items"]
    );

    let projects = |n: usize| {
        (0..n).fold(String::new(), |mut text, i| {
            let _ = writeln!(text, "[project.p{i}]\nrepo = '/x'");
            text
        })
    };
    assert_eq!(read(&projects(200)).unwrap().projects.len(), 200);
    assert_eq!(
        report(&projects(201)),
        ["f:1:2: there are more than 200 projects"]
    );

    let padded = format!("{SHOP}#{}", "x".repeat(FILE_BYTES_MAX - SHOP.len() - 1));
    assert!(read(&padded).is_ok());
    assert_eq!(
        report(&(padded + "x")),
        ["f: the file is larger than 1048576 bytes"]
    );
}

#[test]
fn hostile_texts_are_refused_quickly_and_in_a_bounded_report() {
    // Not the largest text: a debug build of the TOML parser is slow.
    let size = FILE_BYTES_MAX / 4;
    let many = size / 4;
    for text in [
        "a".repeat(size),
        "=".repeat(size),
        "\n=".repeat(size / 2),
        "[".repeat(size),
        "\0".repeat(size),
        "a.".repeat(size / 2),
        "[a]\n".repeat(many),
        "x=1\n".repeat(many),
        format!("edge = {}", "[".repeat(many)),
        format!("edge = {}", "{a=".repeat(many)),
        format!("policy.remote = [{}]", "1,".repeat(many)),
        format!("policy.remote = [{}]", "'a',".repeat(many - 10)),
        format!(
            "[project.shop.process.env]\n{}",
            (0..20_000).fold(String::new(), |t, i| t + &format!("{i}=1\n"))
        ),
        format!("[project.{}]\n", "x".repeat(size - 20)),
        "\u{feff}\u{feff}x".to_owned(),
        "edge = \"\"\"".to_owned(),
        "\u{202e}".to_owned(),
        "[project.x]\nrepo = \"\\u0000\"".to_owned(),
        "[project]\nproject = 1".to_owned(),
        "project = []".to_owned(),
        "policy = [[]]".to_owned(),
    ] {
        let report = report(&text);
        assert!((1..=201).contains(&report.len()));
        let longest = report.iter().map(String::len).max().unwrap_or(0);
        assert!(longest < 1_000, "{}", &report[0][..200]);
    }
}

/// Pieces that lead further into the reader than noise does.
const PIECES: &[&str] = &[
    "[project.a]\n",
    "[project.b.process]\n",
    "[project.a.health]\n",
    "[policy]\n",
    "repo = ",
    "dir = ",
    "listen = ",
    "command = ",
    "http = ",
    "stop = ",
    "{ grace = ",
    " }",
    "[",
    "]",
    "\"",
    "'",
    "\n",
    "\r\n",
    "= ",
    "1",
    "-0x",
    "/x",
    "127.0.0.1:80",
    "https://",
    "@",
    "{port}",
    "\u{feff}",
    "\0",
    "ü",
    "\"\"\"",
    ".",
    ",",
    "remote",
    "[[project.a]]\n",
    "10ms",
    "::",
    "# ",
    "env = ",
];

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), value in any::<String>()) {
        let _ = parse(&text, "f", &|_| Some(value.clone()), &[]);
    }

    #[test]
    fn almost_right_text_never_panics(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60),
        value in prop::option::of("[\\[\\]\"a-z0-9,:/{}]{0,12}"),
    ) {
        let text = pieces.concat();
        let names = ["DOORSTEP_PROJECT_A_X".to_owned()];
        if let Err(faults) = parse(&text, "f", &|_| value.clone(), &names) {
            prop_assert!(!faults.list.is_empty());
            prop_assert!(!faults.to_string().is_empty());
        }
    }
}
