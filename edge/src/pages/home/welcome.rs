//! For somebody who has no host or no project yet: what to do next.

use super::super::html::Html;
use super::super::parts;

/// For somebody who has nothing yet.
pub fn first_host() -> Html {
    let mut html = Html::new();
    html.raw("<section class=\"card\" id=\"first-host\"><h2>No host yet</h2>");
    html.raw("<p>A host is a machine of yours that runs <code>doorstep</code>. It dials out; nothing listens on it for us.</p>");
    html.raw("<ol><li>Press the button for a one-time code:").add(&parts::enroll_button());
    html.raw("</li><li>On the host, write <code>/etc/doorstep/doorstep.toml</code>:").add(&smallest_file());
    html.raw("</li><li>Type these three commands there; the page behind the button fills in the first:");
    html.add(&commands())
        .raw("</li></ol><p class=\"muted\">This page shows the host as soon as it has joined.</p></section>");
    html
}

fn commands() -> Html {
    let mut html = Html::new();
    html.raw("<pre><code># this dashboard's address, and the code\ndoorstep join &lt;address&gt; &lt;code&gt;\n");
    html.raw("# keeps the link and the apps up\ndoorstep run\n# in another terminal: what it has\ndoorstep status</code></pre>");
    html
}

/// For somebody who has a host: the first project, or one more.
pub fn next_steps(no_project: bool) -> Html {
    let mut html = Html::new();
    if no_project {
        html.raw("<section class=\"card\" id=\"first-project\"><h2>No project yet</h2>")
            .add(&project_help())
            .raw("</section>");
    }
    html.raw("<details class=\"card\" id=\"more\"><summary>Add a host");
    html.raw(if no_project { "" } else { " or a project" }).raw("</summary><h2>A host</h2>");
    html.raw(
        "<p>The button makes a one-time code. On the new host, write a <code>doorstep.toml</code> and type these ",
    );
    html.raw("three commands; the page behind the button fills in the first:</p>").add(&commands());
    html.add(&parts::enroll_button());
    if !no_project {
        html.raw("<h2>A project</h2>").add(&project_help());
    }
    html.raw("</details>");
    html
}

fn project_help() -> Html {
    let mut html = Html::new();
    html.raw("<p>Projects stand in <code>doorstep.toml</code> on their host. This is the smallest one, which is fetched and laid out there:</p>");
    html.add(&smallest_file());
    html.raw("<p>For a repository with a <code>compose.yaml</code>, this line more:</p><pre><code>[project.shop.compose]</code></pre>");
    html.raw("<p>A Python program says how it is started:</p><pre><code>[project.shop.process]\n");
    html.raw("command = [\"python\", \"-m\", \"uvicorn\", \"app:app\", \"--port\", \"{port}\"]</code></pre>");
    html.raw("<p>The daemon reads the file when it starts.</p>");
    html.raw("<p>Then <code>doorstep deploy shop</code> on the host, or push to its branch, <code>main</code> unless the file ");
    html.raw("says otherwise. For pushes, the repository on GitHub needs a <a href=\"/deliveries\">webhook</a>.</p>");
    html
}

fn smallest_file() -> Html {
    let mut html = Html::new();
    html.raw("<pre><code>[project.shop]\nrepo = \"https://github.com/me/shop\"</code></pre>");
    html
}

