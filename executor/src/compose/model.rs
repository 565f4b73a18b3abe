//! The resolved model of a compose project, as text we were given and as text
//! that we write. Pure.
//!
//! `docker compose config --format json` says the model; it escapes `$` as `$$`,
//! since its output is meant to be read by Compose again, and so does what is
//! written here. Invariant: what is applied differs from what was resolved only
//! in what is named here: images are pinned, builds are gone, our labels are
//! there, and paths inside the release's slot lead to a place that outlives it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::Serves;

/// Longest model, in bytes: a thousand services with everything.
pub const MODEL_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most services of one project.
const SERVICES_MAX: usize = 1_000;

/// A resolved model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model(Value);

impl Model {
    /// Reads a model that Compose resolved.
    ///
    /// # Errors
    ///
    /// When it is not one, or has no services, or too many.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|fault| format!("what Compose resolved is not understood: {fault}"))?;
        let count = value.get("services").and_then(Value::as_object).map_or(0, Map::len);
        match count {
            0 => Err("the compose files name no service (of the active profiles)".to_owned()),
            1..=SERVICES_MAX => Ok(Self(value)),
            _ => Err(format!("the compose files name more than {SERVICES_MAX} services")),
        }
    }

    /// The model as JSON.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Names of the services.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.0.get("services").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str)
    }

    fn service(&self, name: &str) -> Option<&Value> {
        self.0.get("services")?.get(name)
    }

    /// Is it built from the repository?
    #[must_use]
    pub fn is_built(&self, service: &str) -> bool {
        self.service(service).and_then(|service| service.get("build")).is_some_and(|build| !build.is_null())
    }

    /// The image as the compose file names it.
    #[must_use]
    pub fn image(&self, service: &str) -> Option<String> {
        self.service(service)?.get("image")?.as_str().map(unescaped)
    }

    /// When Compose would pull its image.
    #[must_use]
    pub fn pull_policy(&self, service: &str) -> Option<&str> {
        self.service(service)?.get("pull_policy")?.as_str()
    }

    /// How many containers it has.
    #[must_use]
    pub fn replicas(&self, service: &str) -> u32 {
        let Some(service) = self.service(service) else { return 0 };
        let said = service.get("scale").or_else(|| service.get("deploy")?.get("replicas"));
        said.and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
    }

    /// May a second container of it run beside the first, when this port of it is
    /// published by our proxy? Not with a name or an address of its own, nor with
    /// another port of the host, nor where others live in its namespaces.
    #[must_use]
    pub fn can_run_twice(&self, name: &str, proxied: u16) -> bool {
        let Some(service) = self.service(name) else { return false };
        let all = |key: &str| service.get(key).and_then(Value::as_array).into_iter().flatten();
        let is_published = |port: &Value| port.get("published").and_then(Value::as_str).is_some_and(|port| !port.is_empty());
        let publishes = all("ports").any(|port| port.get("target").and_then(Value::as_u64) != Some(u64::from(proxied)) && is_published(port));
        let networks = service.get("networks").and_then(Value::as_object);
        let is_fixed = networks.into_iter().flat_map(Map::values).any(|network| ["ipv4_address", "ipv6_address"].iter().any(|key| network.get(key).is_some_and(|address| !address.is_null())));
        let whole = format!("service:{name}");
        let lives_in_it = |other: &Value| ["network_mode", "ipc", "pid"].iter().any(|key| other.get(key).and_then(Value::as_str) == Some(&whole));
        let is_shared = self.services().filter_map(|other| self.service(other)).any(lives_in_it);
        if publishes || is_fixed || is_shared {
            return false;
        }
        let is_named = service.get("container_name").is_some_and(|name| !name.is_null());
        let is_elsewhere = service.get("network_mode").is_some_and(|mode| !mode.is_null());
        !is_named && !is_elsewhere && self.replicas(name) == 1
    }

    /// The services in the order in which they are stopped: what others need last.
    #[must_use]
    pub fn stop_order(&self) -> Vec<&str> {
        let mut ordered: Vec<&str> = Vec::new();
        let mut left: BTreeSet<&str> = self.services().collect();
        while !left.is_empty() {
            let needed: BTreeSet<&str> = left.iter().flat_map(|service| self.needs(service)).collect();
            let free: Vec<&str> = left.iter().copied().filter(|service| !needed.contains(service)).collect();
            // Compose refuses a circle; should there be one, its order does not matter.
            let next = if free.is_empty() { left.iter().copied().collect() } else { free };
            for service in next {
                left.remove(service);
                ordered.push(service);
            }
        }
        ordered
    }

    /// The services that must be well, or have ended well (true), before this one
    /// is started.
    #[must_use]
    pub fn awaits(&self, service: &str) -> BTreeMap<String, bool> {
        let said = self.service(service).and_then(|service| service.get("depends_on")).and_then(Value::as_object);
        let condition = |(name, how): (&String, &Value)| {
            let ends = match how.get("condition")?.as_str()? {
                "service_healthy" => false,
                "service_completed_successfully" => true,
                _ => return None,
            };
            self.service(name).map(|_| (name.clone(), ends))
        };
        said.into_iter().flatten().filter_map(condition).collect()
    }

    fn needs<'a>(&'a self, service: &str) -> Vec<&'a str> {
        let said = self.service(service).and_then(|service| service.get("depends_on")).and_then(Value::as_object);
        said.into_iter().flat_map(Map::keys).map(String::as_str).filter(|name| *name != service).collect()
    }

    /// Every file or folder inside the slot that a container would see as itself:
    /// binds, and the files of configs and secrets, which must be files.
    #[must_use]
    pub fn mounted(&self, slot: &Path) -> BTreeMap<PathBuf, Mounted> {
        let mut found = BTreeMap::new();
        let mut model = self.0.clone();
        each_mounted(&mut model, &mut |path, mounted| {
            if Path::new(path.as_str()).starts_with(slot) {
                found.insert(PathBuf::from(path.as_str()), mounted);
            }
        });
        found
    }

    /// What the image of a built service follows from: its build section and
    /// what the repository holds at its contexts. `None` when that cannot be
    /// known, and then it is built each time.
    #[must_use]
    pub fn build_key(&self, service: &str, slot: &Path, object_at: &impl Fn(&Path) -> Option<String>) -> Option<String> {
        let build = self.service(service)?.get("build")?;
        let has_secrets = ["secrets", "ssh"].iter().any(|key| build.get(key).is_some_and(|value| !value.is_null()));
        if has_secrets {
            return None;
        }
        let context = PathBuf::from(unescaped(build.get("context")?.as_str()?));
        let mut places = vec![context];
        for other in build.get("additional_contexts").and_then(Value::as_object).into_iter().flat_map(Map::values) {
            places.push(PathBuf::from(unescaped(other.as_str()?)));
        }
        let mut hash = Sha256::new();
        hash.update(build.to_string().replace(&*slot.to_string_lossy(), "@"));
        for place in places {
            let inside = place.strip_prefix(slot).ok()?;
            hash.update(object_at(inside)?);
        }
        if let Some(file) = build.get("dockerfile").and_then(Value::as_str).map(unescaped)
            && let Ok(inside) = Path::new(&file).strip_prefix(slot)
        {
            hash.update(object_at(inside)?);
        }
        Some(hex::encode(hash.finalize()))
    }

    /// The model that images are built and pulled with: what is built gets a name
    /// of ours, and keeps the name that its compose file gives it, if it does.
    #[must_use]
    pub fn to_build(&self, built_names: &BTreeMap<String, String>) -> Value {
        let mut model = self.0.clone();
        for (name, service) in services_mut(&mut model) {
            let Some(ours) = built_names.get(name) else { continue };
            let own = service.insert("image".to_owned(), json!(ours));
            let Some(build) = service.get_mut("build").and_then(Value::as_object_mut) else { continue };
            if let Some(own) = own.filter(Value::is_string)
                && let Some(tags) = build.entry("tags").or_insert_with(|| json!([])).as_array_mut()
            {
                tags.push(own);
            }
        }
        model
    }

    /// The model that is applied, and by which hash the definition of each
    /// service is known, which its containers carry.
    #[must_use]
    pub fn to_apply(&self, how: &Pinned<'_>) -> (Value, BTreeMap<String, String>) {
        let mut model = self.0.clone();
        each_mounted(&mut model, &mut |path, _| {
            if let Some(stable) = how.places.get(Path::new(path.as_str())) {
                *path = stable.to_string_lossy().into_owned();
            }
        });
        for (name, service) in services_mut(&mut model) {
            for key in ["build", "develop", "pull_policy"] {
                service.remove(key);
            }
            if let Some(image) = how.images.get(name) {
                service.insert("image".to_owned(), json!(escaped(image)));
            }
            if !service.get("labels").is_some_and(Value::is_object) {
                service.insert("labels".to_owned(), json!({}));
            }
            if let Some(labels) = service.get_mut("labels").and_then(Value::as_object_mut) {
                labels.insert(super::LABEL_PROJECT.to_owned(), json!(how.project));
                labels.insert(super::LABEL_REPO.to_owned(), json!(escaped(how.repo)));
            }
            if let Some(serves) = how.proxied.filter(|serves| serves.service == *name)
                && let Some(ports) = service.get_mut("ports").and_then(Value::as_array_mut)
            {
                ports.retain(|port| port.get("target").and_then(Value::as_u64) != Some(u64::from(serves.port)));
            }
        }
        let definitions = definitions(&model, how.variables);
        for (name, service) in services_mut(&mut model) {
            if let Some(labels) = service.get_mut("labels").and_then(Value::as_object_mut) {
                labels.insert(super::LABEL_DEFINITION.to_owned(), json!(definitions.get(name)));
            }
        }
        (model, definitions)
    }
}

