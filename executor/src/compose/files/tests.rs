use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::compose::permission::Allow;

const RELEASE: &str = "/srv/shop/releases/7";

/// A file that Compose would never read while it resolves fails the test.
fn look_in(files: &[(&str, &str)], main: &[&str], words: &[&str]) -> Seen {
    let files: BTreeMap<PathBuf, &str> = files.iter().map(|(path, text)| (Path::new(RELEASE).join(path), *text)).collect();
    let read = |path: &Path| match files.get(path) {
        Some(text) => Ok((*text).to_owned()),
        None => Err(io::Error::from(ErrorKind::NotFound)),
    };
    let variable = |name: &str| [("STAGE", "prod"), ("REMOTE", "oci://x")].into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    let allow = Allow::parse(words).unwrap();
    let roots = [PathBuf::from("/srv/shop/data")];
    let main: Vec<_> = main.iter().map(PathBuf::from).collect();
    look(&main, Source { bounds: Bounds { release: Path::new(RELEASE), roots: &roots, allow: &allow }, read: &read, variable: &variable })
}

/// One main file, and what lies beside it.
fn look_at(compose: &str, beside: &[(&str, &str)], words: &[&str]) -> Seen {
    look_in(&[&[("compose.yaml", compose)], beside].concat(), &["compose.yaml"], words)
}

fn named(seen: &Seen) -> Vec<(String, String, Option<Permission>)> {
    seen.refusals.iter().map(|refusal| (refusal.place.to_string(), refusal.key.clone(), refusal.allow)).collect()
}

fn followed(seen: &Seen) -> Vec<&str> {
    let inside = |path: &'_ Path| path.strip_prefix(RELEASE).is_ok();
    assert!(seen.followed.iter().all(|path| inside(path)));
    seen.followed.iter().filter_map(|path| path.strip_prefix(RELEASE).ok()?.to_str()).collect()
}

/// What lies beside the compose files of the tables.
const BESIDE: [(&str, &str); 6] = [
    ("inc.yaml", "services: {}"),
    ("sub/inc.yaml", "services: {b: {env_file: ../../x.env}}"),
    ("sub/base.yaml", "services: {b: {env_file: x.env, label_file: [../y.label]}}"),
    ("sub/leaves.yaml", "services: {b: {env_file: ../../x.env}}"),
    ("vars/inc.yaml", "services: {b: {env_file: '${P:-x.env}'}}"),
    ("vars/.env", "P=/etc/shadow"),
];

