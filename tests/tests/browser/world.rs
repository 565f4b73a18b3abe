//! What the scenarios look at: a real host with the project `shop`, and the verbs
//! by which a script has something happen to it.
//!
//! The host's file has two hooks before the switch: one prints the file `say` of
//! a release, one waits, where a release has the file `held`, until somebody opens
//! that gate, and says so in colours. So a script decides how long a run is under way.

use std::path::Path;

use doorstep_tests::{App, Pushed, Shop, Terms};

use crate::script;

const HOOKS: &str = r#"[project.shop.hooks]
before_switch = [
  ["sh", "-c", "if [ -e say ]; then cat say; fi"],
  ["sh", "-c", "if [ -e held ]; then printf 'the \\033[1;31mhook\\033[0m waits\\n'; until [ -e {dir}/open-$(cat held) ]; do sleep 0.05; done; printf 'the hook \\033[32mgoes\\033[0m on\\n'; fi"],
]
"#;
/// Lines that a run is made to print, when it is to print many.
const LONG_LINES: u32 = 100_000;

/// The world of one story.
pub struct World {
    /// The project and everybody around it.
    pub shop: Shop,
    last: Option<Pushed>,
}

impl World {
    /// A host that is online, and nothing was pushed yet.
    pub async fn new() -> Self {
        let terms = Terms::of(&App::quick("")).within("1500ms");
        let (head, health) = ("[policy]\nremote = [\"fetch\", \"deploy\", \"rollback\", \"restart\", \"stop\", \"start\", \"rebuild\", \"logs\"]\n", format!("{}\n{HOOKS}", terms.health));
        let mut shop = Shop::found(Terms { head: head.to_owned(), health, ..terms }).await;
        shop.host.run_online(&shop.edge).await;
        Self { shop, last: None }
    }

    /// The same, with this first version live.
    pub async fn serving(version: &str) -> Self {
        let mut world = Self::new().await;
        world.act(&["push", version]).await;
        world.act(&["ended"]).await;
        world.shop.serves(version).await;
        world
    }

    /// Runs a scenario in this world.
    pub async fn plays(&mut self, name: &str, chromium: &Path) -> Vec<String> {
        let environment = [("DOORSTEP_URL", self.shop.edge.url(""))];
        script::run(name, chromium, &environment, async |words| self.act(words).await).await
    }

    /// Carries out one verb:
    ///
    /// - `push VERSION [held|sick|long]` answers with the commit,
    /// - `open VERSION` lets one that is held go on,
    /// - `ended` waits for the end of the last push's run, and answers with its id,
    /// - `host stop` and `host start`,
    /// - `idle` waits until no job is left.
    pub async fn act(&mut self, words: &[&str]) -> String {
        match words {
            ["push", version, how @ ..] => self.push(version, how).await,
            ["open", version] => {
                std::fs::write(self.shop.host.apps().join(format!("open-{version}")), "").unwrap();
                "done".to_owned()
            }
            ["ended"] => {
                let run = self.shop.ended(self.last.as_ref().unwrap()).await;
                run["run"]["id"].as_str().unwrap().to_owned()
            }
            ["host", "stop"] => {
                self.shop.host.stop().await;
                "done".to_owned()
            }
            ["host", "start"] => {
                self.shop.host.run();
                "done".to_owned()
            }
            ["idle"] => {
                self.shop.is_idle().await;
                "done".to_owned()
            }
            other => panic!("a script asked for {other:?}, which is no verb"),
        }
    }

    async fn push(&mut self, version: &str, how: &[&str]) -> String {
        let app = App::quick(version);
        let app = match how {
            [] => app,
            ["held"] => app.file("held", version),
            ["sick"] => app.made_sick(),
            ["long"] => app.file("say", &(1..=LONG_LINES).map(|line| format!("{line:06}\n")).collect::<String>()),
            other => panic!("a push is not {other:?}"),
        };
        let pushed = self.shop.push(&app).await;
        self.last.insert(pushed).commit.clone()
    }
}