/// What says nothing of a container: who comes first, how many there are, when.
const NOT_OF_A_CONTAINER: [&str; 3] = ["depends_on", "scale", "profiles"];

/// A hash of each service's definition, with what its configs and secrets are.
/// Compose has one too, and reckons with other containers' identities in it, so
/// it is not known before a container is made.
fn definitions(model: &Value, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let services = model.get("services").and_then(Value::as_object);
    let of = |(name, service): (&String, &Value)| {
        let mut own = service.clone();
        if let Some(own) = own.as_object_mut() {
            own.retain(|key, _| !NOT_OF_A_CONTAINER.contains(&key.as_str()));
        }
        if let Some(deploy) = own.get_mut("deploy").and_then(Value::as_object_mut) {
            deploy.remove("replicas");
        }
        let mut hash = Sha256::new();
        hash.update(own.to_string());
        for kind in ["configs", "secrets"] {
            for used in service.get(kind).and_then(Value::as_array).into_iter().flatten() {
                let Some(one) = used.get("source").and_then(Value::as_str).and_then(|source| model.get(kind)?.get(source)) else { continue };
                hash.update(one.to_string());
                let variable = one.get("environment").and_then(Value::as_str).and_then(|name| variables.get(name));
                hash.update(variable.map_or("", String::as_str));
            }
        }
        (name.clone(), hex::encode(hash.finalize()))
    };
    services.into_iter().flatten().map(of).collect()
}

