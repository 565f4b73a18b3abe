use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;
use Permission as P;

const RELEASE: &str = "/srv/shop/releases/7";

/// What is refused, as a person would name it: place, key, word.
type Named = (String, String, Option<Permission>);

fn refusals_in(model: &Value, release: &Path, words: &[String]) -> Vec<Refusal> {
    let roots = [PathBuf::from("/srv/shop/data"), PathBuf::from("/mnt/media")];
    check(model, &Bounds { release, roots: &roots, allow: &Allow::parse(words).unwrap() })
}

fn refusals(model: &Value, words: &[&str]) -> Vec<Refusal> {
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    refusals_in(model, Path::new(RELEASE), &words)
}

fn named(refusals: &[Refusal]) -> Vec<Named> {
    refusals.iter().map(|refusal| (refusal.place.to_string(), refusal.key.clone(), refusal.allow)).collect()
}

/// A service called web with these keys.
fn web(keys: Value) -> Value {
    json!({ "name": "shop", "services": { "web": keys } })
}

fn mount(mount: Value) -> Value {
    web(json!({ "volumes": [mount] }))
}

fn bind(source: &str) -> Value {
    mount(json!({ "type": "bind", "source": source, "target": "/x", "bind": {} }))
}

fn build(keys: Value) -> Value {
    web(json!({ "build": keys }))
}

fn volume(keys: Value) -> Value {
    json!({ "services": {}, "volumes": { "cache": keys } })
}

fn network(keys: Value) -> Value {
    json!({ "services": {}, "networks": { "lan": keys } })
}