/// A compose file, and the place, key and word of the one refusal.
const ATTACKS: [(&str, &str, &str, Permission); 46] = {
    use Permission::{OutsideFile, RemoteInclude};
    const FILE: &str = "file compose.yaml";
    const WEB: &str = "service web";
    [
        ("include: ['oci://docker.io/evil/x:1']", FILE, "include[0]", RemoteInclude),
        ("include: [inc.yaml, 'https://evil/x.git']", FILE, "include[1]", RemoteInclude),
        ("include: ['git@github.com:evil/x.git']", FILE, "include[0]", RemoteInclude),
        ("include: ['github.com/evil/x#main:c.yaml']", FILE, "include[0]", RemoteInclude),
        ("include: [{path: 'oci://x'}]", FILE, "include[0]", RemoteInclude),
        ("include: [{path: [inc.yaml, 'oci://x']}]", FILE, "include[0]", RemoteInclude),
        ("include: ['${X:-oci://x}']", FILE, "include[0]", RemoteInclude),
        ("include: [$REMOTE]", FILE, "include[0]", RemoteInclude),
        ("include: !override ['oci://x']", FILE, "include[0]", RemoteInclude),
        ("include: !!seq [!!binary b2NpOi8veA==]", FILE, "include[0]", RemoteInclude),
        ("\"\\x69nclude\": ['oci://x']", FILE, "include[0]", RemoteInclude),
        ("services: {}\n---\ninclude: ['oci://x']", FILE, "include[0]", RemoteInclude),
        ("x-a: &a {path: 'oci://x'}\ninclude: [{<<: *a, path: inc.yaml}]", FILE, "include[0]", RemoteInclude),
        ("x-a: &a {include: ['oci://x']}\n<<: *a\n", FILE, "include[0]", RemoteInclude),
        ("include: [/etc/x.yaml]", FILE, "include[0]", OutsideFile),
        ("include: [../8/compose.yaml]", FILE, "include[0]", OutsideFile),
        ("include: ['~/x.yaml']", FILE, "include[0]", OutsideFile),
        ("include: ['$HOME/x.yaml']", FILE, "include[0]", OutsideFile),
        ("include: ['${STAGE:+/etc/x.yaml}']", FILE, "include[0]", OutsideFile),
        ("include: [{path: inc.yaml, project_directory: /etc}]", FILE, "include[0].project_directory", OutsideFile),
        ("include: [{path: inc.yaml, env_file: /etc/shadow}]", FILE, "include[0].env_file", OutsideFile),
        ("include: [{path: inc.yaml, env_file: [a.env, ../../x]}]", FILE, "include[0].env_file", OutsideFile),
        ("include: [sub/inc.yaml]", "service b", "env_file", OutsideFile),
        ("include: [vars/inc.yaml]", "service b", "env_file", OutsideFile),
        ("include: [{path: vars/inc.yaml, project_directory: sub, env_file: a.env}]", "service b", "env_file", OutsideFile),
        ("services: {web: {env_file: /etc/shadow}}", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: [a.env, ../../../../etc/shadow]}}", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: [{path: /etc/shadow, required: false}]}}", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: '~root/x'}}", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: '${NOBODY}/x'}}", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: 'a$$b'}}", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: !reset /etc/shadow}}", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: !!binary L2V0Yy9zaGFkb3c=}}", WEB, "env_file", OutsideFile),
        ("x-a: &a {env_file: /etc/shadow}\nservices: {web: {<<: *a, env_file: a.env}}", WEB, "env_file", OutsideFile),
        ("x-a: &a {env_file: /etc/shadow}\nservices: {web: {<<: [{c: d}, *a]}}", WEB, "env_file", OutsideFile),
        ("x-s: &s {web: {env_file: /etc/shadow}}\nservices: *s", WEB, "env_file", OutsideFile),
        ("services: {web: {env_file: &e /etc/shadow}, db: {env_file: a.env, labels: [*e]}}", WEB, "env_file", OutsideFile),
        ("&k services: {web: {env_file: /etc/shadow}}", WEB, "env_file", OutsideFile),
        ("services: {web: {label_file: /etc/shadow}}", WEB, "label_file", OutsideFile),
        ("services: {web: {label_file: [/etc/shadow]}}", WEB, "label_file", OutsideFile),
        ("services: {web: {extends: {service: b, file: /etc/x.yaml}}}", WEB, "extends.file", OutsideFile),
        ("services: {web: {extends: {service: b, file: ../x.yaml}}}", WEB, "extends.file", OutsideFile),
        ("services: {web: {extends: {service: b, file: 'https://evil/x.git'}}}", WEB, "extends.file", RemoteInclude),
        ("services: {web: {extends: {service: b, file: 'github.com/evil/x'}}}", WEB, "extends.file", RemoteInclude),
        ("services: {web: {extends: {service: b, file: sub/leaves.yaml}}}", "service b", "env_file", OutsideFile),
        ("services: {web: {extends: {service: b, file: '${X}.yaml'}}}", WEB, "extends.file", OutsideFile),
    ]
};

#[test]
fn every_attack_is_refused_at_its_key() {
    for (compose, place, key, word) in ATTACKS {
        let expected = [(place.to_owned(), key.to_owned(), Some(word))];
        assert_eq!(named(&look_at(compose, &BESIDE, &[])), expected, "{compose}");
    }
}

#[test]
fn the_word_of_a_refusal_allows_it() {
    for (compose, place, _, word) in ATTACKS {
        let allowed = |word: &str| {
            let seen = look_at(compose, &BESIDE, &[word]);
            // What lies outside cannot be read here, and that is another matter.
            seen.refusals.into_iter().find(|refusal| refusal.allow.is_some())
        };
        assert_eq!(allowed(word.as_str()), None, "{compose}");
        assert!(allowed(&format!("other:{word}")).is_some(), "{compose}");
        if let Some(name) = place.strip_prefix("service ") {
            assert_eq!(allowed(&format!("{name}:{word}")), None, "{compose}");
        }
    }
}