/// What something of the host is mounted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// A bind: a folder, or a file that is there.
    Bind,
    /// The file of a config or a secret.
    File,
}

/// What an applied model is pinned to.
pub struct Pinned<'a> {
    /// The project's name in the host's file.
    pub project: &'a str,
    /// Its origin.
    pub repo: &'a str,
    /// The image of each service, by digest or by a name that holds its identity.
    pub images: &'a BTreeMap<String, String>,
    /// Where what is mounted from the slot lies for good.
    pub places: &'a BTreeMap<PathBuf, PathBuf>,
    /// The service whose port our proxy publishes instead of the engine.
    pub proxied: Option<&'a Serves>,
    /// What the environment says, from which secrets may come.
    pub variables: &'a BTreeMap<String, String>,
}

fn services_mut(model: &mut Value) -> impl Iterator<Item = (&String, &mut Map<String, Value>)> {
    let services = model.get_mut("services").and_then(Value::as_object_mut);
    services.into_iter().flat_map(Map::iter_mut).filter_map(|(name, service)| Some((name, service.as_object_mut()?)))
}

/// Shows each path that is mounted from the host, unescaped, and writes it back.
fn each_mounted(model: &mut Value, look: &mut impl FnMut(&mut String, Mounted)) {
    let mut visit = |value: &mut Value, mounted: Mounted| {
        if let Some(mut path) = value.as_str().map(unescaped) {
            look(&mut path, mounted);
            *value = json!(escaped(&path));
        }
    };
    for (_, service) in services_mut(model) {
        for volume in service.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
            if volume.get("type").and_then(Value::as_str) == Some("bind")
                && let Some(source) = volume.get_mut("source")
            {
                visit(source, Mounted::Bind);
            }
        }
    }
    for kind in ["configs", "secrets"] {
        for (_, one) in model.get_mut(kind).and_then(Value::as_object_mut).into_iter().flatten() {
            one.get_mut("file").into_iter().for_each(|file| visit(file, Mounted::File));
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn unescaped(text: &str) -> String {
    text.replace("$$", "$")
}

/// A name for an image of ours: names of services hold what names of images must
/// not (capitals, doubled dots), so those get a hash instead.
#[must_use]
pub fn image_name(project: &str, service: &str) -> String {
    let is_plain = |text: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let marks = |pair: &[u8]| pair.iter().all(|byte| b"._-".contains(byte));
        edge(text.chars().next()) && edge(text.chars().last()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)) && !text.as_bytes().windows(2).any(marks)
    };
    let part = |text: &str| if is_plain(text) { text.to_owned() } else { format!("x{}", &hex::encode(Sha256::digest(text))[..16]) };
    format!("{}/{}/{}", super::IMAGES, part(project), part(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let text = json!({
            "name": "media",
            "services": {
                "web": {
                    "build": {"context": "/srv/r/1", "dockerfile": "Dockerfile"},
                    "image": "me/web:latest",
                    "depends_on": {"db": {"condition": "service_started"}},
                    "pull_policy": "build",
                    "labels": {"traefik.enable": "true"},
                    "environment": {"PRICE": "5$$"},
                    "ports": [{"target": 8000, "published": "80"}, {"target": 9000, "published": "9000"}],
                    "volumes": [
                        {"type": "bind", "source": "/srv/r/1/conf", "target": "/conf"},
                        {"type": "bind", "source": "/srv/media", "target": "/media"},
                        {"type": "volume", "source": "vol", "target": "/vol"},
                    ],
                },
                "db": {"image": "postgres:17", "scale": 2},
                "jobs": {"image": "me/web:latest", "depends_on": {"db": {}, "web": {}}, "container_name": "jobs"},
            },
            "secrets": {"key": {"file": "/srv/r/1/key$$1"}},
        });
        Model::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_model_has_services() {
        for text in ["", "[]", "{}", r#"{"services":{}}"#, r#"{"services":[1]}"#] {
            assert!(Model::parse(text.as_bytes()).is_err(), "{text}");
        }
        let model = model();
        assert_eq!(model.services().collect::<Vec<_>>(), ["db", "jobs", "web"]);
        assert!(model.is_built("web") && !model.is_built("db"));
        assert_eq!((model.replicas("db"), model.replicas("web"), model.replicas("none")), (2, 1, 0));
        assert!(!model.can_run_twice("db", 1) && !model.can_run_twice("jobs", 1));
        assert!(!model.can_run_twice("web", 8000), "it publishes 9000 too");
        let with = |key: &str, value: Value| {
            let mut model = self::model();
            model.0["services"]["web"]["ports"] = json!([{"target": 8000, "published": "80"}]);
            model.0["services"]["web"][key] = value;
            model
        };
        assert!(with("init", json!(true)).can_run_twice("web", 8000));
        assert!(!with("networks", json!({"default": {"ipv4_address": "10.0.0.9"}})).can_run_twice("web", 8000));
        let mut shared = with("init", json!(true));
        shared.0["services"]["db"]["network_mode"] = json!("service:web");
        assert!(!shared.can_run_twice("web", 8000));
    }

    #[test]
    fn what_others_need_is_stopped_last() {
        assert_eq!(model().stop_order(), ["jobs", "web", "db"]);
        let circle = Model::parse(br#"{"services":{"a":{"depends_on":{"b":{}}},"b":{"depends_on":{"a":{}}}}}"#).unwrap();
        assert_eq!(circle.stop_order().len(), 2);
    }

    #[test]
    fn what_is_waited_for_before_a_start() {
        let mut model = model();
        assert!(model.awaits("web").is_empty(), "to have been started is enough");
        model.0["services"]["web"]["depends_on"] = json!({"db": {"condition": "service_healthy"}, "jobs": {"condition": "service_completed_successfully"}, "gone": {"condition": "service_healthy", "required": false}});
        assert_eq!(model.awaits("web"), [("db".to_owned(), false), ("jobs".to_owned(), true)].into());
    }

    #[test]
    fn what_is_applied_is_pinned() {
        let model = model();
        let slot = Path::new("/srv/r/1");
        assert_eq!(model.mounted(slot), [("/srv/r/1/conf".into(), Mounted::Bind), ("/srv/r/1/key$1".into(), Mounted::File)].into());
        let places = [("/srv/r/1/conf", "/srv/binds/aa/conf"), ("/srv/r/1/key$1", "/srv/binds/b$/key")].map(|(from, to)| (from.into(), to.into())).into();
        let images = [("web", "ours:1"), ("db", "postgres@sha256:cc"), ("jobs", "ours:1")].map(|(name, image)| (name.to_owned(), image.to_owned())).into();
        let serves = Serves { service: "web".into(), port: 8000 };
        let variables = BTreeMap::new();
        let (applied, definitions) = model.to_apply(&Pinned { project: "media", repo: "o/m$", images: &images, places: &places, proxied: Some(&serves), variables: &variables });
        let web = &applied["services"]["web"];
        assert_eq!(web["image"], "ours:1");
        assert!(web.get("build").is_none() && web.get("pull_policy").is_none());
        assert_eq!(web["labels"], json!({"traefik.enable": "true", "doorstep.project": "media", "doorstep.repo": "o/m$$", "doorstep.definition": definitions["web"]}));
        assert_eq!(web["ports"], json!([{"target": 9000, "published": "9000"}]));
        assert_eq!(web["volumes"][0]["source"], "/srv/binds/aa/conf");
        assert_eq!(web["volumes"][1]["source"], "/srv/media");
        assert_eq!(web["environment"]["PRICE"], "5$$");
        assert_eq!(applied["secrets"]["key"]["file"], "/srv/binds/b$$/key");
        assert_eq!(applied["services"]["jobs"]["container_name"], "jobs");
    }

    #[test]
    fn a_definition_is_what_a_container_is_made_of() {
        let of = |change: &dyn Fn(&mut Value), variable: &str| {
            let mut model = model();
            model.0["services"]["db"]["secrets"] = json!([{"source": "key"}, {"source": "word"}]);
            model.0["secrets"]["word"] = json!({"environment": "WORD"});
            change(&mut model.0);
            let variables = [("WORD".to_owned(), variable.to_owned())].into();
            model.to_apply(&Pinned { project: "media", repo: "o/m", images: &BTreeMap::new(), places: &BTreeMap::new(), proxied: None, variables: &variables }).1
        };
        let was = of(&|_| {}, "a");
        let same = of(&|model| {
            model["services"]["db"]["scale"] = json!(3);
            model["services"]["web"]["depends_on"] = json!({});
            model["services"]["web"]["build"]["context"] = json!("/elsewhere");
        }, "a");
        assert_eq!(was, same);
        let differing = |now: BTreeMap<String, String>| was.keys().filter(|name| was[*name] != now[*name]).cloned().collect::<Vec<_>>();
        assert_eq!(differing(of(&|model| model["services"]["web"]["environment"]["PRICE"] = json!("6"), "a")), ["web"]);
        assert_eq!(differing(of(&|model| model["secrets"]["key"]["file"] = json!("/srv/r/1/other"), "a")), ["db"], "another secret is another container");
        assert_eq!(differing(of(&|_| {}, "b")), ["db"], "so is another word in it");
    }

    #[test]
    fn what_is_built_keeps_its_own_name_too() {
        let built = model().to_build(&[("web".to_owned(), "doorstep.invalid/media/web:r7".to_owned())].into());
        assert_eq!(built["services"]["web"]["image"], "doorstep.invalid/media/web:r7");
        assert_eq!(built["services"]["web"]["build"]["tags"], json!(["me/web:latest"]));
    }

    #[test]
    fn a_build_is_known_by_what_it_reads() {
        let key = |model: &Model, slot: &str, tree: &str| model.build_key("web", Path::new(slot), &|path: &Path| (path == Path::new("")).then(|| tree.to_owned()));
        let one = key(&model(), "/srv/r/1", "t1").unwrap();
        let mut moved = model();
        moved.0["services"]["web"]["build"]["context"] = json!("/srv/r/2");
        assert_eq!(key(&moved, "/srv/r/2", "t1"), Some(one.clone()), "another slot is no other build");
        assert_ne!(key(&model(), "/srv/r/1", "t2"), Some(one.clone()));
        moved.0["services"]["web"]["build"]["args"] = json!({"A": "1"});
        assert_ne!(key(&moved, "/srv/r/2", "t1"), Some(one));
        assert_eq!(key(&moved, "/srv/r/1", "t1"), None, "a context outside is not known");
        moved.0["services"]["web"]["build"]["secrets"] = json!([{"source": "key"}]);
        assert_eq!(key(&moved, "/srv/r/2", "t1"), None);
    }

    #[test]
    fn images_of_ours_have_names_that_the_engine_takes() {
        assert_eq!(image_name("media", "web"), "doorstep.invalid/media/web");
        assert_eq!(image_name("my.app_2", "a-b"), "doorstep.invalid/my.app_2/a-b");
        for service in ["Web", "a..b", "_a", "a-", "a._b"] {
            let name = image_name("media", service);
            let last = name.rsplit('/').next().unwrap();
            assert!(last.len() == 17 && last.starts_with('x'), "{name}");
        }
    }
}
