//! Apps that are compose projects: a service `web` that says its version, and
//! what can be wrong with it.

use crate::App;

const COMPOSE: &str = "services:
  web:
    build: web
    ports: [\"@PORT@:8000\"]
    restart: unless-stopped
  side:
    image: base:1
    command: [\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; echo the side is up; sleep 100000 & wait\"]
";

/// As the first process it ends at once when it is asked to.
const SERVE: &str = "trap 'exit 0' TERM
echo version @VERSION@ listens
@BEFORE@
httpd -f -p 8000 -h /www &
wait
";

const DOCKERFILE: &str = "FROM base:1
COPY serve.sh /serve.sh
COPY www /www
CMD [\"/bin/sh\", \"/serve.sh\"]
";

impl App {
    /// A compose project: `web` answers `{"version": …}` at `/` and at `/health`.
    /// It publishes the story's port. Beside it `side`, which never changes.
    #[must_use]
    pub fn composed(version: &str) -> Self {
        let said = format!("{{\"version\": \"{version}\"}}");
        let app = Self { files: Vec::new(), command: "[]" };
        app.file("compose.yaml", COMPOSE)
            .file("web/Dockerfile", DOCKERFILE)
            .file("web/serve.sh", &SERVE.replace("@VERSION@", version).replace("@BEFORE@", ""))
            .file("web/www/index.html", &said)
            .file("web/www/health", &said)
    }

    /// The same, but it carries out this line of shell before it listens.
    #[must_use]
    pub fn before_it_listens(self, line: &str) -> Self {
        let text = self.text("web/serve.sh").replace("httpd ", &format!("{line}\nhttpd "));
        self.file("web/serve.sh", &text)
    }

    /// The same, with a text of its compose file replaced by another.
    ///
    /// # Panics
    ///
    /// When it is not there.
    #[must_use]
    pub fn with_compose(self, from: &str, to: &str) -> Self {
        let text = self.text("compose.yaml").to_owned();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        self.file("compose.yaml", &text.replacen(from, to, 1))
    }

    /// This file, and no other.
    #[must_use]
    pub fn only(mut self, path: &str, text: &str) -> Self {
        self.files.clear();
        self.file(path, text)
    }

    /// The same, publishing another port of this host.
    #[must_use]
    pub fn publishing(self, address: std::net::SocketAddr) -> Self {
        self.with_compose("@PORT@", &address.to_string())
    }
}