/// A compose file, and the files that are followed from it.
#[test]
fn what_projects_do_every_day_is_no_attack() {
    let table: [(&str, &[&str]); 16] = [
        ("services: {web: {image: nginx}}", &[]),
        ("", &[]),
        ("# nothing\n---\nservices:\n", &[]),
        ("services: {web: {env_file: .env}, db: {env_file: [a.env, {path: ./b.env, required: false}], label_file: c.label}}", &[]),
        ("services: {web: {env_file: 'env/${STAGE}.env'}, db: {env_file: '$STAGE/${WHO:-nobody}.env'}}", &[]),
        ("services: {web: {env_file: /srv/shop/data/secret.env}}", &[]),
        ("services: {web: {env_file: on}}", &[]),
        ("include: [{path: vars/inc.yaml, project_directory: sub}]", &["vars/inc.yaml"]),
        ("services: {web: {env_file: [/srv/shop/releases/7/sub/../a.env]}}", &[]),
        ("include: [inc.yaml]\nservices: {web: {extends: db}}", &["inc.yaml"]),
        ("include:\n- path: [inc.yaml, ./inc.yaml]\n  project_directory: ./sub\n  env_file: [/dev/null, a.env]\n", &["inc.yaml"]),
        ("include: [{path: sub/inc.yaml, project_directory: deep/er}]", &["sub/inc.yaml"]),
        ("services: {web: {extends: {service: b, file: sub/base.yaml}}}", &["sub/base.yaml"]),
        ("x-web: &w {env_file: a.env}\nservices: {web: {<<: *w, command: ['echo', '$$HOME!!', 'https://x']}}", &[]),
        ("services: {web: {ports: !override ['80:80'], env_file: !reset null, extends: !reset {service: b}}}", &[]),
        ("services: {web: {environment: {A: .inf, B: 0o7, C: 2001-01-01, on: yes, 5: ~}, healthcheck: {retries: 3}}}\nx-anything: [1, {include: ['oci://x']}]", &[]),
    ];
    for (compose, files) in table {
        let seen = look_at(compose, &BESIDE, &[]);
        assert_eq!(named(&seen), [], "{compose}");
        let mut expected = [&["compose.yaml"], files].concat();
        expected.sort_unstable();
        assert_eq!(followed(&seen), expected, "{compose}");
    }
}

#[test]
fn what_cannot_be_understood_cannot_be_allowed() {
    let words = Permission::ALL.map(Permission::as_str);
    for (compose, place, key) in [
        ("a: b: c", "file compose.yaml", "file"),
        ("- services", "file compose.yaml", "file"),
        ("services: {}\nservices: {}", "file compose.yaml", "file"),
        ("a: &a [*a]", "file compose.yaml", "file"),
        ("# x\u{2028}include: ['oci://x']", "file compose.yaml", "file"),
        ("include: inc.yaml", "file compose.yaml", "include"),
        ("include: [5]", "file compose.yaml", "include[0]"),
        ("include: [[inc.yaml, [inc.yaml]]]", "file compose.yaml", "include[0]"),
        ("include: [{path: {path: inc.yaml}}]", "file compose.yaml", "include[0]"),
        ("include: [gone.yaml]", "file gone.yaml", "file"),
        ("services: [web]", "file compose.yaml", "services"),
        ("services: {web: x}", "service web", "services"),
        ("services: {web: {env_file: 5}}", "service web", "env_file"),
        ("services: {web: {env_file: [{path: [x]}]}}", "service web", "env_file"),
        ("services: {web: {extends: [b]}}", "service web", "extends"),
    ] {
        let seen = look_at(compose, &BESIDE, &words);
        assert_eq!(named(&seen), [(place.to_owned(), key.to_owned(), None)], "{compose}");
    }
}

#[test]
fn a_file_full_of_faults_is_not_listed_to_the_end() {
    let services: Vec<_> = (0..5000).map(|number| format!("s{number}: {{env_file: /etc/x}}")).collect();
    let seen = look_at(&format!("services: {{{}}}", services.join(", ")), &[], &[]);
    assert_eq!(seen.refusals.len(), REFUSALS_MAX);
}

#[test]
fn a_bomb_is_refused() {
    let mut bomb = String::from("x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    for level in 1..20 {
        writeln!(bomb, "x{level}: &x{level} [{}]", format!("*x{}, ", level - 1).repeat(10)).unwrap();
    }
    let seen = look_at(&bomb, &[], &[]);
    assert_eq!(named(&seen), [("file compose.yaml".to_owned(), "file".to_owned(), None)]);
}

#[test]
fn relative_paths_start_where_compose_starts_them() {
    // The main files share the folder of the first one.
    let files = [
        ("apps/shop/compose.yaml", "include: [inc/a.yaml]\nservices: {web: {env_file: ../x.env}}"),
        ("apps/override.yaml", "services: {web: {env_file: ../../y.env}}"),
        ("apps/shop/inc/a.yaml", "include: [{path: b.yaml, project_directory: ../../..}]"),
        ("apps/shop/inc/b.yaml", "services: {b: {env_file: z.env, extends: {file: apps/base/c.yaml, service: c}}}"),
        ("apps/base/c.yaml", "services: {c: {env_file: ../../../out.env}}"),
    ];
    let seen = look_in(&files, &["apps/shop/compose.yaml", "apps/override.yaml"], &[]);
    assert_eq!(named(&seen), [("service c".to_owned(), "env_file".to_owned(), Some(Permission::OutsideFile))]);
    assert_eq!(seen.followed.len(), files.len());
    // By itself the override starts in its own folder, and leaves.
    let seen = look_in(&files, &["apps/override.yaml"], &[]);
    assert_eq!(named(&seen), [("service web".to_owned(), "env_file".to_owned(), Some(Permission::OutsideFile))]);
}