/// Model, place, key, and the words that allow it: one refusal for each.
type Attack = (Value, &'static str, &'static str, &'static [Permission]);

fn attacks_by_keys() -> Vec<Attack> {
    const WEB: &str = "service web";
    vec![
        (web(json!({ "privileged": true })), WEB, "privileged", &[P::Privileged]),
        (web(json!({ "privileged": "false" })), WEB, "privileged", &[P::Privileged]),
        (web(json!({ "privileged": 0 })), WEB, "privileged", &[P::Privileged]),
        (web(json!({ "use_api_socket": true })), WEB, "use_api_socket", &[P::DockerSocket]),
        (web(json!({ "oom_kill_disable": true })), WEB, "oom_kill_disable", &[P::Oom]),
        (web(json!({ "oom_score_adj": -1 })), WEB, "oom_score_adj", &[P::Oom]),
        (web(json!({ "oom_score_adj": "-500" })), WEB, "oom_score_adj", &[P::Oom]),
        (web(json!({ "network_mode": "host" })), WEB, "network_mode", &[P::HostNetwork]),
        (web(json!({ "network_mode": "container:vpn" })), WEB, "network_mode", &[P::ForeignContainer]),
        (web(json!({ "network_mode": ["host"] })), WEB, "network_mode", &[P::HostNetwork]),
        (web(json!({ "pid": "host" })), WEB, "pid", &[P::HostPid]),
        (web(json!({ "pid": "container:db" })), WEB, "pid", &[P::ForeignContainer]),
        (web(json!({ "ipc": "host" })), WEB, "ipc", &[P::HostIpc]),
        (web(json!({ "ipc": "container:db" })), WEB, "ipc", &[P::ForeignContainer]),
        (web(json!({ "uts": "host" })), WEB, "uts", &[P::HostUts]),
        (web(json!({ "uts": "service:db" })), WEB, "uts", &[P::HostUts]),
        (web(json!({ "userns_mode": "host" })), WEB, "userns_mode", &[P::HostUserNs]),
        (web(json!({ "cgroup": "host" })), WEB, "cgroup", &[P::HostCgroup]),
        (web(json!({ "cgroup_parent": "/" })), WEB, "cgroup_parent", &[P::HostCgroup]),
        (web(json!({ "devices": [{ "source": "/dev/sda", "target": "/dev/sda", "permissions": "rwm" }] })), WEB, "devices", &[P::Devices]),
        (web(json!({ "devices": "/dev/sda" })), WEB, "devices", &[P::Devices]),
        (web(json!({ "device_cgroup_rules": ["b *:* rwm"] })), WEB, "device_cgroup_rules", &[P::Devices]),
        (web(json!({ "gpus": [{ "count": -1, "capabilities": ["gpu"] }] })), WEB, "gpus", &[P::Gpus]),
        (
            web(json!({ "deploy": { "resources": { "reservations": { "devices": [{ "driver": "cdi", "device_ids": ["x"] }] } } } })),
            WEB,
            "deploy.resources.reservations.devices",
            &[P::Gpus],
        ),
        (web(json!({ "deploy": { "resources": [1] } })), WEB, "deploy.resources", &[P::Gpus]),
        (web(json!({ "cap_add": ["SYS_ADMIN"] })), WEB, "cap_add", &[P::Capabilities]),
        (web(json!({ "cap_add": ["cap_sys_ptrace"] })), WEB, "cap_add", &[P::Capabilities]),
        (web(json!({ "cap_add": ["ALL"] })), WEB, "cap_add", &[P::Capabilities]),
        (web(json!({ "cap_add": "KILL" })), WEB, "cap_add", &[P::Capabilities]),
        (web(json!({ "security_opt": ["seccomp=unconfined"] })), WEB, "security_opt", &[P::SecurityOpt]),
        (web(json!({ "security_opt": ["seccomp:unconfined"] })), WEB, "security_opt", &[P::SecurityOpt]),
        (web(json!({ "security_opt": ["seccomp=./profile.json"] })), WEB, "security_opt", &[P::SecurityOpt]),
        (web(json!({ "security_opt": ["apparmor=unconfined"] })), WEB, "security_opt", &[P::SecurityOpt]),
        (web(json!({ "security_opt": ["label=disable"] })), WEB, "security_opt", &[P::SecurityOpt]),
        (web(json!({ "security_opt": ["label:type:spc_t"] })), WEB, "security_opt", &[P::SecurityOpt]),
        (web(json!({ "security_opt": ["systempaths=unconfined"] })), WEB, "security_opt", &[P::SecurityOpt]),
        (web(json!({ "sysctls": { "kernel.core_pattern": "|/x" } })), WEB, "sysctls", &[P::Sysctls]),
        (web(json!({ "sysctls": ["kernel.shmmax=1"] })), WEB, "sysctls", &[P::Sysctls]),
        (web(json!({ "runtime": "sysbox-runc" })), WEB, "runtime", &[P::Runtime]),
        (web(json!({ "isolation": "process" })), WEB, "isolation", &[P::Runtime]),
        (web(json!({ "storage_opt": { "size": "1G" } })), WEB, "storage_opt", &[P::Runtime]),
        (web(json!({ "annotations": { "org.systemd.property.DeviceAllow": "x" } })), WEB, "annotations", &[P::Runtime]),
        (web(json!({ "external_links": ["db:db"] })), WEB, "external_links", &[P::ForeignContainer]),
        (web(json!({ "volumes_from": ["container:db:ro"] })), WEB, "volumes_from", &[P::ForeignContainer]),
        (web(json!({ "volumes_from": [{ "source": "db" }] })), WEB, "volumes_from", &[P::ForeignContainer]),
        (web(json!({ "provider": { "type": "evil" } })), WEB, "provider", &[P::Provider]),
        (web(json!({ "models": { "llm": null } })), WEB, "models", &[P::Models]),
        (web(json!({ "pre_start": [{ "image": "x", "privileged": true }] })), WEB, "pre_start[0].privileged", &[P::Privileged]),
        (web(json!({ "post_start": [{ "command": ["x"] }, { "command": ["x"], "privileged": true }] })), WEB, "post_start[1].privileged", &[P::Privileged]),
        (web(json!({ "pre_stop": ["rm"] })), WEB, "pre_stop[0].privileged", &[P::Privileged]),
        (web(json!({ "logging": { "driver": "fluentd", "options": { "fluentd-address": "unix:///run/x.sock" } } })), WEB, "logging.options.fluentd-address", &[P::Logging]),
        (web(json!({ "env_file": [{ "path": "/etc/shadow", "required": true }] })), WEB, "env_file[0]", &[P::OutsideFile]),
        (web(json!({ "label_file": ["/etc/shadow"] })), WEB, "label_file[0]", &[P::OutsideFile]),
        (web(json!({ "credential_spec": { "file": "/etc/spec.json" } })), WEB, "credential_spec.file", &[P::OutsideFile]),
        (web(json!({ "credential_spec": { "registry": "x" } })), WEB, "credential_spec.registry", &[P::OutsideFile]),
        (web(json!({ "host_powers": true })), WEB, "host_powers", &[P::UnknownKeys]),
        (web(json!({ "extends": { "service": "x" } })), WEB, "extends", &[P::UnknownKeys]),
    ]
}

fn attacks_by_mounts() -> Vec<Attack> {
    const SOURCE: &str = "volumes[0].source";
    const WEB: &str = "service web";
    let opts = |options: Value| volume(json!({ "name": "shop_cache", "driver": "local", "driver_opts": options }));
    vec![
        (bind("/etc"), WEB, SOURCE, &[P::Bind]),
        (bind("/srv/shop/releases/77"), WEB, SOURCE, &[P::Bind]),
        (bind("/srv/shop/releases/7/../../secrets"), WEB, SOURCE, &[P::Bind]),
        (bind("/srv/shop/data/../keys"), WEB, SOURCE, &[P::Bind]),
        (bind("./data"), WEB, SOURCE, &[P::Bind]),
        (bind("/srv/shop/data/a$$b"), WEB, SOURCE, &[P::Bind]),
        (bind("/run/docker.sock"), WEB, SOURCE, &[P::DockerSocket]),
        (bind("/var/run/docker.sock"), WEB, SOURCE, &[P::DockerSocket]),
        (bind("/run/user/1000/podman/podman.sock"), WEB, SOURCE, &[P::DockerSocket]),
        (bind("/mnt/media/docker.sock"), WEB, SOURCE, &[P::DockerSocket]),
        (bind("/"), WEB, SOURCE, &[P::DockerSocket, P::Bind]),
        (bind("/run"), WEB, SOURCE, &[P::DockerSocket, P::Bind]),
        (bind("/var/run/../run/./"), WEB, SOURCE, &[P::DockerSocket, P::Bind]),
        (bind("/var/lib/docker/volumes"), WEB, SOURCE, &[P::DockerSocket, P::Bind]),
        (mount(json!({ "type": "bind", "target": "/x" })), WEB, SOURCE, &[P::Bind]),
        (mount(json!({ "type": "bind", "source": 1, "target": "/x" })), WEB, SOURCE, &[P::Bind]),
        (mount(json!({ "type": "volume", "source": "/etc", "target": "/x" })), WEB, SOURCE, &[P::Bind]),
        (mount(json!({ "type": "volume", "source": "../x", "target": "/x" })), WEB, SOURCE, &[P::Bind]),
        (mount(json!({ "type": "npipe", "source": "x" })), WEB, "volumes[0].type", &[P::Bind]),
        (mount(json!({ "type": "cluster", "source": "x" })), WEB, "volumes[0].type", &[P::VolumeDriver]),
        (mount(json!({ "source": "/etc" })), WEB, "volumes[0].type", &[P::Bind]),
        (mount(json!("/etc:/etc")), WEB, "volumes[0]", &[P::Bind]),
        (web(json!({ "volumes": "/etc:/etc" })), WEB, "volumes", &[P::Bind]),
        (
            mount(json!({ "type": "bind", "source": RELEASE, "bind": { "propagation": "rshared" } })),
            WEB,
            "volumes[0].bind.propagation",
            &[P::Bind],
        ),
        (mount(json!({ "type": "bind", "source": RELEASE, "bind": { "selinux": "rshared" } })), WEB, "volumes[0].bind.selinux", &[P::Bind]),
        (volume(json!({ "name": "/etc", "external": true })), "volume cache", "name", &[P::Bind]),
        (volume(json!({ "driver": "vieux/sshfs" })), "volume cache", "driver", &[P::VolumeDriver]),
        (volume(json!({ "driver": ["local"] })), "volume cache", "driver", &[P::VolumeDriver]),
        (volume(json!({ "driver_opts": [] })), "volume cache", "driver_opts", &[P::VolumeDriver]),
        (opts(json!({ "type": "none", "o": "bind", "device": "/etc" })), "volume cache", "driver_opts.device", &[P::Bind]),
        (opts(json!({ "type": "tmpfs", "o": "ro,bind", "device": "/etc" })), "volume cache", "driver_opts.device", &[P::Bind]),
        (opts(json!({ "o": "rbind", "device": "data" })), "volume cache", "driver_opts.device", &[P::Bind]),
        (opts(json!({ "o": "bind", "device": "/run/docker.sock" })), "volume cache", "driver_opts.device", &[P::DockerSocket]),
        (opts(json!({ "o": "bind" })), "volume cache", "driver_opts.device", &[P::Bind]),
        (opts(json!({ "type": "ext4", "device": "/dev/sda1" })), "volume cache", "driver_opts.type", &[P::VolumeDriver]),
        (opts(json!({ "device": "/dev/sda1" })), "volume cache", "driver_opts.type", &[P::VolumeDriver]),
        (opts(json!({ "type": "tmpfs", "o": "size=1m,move" })), "volume cache", "driver_opts.o", &[P::VolumeDriver]),
        (opts(json!({ "type": "tmpfs", "o": ["bind"] })), "volume cache", "driver_opts.o", &[P::VolumeDriver]),
        (opts(json!({ "mountpoint": "/etc" })), "volume cache", "driver_opts.mountpoint", &[P::VolumeDriver]),
    ]
}

fn attacks_by_builds() -> Vec<Attack> {
    const WEB: &str = "service web";
    let file = |kind: &str, path: &str| json!({ "services": {}, kind: { "key": { "name": "shop_key", "file": path } } });
    vec![
        (build(json!({ "context": "/root" })), WEB, "build.context", &[P::OutsideFile]),
        (build(json!({ "context": "https://github.com/evil/x.git" })), WEB, "build.context", &[P::RemoteContext]),
        (build(json!({ "context": "git@github.com:evil/x" })), WEB, "build.context", &[P::RemoteContext]),
        (build(json!({ "context": "github.com/evil/x" })), WEB, "build.context", &[P::RemoteContext]),
        (build(json!({ "context": ["/"] })), WEB, "build.context", &[P::OutsideFile]),
        (web(json!({ "build": "/root" })), WEB, "build", &[P::OutsideFile]),
        (build(json!({ "context": RELEASE, "dockerfile": "../../../../etc/shadow" })), WEB, "build.dockerfile", &[P::OutsideFile]),
        (build(json!({ "context": RELEASE, "dockerfile": "/etc/shadow" })), WEB, "build.dockerfile", &[P::OutsideFile]),
        (build(json!({ "context": RELEASE, "dockerfile": "https://x/Dockerfile" })), WEB, "build.dockerfile", &[P::RemoteContext]),
        (build(json!({ "additional_contexts": { "keys": "/root/.ssh" } })), WEB, "build.additional_contexts.keys", &[P::OutsideFile]),
        (build(json!({ "additional_contexts": { "base": "docker-image://alpine" } })), WEB, "build.additional_contexts.base", &[P::RemoteContext]),
        (build(json!({ "additional_contexts": { "oci": "oci-layout:///root/x" } })), WEB, "build.additional_contexts.oci", &[P::RemoteContext]),
        (build(json!({ "additional_contexts": ["keys=/root"] })), WEB, "build.additional_contexts", &[P::OutsideFile]),
        (build(json!({ "privileged": true })), WEB, "build.privileged", &[P::Privileged]),
        (build(json!({ "network": "host" })), WEB, "build.network", &[P::HostNetwork]),
        (build(json!({ "network": "container:x" })), WEB, "build.network", &[P::HostNetwork]),
        (build(json!({ "entitlements": ["security.insecure"] })), WEB, "build.entitlements", &[P::Privileged]),
        (build(json!({ "entitlements": ["network.host"] })), WEB, "build.entitlements", &[P::HostNetwork]),
        (build(json!({ "entitlements": ["device=x"] })), WEB, "build.entitlements", &[P::Devices]),
        (build(json!({ "ssh": ["default"] })), WEB, "build.ssh", &[P::BuildSsh]),
        (build(json!({ "isolation": "hyperv" })), WEB, "build.isolation", &[P::Runtime]),
        (build(json!({ "cache_from": ["type=local,src=/root"] })), WEB, "build.cache_from", &[P::OutsideFile]),
        (build(json!({ "cache_to": ["type=local,mode=max,DEST=/etc/cron.d"] })), WEB, "build.cache_to", &[P::OutsideFile]),
        (build(json!({ "cache_to": ["type=local,\"dest=/etc\""] })), WEB, "build.cache_to", &[P::OutsideFile]),
        (build(json!({ "cache_to": ["type=other"] })), WEB, "build.cache_to", &[P::OutsideFile]),
        (build(json!({ "runs_on_host": true })), WEB, "build.runs_on_host", &[P::UnknownKeys]),
        (file("secrets", "/etc/shadow"), "secret key", "file", &[P::OutsideFile]),
        (file("configs", "/etc/shadow"), "config key", "file", &[P::OutsideFile]),
        (file("secrets", "/run/docker.sock"), "secret key", "file", &[P::DockerSocket]),
        (file("configs", "/srv/shop/data/docker.sock"), "config key", "file", &[P::DockerSocket]),
        (network(json!({ "driver": "macvlan", "driver_opts": { "parent": "eth0" } })), "network lan", "driver", &[P::NetworkDriver]),
        (network(json!({ "driver": "host" })), "network lan", "driver", &[P::NetworkDriver]),
        (network(json!({ "driver_opts": { "com.docker.network.bridge.name": "virbr0" } })), "network lan", "driver_opts", &[P::NetworkDriver]),
        (network(json!({ "ipam": { "driver": "dhcp" } })), "network lan", "ipam.driver", &[P::NetworkDriver]),
        (network(json!({ "name": "host", "external": true })), "network lan", "name", &[P::HostNetwork]),
        (network(json!({ "name": "container:vpn", "external": true })), "network lan", "name", &[P::HostNetwork]),
        (json!({ "services": {}, "models": { "llm": { "model": "x", "runtime_flags": ["--log-file", "/etc/x"] } } }), "the compose project", "models", &[P::Models]),
        (json!({ "services": {}, "include": ["oci://x"] }), "the compose project", "include", &[P::RemoteInclude]),
        (json!({ "services": {}, "hooks": {} }), "the compose project", "hooks", &[P::UnknownKeys]),
    ]
}

fn attacks() -> Vec<Attack> {
    [attacks_by_keys(), attacks_by_mounts(), attacks_by_builds()].concat()
}

#[test]
fn every_attack_is_refused_at_its_key() {
    for (model, place, key, words) in attacks() {
        let expected: Vec<Named> = words.iter().map(|word| (place.to_owned(), key.to_owned(), Some(*word))).collect();
        assert_eq!(named(&refusals(&model, &[])), expected, "{model}");
    }
}

#[test]
fn the_word_of_a_refusal_allows_it() {
    for (model, place, _, words) in attacks() {
        let everywhere: Vec<_> = words.iter().map(Permission::to_string).collect();
        assert_eq!(refusals_in(&model, Path::new(RELEASE), &everywhere), [], "{model} with {everywhere:?}");
        let for_another: Vec<_> = words.iter().map(|word| format!("other:{word}")).collect();
        assert_eq!(refusals_in(&model, Path::new(RELEASE), &for_another), refusals(&model, &[]), "{model} with {for_another:?}");
        // What belongs to the whole project has no name to put before the word.
        if let Some((_, name)) = place.split_once(' ').filter(|_| !place.starts_with("the ")) {
            let for_it: Vec<_> = words.iter().map(|word| format!("{name}:{word}")).collect();
            assert_eq!(refusals_in(&model, Path::new(RELEASE), &for_it), [], "{model} with {for_it:?}");
        }
    }
}

#[test]
fn another_word_does_not_help() {
    for (model, _, _, words) in attacks() {
        let others: Vec<_> = Permission::ALL.iter().filter(|word| !words.contains(word)).map(Permission::to_string).collect();
        assert_eq!(refusals_in(&model, Path::new(RELEASE), &others), refusals(&model, &[]), "{model}");
    }
}

#[test]
fn every_word_has_an_attack() {
    let attacked: BTreeSet<_> = attacks().iter().flat_map(|(.., words)| words.iter().copied()).collect();
    assert_eq!(attacked, BTreeSet::from(Permission::ALL));
}

#[test]
fn what_projects_do_every_day_is_no_attack() {
    let inside = |path: &str| format!("{RELEASE}/{path}");
    for model in [
        json!({ "name": "shop", "services": {} }),
        json!({ "name": "shop", "x-anything": { "privileged": true }, "services": { "web": { "x-note": "privileged", "image": "nginx", "command": null, "entrypoint": null } } }),
        bind(&inside("html")),
        bind(&inside("a/../html")),
        bind(RELEASE),
        bind("/srv/shop/data/uploads"),
        bind("/mnt/media"),
        mount(json!({ "type": "bind", "source": inside("etc"), "read_only": true, "bind": { "create_host_path": false, "selinux": "z", "propagation": "rslave" } })),
        mount(json!({ "type": "volume", "source": "data", "target": "/data", "volume": { "nocopy": true } })),
        mount(json!({ "type": "volume", "target": "/anonymous" })),
        mount(json!({ "type": "tmpfs", "target": "/run", "tmpfs": { "size": "1048576" } })),
        mount(json!({ "type": "image", "source": "alpine", "target": "/x" })),
        volume(Value::Null),
        volume(json!({ "name": "shop_cache", "driver": "local", "labels": { "a": "b" } })),
        volume(json!({ "name": "old-data", "external": true })),
        volume(json!({ "driver_opts": { "type": "tmpfs", "device": "tmpfs", "o": "size=100m,uid=1000,noexec" } })),
        volume(json!({ "driver_opts": { "type": "none", "device": "/srv/shop/data/db", "o": "bind" } })),
        volume(json!({ "driver_opts": { "size": "10G" } })),
        network(Value::Null),
        network(json!({ "name": "traefik", "external": true, "ipam": {} })),
        network(json!({ "name": "shop_lan", "driver": "bridge", "internal": true, "ipam": { "driver": "default", "config": [{ "subnet": "10.1.0.0/24" }] }, "driver_opts": { "com.docker.network.driver.mtu": "1400" } })),
        web(json!({ "ports": [{ "mode": "ingress", "host_ip": "127.0.0.1", "target": 80, "published": "8080", "protocol": "tcp" }], "expose": ["80"], "networks": { "default": null } })),
        web(json!({ "healthcheck": { "test": ["CMD", "true"], "interval": "5s" }, "depends_on": { "db": { "condition": "service_healthy", "required": true } }, "restart": "unless-stopped" })),
        web(json!({ "deploy": { "replicas": 2, "resources": { "limits": { "cpus": 0.5, "memory": "536870912" }, "reservations": { "memory": "1" } }, "placement": {} }, "mem_limit": "1", "ulimits": { "nofile": 1024 } })),
        web(json!({ "labels": { "traefik.enable": "true", "traefik.http.routers.web.rule": "Host(`shop.example`)" } })),
        web(json!({ "profiles": ["debug"], "init": true, "read_only": true, "tmpfs": ["/tmp"], "user": "1000:1000", "group_add": ["44"], "stdin_open": true, "tty": false })),
        web(json!({ "cap_drop": ["ALL"], "cap_add": ["NET_BIND_SERVICE", "CAP_CHOWN", "setuid"], "security_opt": ["no-new-privileges:true", "no-new-privileges", "seccomp=builtin"] })),
        web(json!({ "network_mode": "service:vpn", "pid": "service:app", "ipc": "shareable", "cgroup": "private", "runtime": "runc", "privileged": false, "oom_score_adj": 500 })),
        web(json!({ "network_mode": "none", "sysctls": { "net.core.somaxconn": "1024" }, "extra_hosts": ["host.docker.internal=host-gateway"], "dns": ["1.1.1.1"] })),
        web(json!({ "logging": { "driver": "json-file", "options": { "max-size": "10m", "max-file": "3" } } })),
        web(json!({ "logging": { "driver": "syslog", "options": { "syslog-address": "udp://10.0.0.1:514" } } })),
        web(json!({ "post_start": [{ "command": ["chown", "x"], "user": "root", "privileged": false }], "volumes_from": ["db:ro"], "links": ["db"], "develop": { "watch": [{ "path": "/etc", "action": "sync" }] } })),
        build(json!({ "context": inside("app"), "dockerfile": "../docker/Dockerfile", "args": { "A": "b" }, "target": "prod", "cache_from": ["me/app:cache", "type=registry,ref=me/app:cache"], "network": "none", "secrets": [{ "source": "key" }] })),
        build(json!({ "context": RELEASE, "dockerfile_inline": "FROM scratch", "additional_contexts": { "base": "service:base", "lib": inside("lib") }, "cache_to": [format!("type=local,dest={RELEASE}/.cache")], "platforms": ["linux/amd64"] })),
        json!({ "services": { "web": { "secrets": [{ "source": "key", "target": "/run/secrets/key" }] } }, "secrets": { "key": { "name": "shop_key", "file": inside("key.txt") }, "token": { "name": "shop_token", "environment": "TOKEN" } }, "configs": { "nginx": { "name": "shop_nginx", "content": "events {}" } } }),
    ] {
        assert_eq!(refusals(&model, &[]), [], "{model}");
    }
}

#[test]
fn what_is_not_a_model_cannot_be_allowed() {
    let everything = Permission::ALL.map(|word| word.to_string());
    for (model, place, key) in [
        (json!([]), "the compose project", "model"),
        (json!(null), "the compose project", "model"),
        (json!({ "services": [] }), "the compose project", "services"),
        (json!({ "services": "web" }), "the compose project", "services"),
        (json!({ "services": { "web": null } }), "service web", "services"),
        (json!({ "services": { "web": ["privileged"] } }), "service web", "services"),
        (json!({ "volumes": { "cache": "/etc" } }), "volume cache", "volumes"),
        (json!({ "secrets": [{ "file": "/etc/shadow" }] }), "the compose project", "secrets"),
    ] {
        let expected: [Named; 1] = [(place.to_owned(), key.to_owned(), None)];
        assert_eq!(named(&refusals_in(&model, Path::new(RELEASE), &everything)), expected, "{model}");
    }
}

/// Whatever stands in a guarded key is refused unless it is understood.
#[test]
fn junk_in_a_guarded_key_is_refused() {
    let junk = [json!(true), json!(7), json!("junk"), json!([true]), json!(["junk"]), json!({ "junk": ["junk"] }), json!([{ "junk": 1 }])];
    let fits = |key: &str, value: &Value| match key {
        "volumes_from" => value == &json!(["junk"]),
        "oom_score_adj" => value == &json!(7),
        "pre_start" | "post_start" | "pre_stop" => value == &json!([{ "junk": 1 }]),
        "deploy" | "logging" => value.is_object(),
        _ => false,
    };
    let guarded = [
        "annotations", "build", "cap_add", "cgroup", "cgroup_parent", "credential_spec", "deploy", "device_cgroup_rules", "devices", "env_file", "external_links", "gpus", "ipc",
        "isolation", "label_file", "logging", "models", "network_mode", "oom_kill_disable", "oom_score_adj", "pid", "post_start", "pre_start", "pre_stop", "privileged", "provider",
        "runtime", "security_opt", "storage_opt", "sysctls", "use_api_socket", "userns_mode", "uts", "volumes", "volumes_from",
    ];
    for key in guarded {
        for value in junk.iter().filter(|value| !fits(key, value)) {
            assert_ne!(refusals(&web(json!({ key: value })), &[]), [], "{key}: {value}");
        }
    }
}

#[test]
fn a_refusal_says_what_it_would_mean() {
    let model = json!({
        "services": { "web": { "privileged": true, "volumes": [{ "type": "bind", "source": "/srv/shop/data/../keys" }] } },
        "volumes": { "cache": { "driver": "nfs" } },
        "models": { "m": { "model": "x" } },
    });
    let sentences: Vec<_> = refusals(&model, &[]).iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "the compose project: models: models run outside any container, with flags from this file; the host's file can allow it with allow = [\"models\"] in the project's compose section",
            "service web: privileged: it would have all rights of this host; the host's file can allow it with allow = [\"web:privileged\"] in the project's compose section",
            "service web: volumes[0].source: \"/srv/shop/data/../keys\" leads to \"/srv/shop/keys\", outside the release and the folders that the host's file names; the host's file can allow it with allow = [\"web:bind\"] in the project's compose section",
            "volume cache: driver: a plugin of this host would mount it; the host's file can allow it with allow = [\"cache:volume_driver\"] in the project's compose section",
        ]
    );
}

