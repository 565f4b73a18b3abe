//! Compose files that ask for the host: each is refused with its reason before
//! anything of it is built, pulled or started, as real Compose resolves it.

use doorstep_tests::{App, Docker, Shop, Terms, told::end, told::message};

/// What is put into the file, in place of the first `restart` of `web`; and what
/// the refusal says.
const ATTACKS: [(&str, &[&str]); 20] = [
    ("privileged: true", &["web", "privileged"]),
    ("network_mode: host", &["web", "network_mode"]),
    ("pid: host", &["web", "pid"]),
    ("ipc: host", &["web", "ipc"]),
    ("uts: host", &["web", "uts"]),
    ("userns_mode: host", &["web", "userns_mode"]),
    ("cgroup: host", &["web", "cgroup"]),
    ("devices: [\"/dev/mem:/dev/mem\"]", &["web", "devices"]),
    ("volumes: [\"/var/run/docker.sock:/var/run/docker.sock\"]", &["web", "volumes", "docker_socket"]),
    ("volumes: [\"/:/host\"]", &["web", "volumes"]),
    ("volumes: [\"/etc/shadow:/shadow:ro\"]", &["web", "volumes", "bind"]),
    ("volumes: [\"../../../..:/up\"]", &["web", "volumes"]),
    ("cap_add: [SYS_ADMIN]", &["web", "cap_add"]),
    ("security_opt: [\"seccomp=unconfined\"]", &["web", "security_opt"]),
    ("env_file: /etc/passwd", &["web", "env_file"]),
    ("extends: {file: /etc/compose.yaml, service: x}", &["web", "extends"]),
    ("volumes_from: [\"container:somebody\"]", &["web", "volumes_from"]),
    ("runtime: kata", &["web", "runtime"]),
    ("cgroup_parent: /", &["web", "cgroup_parent"]),
    ("secrets: [{source: shadow, target: x}]\nsecrets: {shadow: {file: /etc/shadow}}\nx-rest:\n  y:\n    z: 1", &["shadow", "file"]),
];

fn attack(shop: &Shop, lines: &str) -> App {
    let app = shop.composed("bad");
    let text = app.text("compose.yaml").to_owned();
    if let Some((service, rest)) = lines.split_once('\n') {
        let top: String = rest.lines().take(1).map(|line| format!("{line}\n")).collect();
        return app.file("compose.yaml", &format!("{}{top}", text.replacen("restart: unless-stopped", service, 1)));
    }
    app.file("compose.yaml", &text.replacen("restart: unless-stopped", lines, 1))
}

#[tokio::test]
async fn what_asks_for_the_host_is_refused_and_says_why() {
    let Some((mut shop, docker)) = Shop::open_composed(Terms::composed).await else { return };
    let (web, side) = (docker.id("shop-web-1"), docker.id("shop-side-1"));
    for (lines, words) in ATTACKS {
        let run = shop.push_and_see(&attack(&shop, lines)).await;
        assert_eq!(end(&run), ["refused", "policy", "config"], "{lines}: {run:#}");
        for word in words {
            assert!(message(&run).contains(word), "{lines}: {word} is not in {}", message(&run));
        }
    }
    let remote = shop.composed("bad").with_compose("services:", "include: [\"oci://nowhere.invalid/x:1\"]\nservices:");
    let run = shop.push_and_see(&remote).await;
    assert_eq!(end(&run), ["refused", "policy", "config"], "{run:#}");
    assert!(message(&run).contains("include"), "{}", message(&run));
    // A link that leads out of the release is refused before.
    assert_eq!((docker.id("shop-web-1"), docker.id("shop-side-1")), (web, side));
    shop.serves("1").await;
}

#[tokio::test]
async fn what_the_hosts_file_allows_is_applied_as_it_is_written() {
    let allowing = |docker: &Docker| Terms { compose: Some("serves = \"web:8000\"\nallow = [\"web:capabilities\", \"side:host_pid\"]".into()), ..Terms::composed(docker) };
    let Some((mut shop, docker)) = Shop::open_composed(allowing).await else { return };
    let app = shop
        .composed("2")
        .with_compose("restart: unless-stopped", "restart: unless-stopped\n    cap_add: [SYS_ADMIN]\n    environment: {PRICE: \"5$$\", GREETING: \"${GREETING:-hello}\"}\n    labels: {traefik.enable: \"true\"}\n    env_file: web.env")
        .with_compose("image: base:1", "image: base:1\n    pid: host\n    profiles: [never]")
        .file("web.env", "FROM_FILE=yes\n")
        .file(".env", "GREETING=ahoy\n");
    let run = shop.push_and_see(&app).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
    let web = docker.inspect("shop-web-1");
    let env = web["Config"]["Env"].to_string();
    for pair in ["PRICE=5$", "GREETING=ahoy", "FROM_FILE=yes"] {
        assert!(env.contains(&format!("\"{pair}\"")), "{pair}: {env}");
    }
    assert_eq!(web["Config"]["Labels"]["traefik.enable"], "true");
    assert_eq!(docker.containers(), ["shop-web-1"], "a profile that is not active");
    let run = shop.push_and_see(&shop.composed("3").with_compose("restart: unless-stopped", "pid: host")).await;
    assert_eq!(end(&run), ["refused", "policy", "config"], "another service is allowed it: {run:#}");
}