#[test]
fn a_main_file_outside_is_refused() {
    for main in ["../8/compose.yaml", "/etc/compose.yaml"] {
        let seen = look_in(&[], &[main], &[]);
        assert_eq!(seen.refusals.iter().map(|refusal| refusal.allow).collect::<Vec<_>>(), [Some(Permission::OutsideFile)], "{main}");
        assert_eq!(seen.followed, BTreeSet::new());
    }
}

#[test]
fn circles_end() {
    let seen = look_at("include: [a.yaml]", &[("a.yaml", "include: [compose.yaml, a.yaml]\nservices: {a: {extends: {file: a.yaml, service: a}}}")], &[]);
    assert_eq!(named(&seen), []);
    assert_eq!(followed(&seen), ["a.yaml", "compose.yaml"]);
    // Round and round, each time from another folder.
    let seen = look_at("include: [{path: compose.yaml, project_directory: x}]", &[("x/compose.yaml", "include: [{path: ../compose.yaml, project_directory: x}]")], &[]);
    assert!(seen.refusals.iter().all(|refusal| refusal.allow.is_none()), "{seen:?}");
}

#[test]
fn there_is_an_end_to_width_and_depth() {
    let names: Vec<_> = (0..=FILES_MAX).map(|number| format!("f{number}.yaml")).collect();
    let many = format!("include: [{}]", names.join(", "));
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "services: {}")).collect();
    let seen = look_at(&many, &files, &[]);
    assert_eq!(named(&seen), [("the compose project".to_owned(), "include".to_owned(), None)]);
    assert_eq!(seen.followed.len(), FILES_MAX);

    let chain: Vec<_> = (0..30).map(|number| (format!("f{number}.yaml"), format!("include: [f{}.yaml]", number + 1))).collect();
    let files: Vec<_> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let seen = look_at("include: [f0.yaml]", &files, &[]);
    assert_eq!(named(&seen), [("file f20.yaml".to_owned(), "include".to_owned(), None)]);
}

/// What the host's file allows to be read is looked at as well.
#[test]
fn an_allowed_file_outside_is_followed() {
    let files = [("compose.yaml", "include: [/etc/shared.yaml]"), ("/etc/shared.yaml", "include: ['oci://x']")];
    let seen = look_in(&files, &["compose.yaml"], &["outside_file"]);
    assert_eq!(named(&seen), [("file /etc/shared.yaml".to_owned(), "include[0]".to_owned(), Some(Permission::RemoteInclude))]);
}

#[test]
fn symlinks_are_followed() {
    let outside = tempfile::tempdir().unwrap();
    let base = tempfile::tempdir().unwrap();
    let release = fs::canonicalize(base.path()).unwrap();
    fs::write(outside.path().join("x.yaml"), "services: {}").unwrap();
    fs::create_dir(release.join("sub")).unwrap();
    fs::write(release.join("sub/inc.yaml"), "services: {b: {env_file: x.env}}").unwrap();
    symlink(outside.path(), release.join("out")).unwrap();
    symlink(outside.path().join("x.yaml"), release.join("x.yaml")).unwrap();
    symlink("sub/inc.yaml", release.join("link.yaml")).unwrap();
    let look_with = |compose: &str| {
        fs::write(release.join("compose.yaml"), compose).unwrap();
        let bounds = Bounds { release: &release, roots: &[], allow: &Allow::default() };
        look(&["compose.yaml".into()], Source { bounds, read: &|path| fs::read_to_string(path), variable: &|_| None })
    };
    for (compose, word) in [
        ("include: [link.yaml]", None),
        ("services: {web: {env_file: sub/x.env}}", None),
        ("include: [x.yaml]", Some(Permission::OutsideFile)),
        ("include: [out/x.yaml]", Some(Permission::OutsideFile)),
        ("include: [{path: sub/inc.yaml, project_directory: out}]", Some(Permission::OutsideFile)),
        ("services: {web: {env_file: out/x.env}}", Some(Permission::OutsideFile)),
        ("services: {web: {env_file: sub/../out/x.env}}", Some(Permission::OutsideFile)),
        ("services: {web: {extends: {service: b, file: x.yaml}}}", Some(Permission::OutsideFile)),
    ] {
        let seen = look_with(compose);
        assert_eq!(seen.refusals.iter().filter_map(|refusal| refusal.allow).collect::<Vec<_>>(), Vec::from_iter(word), "{compose}");
    }
    // Compose reads the `.env` beside the first file, whatever it is.
    symlink(outside.path().join("secrets"), release.join(".env")).unwrap();
    let keys: Vec<_> = look_with("services: {}").refusals.into_iter().map(|refusal| (refusal.key, refusal.allow)).collect();
    assert_eq!(keys, [(".env".to_owned(), Some(Permission::OutsideFile))]);
}