/// A root that holds the socket does not bring it along.
#[test]
fn a_declared_folder_does_not_bring_the_socket() {
    let refused = |source: &str, root: &str| {
        let bounds = Bounds { release: Path::new(RELEASE), roots: &[PathBuf::from(root)], allow: &Allow::default() };
        check(&bind(source), &bounds).iter().filter_map(|refusal| refusal.allow).collect::<Vec<_>>()
    };
    assert_eq!(refused("/run/docker.sock", "/run"), [P::DockerSocket]);
    assert_eq!(refused("/run", "/run"), [P::DockerSocket]);
    assert_eq!(refused("/", "/"), [P::DockerSocket]);
    assert_eq!(refused("/etc", "/"), []);
    assert_eq!(refused("/run/postgresql", "/run"), []);
}

/// A release with symlinks, some of which leave it.
#[test]
fn symlinks_are_followed() {
    let outside = tempfile::tempdir().unwrap();
    let base = tempfile::tempdir().unwrap();
    let release = fs::canonicalize(base.path()).unwrap();
    fs::create_dir_all(release.join("html/deep")).unwrap();
    fs::write(outside.path().join("docker.sock"), "").unwrap();
    fs::create_dir(outside.path().join("other")).unwrap();
    symlink("html", release.join("public")).unwrap();
    symlink("nowhere/yet", release.join("dangling")).unwrap();
    symlink("../../nowhere", release.join("html/leaving")).unwrap();
    symlink(outside.path().join("other"), release.join("out")).unwrap();
    symlink(outside.path().join("docker.sock"), release.join("innocent")).unwrap();
    symlink("/run", release.join("run")).unwrap();
    symlink("round", release.join("round")).unwrap();
    for (source, words) in [
        ("html", &[][..]),
        ("public/deep", &[]),
        ("public/deep/../..", &[]),
        ("dangling/x", &[]),
        ("not/there/yet", &[]),
        ("html/leaving", &[P::Bind]),
        ("out", &[P::Bind]),
        ("out/../x", &[P::Bind]),
        ("out/x/../../html", &[P::Bind]),
        ("innocent", &[P::DockerSocket, P::Bind]),
        ("run", &[P::DockerSocket, P::Bind]),
        ("run/docker.sock", &[P::DockerSocket]),
        ("round/x", &[P::Bind]),
        ("html\0", &[P::Bind]),
    ] {
        let model = bind(&format!("{}/{source}", release.display()));
        let refused: Vec<_> = refusals_in(&model, &release, &[]).iter().filter_map(|refusal| refusal.allow).collect();
        assert_eq!(refused, words, "{source:?}");
    }
    // The Dockerfile and a secret by the same links.
    let model = json!({
        "services": { "web": { "build": { "context": release.join("html"), "dockerfile": "../out/Dockerfile" } } },
        "secrets": { "key": { "file": release.join("out/key") } },
    });
    let keys: Vec<_> = refusals_in(&model, &release, &[]).into_iter().map(|refusal| refusal.key).collect();
    assert_eq!(keys, ["file", "build.dockerfile"]);
}

/// A release that is reached through a link itself is the same release.
#[test]
fn the_bounds_may_be_links() {
    let base = tempfile::tempdir().unwrap();
    let release = base.path().join("7");
    fs::create_dir(&release).unwrap();
    symlink("7", base.path().join("current")).unwrap();
    let source = release.join("html");
    let model = bind(source.to_str().unwrap());
    assert_eq!(refusals_in(&model, &base.path().join("current"), &[]), []);
}
