//! Apps as people write them, built by the real uv from the real index: what
//! their repositories need is found out, installed, and told.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use doorstep_tests::told::log;
use doorstep_tests::{App, Shop, Terms, wait};
use serde_json::Value;

fn sync_detail(run: &Value) -> String {
    let step = run["steps"].as_array().unwrap().iter().find(|step| step["name"] == "sync");
    step.map(|step| step["detail"].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn succeeded(run: &Value) -> &Value {
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    run
}

/// How a run that did not succeed ended, and its message.
fn failed(run: &Value) -> (&str, &str, &str) {
    let failure = &run["run"]["failure"];
    let word = |value: &'static str| failure[value].as_str().unwrap_or_default();
    (word("kind"), word("step"), word("message"))
}

/// Terms with more sections after those of the project.
fn terms(app: &App, sections: &str) -> Terms {
    let terms = Terms::of(app).within("30s").with_uv();
    Terms { health: format!("{}\n{sections}", terms.health), ..terms }
}

async fn deploys(shop: &mut Shop, app: &App, version: &str) -> Value {
    let run = shop.push_and_see(app).await;
    succeeded(&run);
    shop.serves(version).await;
    run
}

fn served_by(app: &App, command: &'static str) -> App {
    let mut app = app.clone();
    app.command = command;
    app
}

const SQLALCHEMY: &str = r#"from fastapi import FastAPI
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine("sqlite://")


@app.get("/")
def root():
    with engine.connect() as connection:
        return {"version": connection.execute(text("select '@VERSION@'")).scalar_one()}


@app.get("/health")
def health():
    return {"status": 200}
"#;

#[tokio::test]
async fn a_fastapi_app_of_many_packages() {
    let of = |version: &str| App::fastapi(version).depending(r#""fastapi[standard]", "sqlalchemy", "alembic", "pydantic-settings""#).file("app.py", &SQLALCHEMY.replace("@VERSION@", version));
    let (first, second) = (of("1").locked(), of("2"));
    let second = second.file("uv.lock", first.text("uv.lock"));
    let mut shop = Shop::open_on(terms(&first, ""), &first).await;
    let run = shop.run(&shop.runs().await[0]["id"]).await;
    let new: u32 = sync_detail(&run).split("packages: ").nth(1).and_then(|words| words.split(' ').next()?.parse().ok()).unwrap();
    assert!(new >= 30, "{}", sync_detail(&run));
    assert!(log(&run).contains("+ sqlalchemy "), "{}", log(&run));
    let run = deploys(&mut shop, &second, "2").await;
    assert_eq!(sync_detail(&run), "the live environment fits and was linked");
}

const FLASK: &str = r#"from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def root():
    return jsonify(version="@VERSION@")


@app.get("/health")
def health():
    return "well"
"#;

#[tokio::test]
async fn a_flask_app_with_requirements_loses_what_is_not_named_any_more() {
    let of = |version: &str, list: &str| {
        let app = App::bare(version).file("app.py", &FLASK.replace("@VERSION@", version)).file("requirements/prod.txt", list).file("requirements/dev.txt", "pytest\n");
        served_by(&app, r#"["gunicorn", "app:app", "--bind", "127.0.0.1:{port}"]"#)
    };
    let mut shop = Shop::open_on(terms(&of("1", ""), ""), &of("1", "flask\ngunicorn\nsix==1.16.0\n")).await;
    shop.serves("1").await;
    let same = deploys(&mut shop, &of("2", "flask\ngunicorn\nsix==1.16.0\n"), "2").await;
    assert_eq!(sync_detail(&same), "the live environment fits and was linked");
    let changed = deploys(&mut shop, &of("3", "flask\ngunicorn\nsix==1.17.0\n"), "3").await;
    assert!(log(&changed).contains("~ six 1.16.0 -> 1.17.0") && log(&changed).contains("requirements: requirements/prod.txt"), "{}", log(&changed));
    let gone = deploys(&mut shop, &of("4", "flask\ngunicorn\n"), "4").await;
    assert!(log(&gone).lines().any(|line| line == "- six 1.17.0"), "{}", log(&gone));
    assert_eq!(sync_detail(&gone), "requirements; packages: 0 new, 0 changed, 1 removed");
}

const DJANGO: &str = r#"import os, sys
from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.urls import path

settings.configure(
    DEBUG=False, ALLOWED_HOSTS=["shop.example", "127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY="for a test",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.staticfiles", "shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    STATIC_URL="static/", STATIC_ROOT="static", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)


def root(request):
    from shop.models import Thing
    return JsonResponse({"version": "@VERSION@", "things": Thing.objects.count()})


def health(request):
    return HttpResponse("well") if request.get_host() == "shop.example" else HttpResponse(status=421)


def static(request, name):
    with open(f"static/{name}", "rb") as file:
        return HttpResponse(file.read())


urlpatterns = [path("", root), path("health", health), path("static/<path:name>", static)]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
else:
    from django.core.wsgi import get_wsgi_application
    application = get_wsgi_application()
"#;

const MODELS: &str = "from django.db import models\n\n\nclass Thing(models.Model):\n    name = models.TextField()\n";

const MIGRATION: &str = r#"from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())]),
    ]
"#;

/// A second one, which names a table that is not there.
const BAD_MIGRATION: &str = r#"from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunSQL("ALTER TABLE nowhere ADD COLUMN price")]
"#;

#[tokio::test]
async fn a_django_app_with_migrations_and_static_files() {
    let of = |version: &str| {
        let app = App::plain(version).depending(r#""django", "gunicorn""#).file("app.py", &DJANGO.replace("@VERSION@", version));
        let app = app.file("shop/__init__.py", "").file("shop/models.py", MODELS).file("shop/migrations/__init__.py", "").file("shop/migrations/0001_initial.py", MIGRATION);
        served_by(&app.file("shop/static/shop.css", "body { color: teal }"), r#"["gunicorn", "app:application", "--bind", "127.0.0.1:{port}"]"#)
    };
    let first = of("1").locked();
    let hooks = r#"headers = { Host = "shop.example" }
[project.shop.process.env]
DATABASE = "{dir}/shop.sqlite3"
[project.shop.hooks]
before_switch = [["python", "app.py", "migrate", "--no-input"], ["python", "app.py", "collectstatic", "--no-input"]]"#;
    let mut shop = Shop::open_on(terms(&first, hooks), &first).await;
    shop.serves("1").await;
    assert_eq!(shop.get("/").await.unwrap().json()["things"], 0, "its table is there");
    assert_eq!(shop.get("/static/shop.css").await.unwrap().text(), "body { color: teal }");
    let second = of("2").file("uv.lock", first.text("uv.lock")).file("shop/migrations/0002_price.py", BAD_MIGRATION);
    let run = shop.push_and_see(&second).await;
    let (kind, step, message) = failed(&run);
    assert_eq!((kind, step), ("build", "before_switch"));
    assert!(message.contains("no such table: nowhere"), "{message}");
    shop.serves("1").await;
}

#[tokio::test]
async fn a_worker_without_a_port() {
    let of = |version: &str| App::bare(version).file("app.py", &format!("import time\nprint('worker {version} works', flush=True)\nwhile True:\n    time.sleep(0.05)\n"));
    let terms = Terms { command: r#"["python", "app.py"]"#.into(), is_proxied: false, health: "grace = \"200ms\"".into(), ..Terms::of(&of("1")) };
    let mut shop = Shop::open_on(terms, &of("1")).await;
    let run = shop.push_and_see(&of("2")).await;
    succeeded(&run);
    assert!(shop.host.logs("shop").await.contains("worker 2 works"));
    let run = shop.push_and_see(&of("3").file("app.py", "raise SystemExit('no queue to work at')")).await;
    let (kind, step, message) = failed(&run);
    assert_eq!((kind, step, run["run"]["state"].as_str()), ("health", "check", Some("rolled_back")));
    assert!(message.contains("exited with 1") && message.contains("no queue to work at"), "{message}");
    let works = async || shop.host.logs("shop").await;
    wait::until("the old worker to work again", works, |text| text.matches("worker 2 works").count() == 2).await;
}

#[tokio::test]
async fn a_package_that_is_built_from_its_source() {
    let build = "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n[tool.setuptools]\npy-modules = [\"app\"]\n";
    // docopt is published as source only.
    let pyproject = format!("[project]\nname = \"shop\"\nversion = \"0.1.0\"\nrequires-python = \">=3.11\"\ndependencies = [\"docopt==0.6.2\"]\n{build}");
    let app = App::plain("1").beginning("import docopt").file("pyproject.toml", &pyproject).locked();
    let mut shop = Shop::open_on(terms(&app, ""), &app).await;
    shop.serves("1").await;
    let broken = app.clone().file("pyproject.toml", &pyproject.replace("setuptools.build_meta", "setuptools.no_such_thing")).locked();
    let run = shop.push_and_see(&broken).await;
    let (kind, step, message) = failed(&run);
    assert_eq!((kind, step), ("build", "sync"), "{message}");
    assert!(message.contains("no_such_thing"), "{message}");
    shop.serves("1").await;
}

#[tokio::test]
async fn a_workspace_of_two_members() {
    let of = |version: &str| {
        let root = "[tool.uv.workspace]\nmembers = [\"packages/*\"]\n";
        let member = |name: &str, needs: &str| {
            format!("[project]\nname = \"{name}\"\nversion = \"0.1.0\"\nrequires-python = \">=3.11\"\ndependencies = [{needs}]\n[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n[tool.setuptools]\npy-modules = [\"{name}\"]\n")
        };
        let app = App::plain(version).beginning("import cart, till\nassert till.of(cart.ITEM) == 'a price'");
        let app = app.file("pyproject.toml", root).file("packages/cart/pyproject.toml", &member("cart", "\"idna\"")).file("packages/cart/cart.py", "import idna\nITEM = 'a thing'\n");
        app.file("packages/till/pyproject.toml", &member("till", "\"six\"")).file("packages/till/till.py", "import six\n\n\ndef of(item):\n    return 'a price'\n")
    };
    let app = of("1").locked();
    let mut shop = Shop::open_on(terms(&app, ""), &app).await;
    shop.serves("1").await;
    deploys(&mut shop, &of("2").file("uv.lock", app.text("uv.lock")), "2").await;
}

#[tokio::test]
async fn a_package_copied_from_the_repository_is_never_an_old_one() {
    let pyproject = "[project]\nname = \"part\"\nversion = \"0.1.0\"\n[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n[tool.setuptools]\npy-modules = [\"part\"]\n";
    let of = |version: &str| {
        let app = App::bare(version).beginning(&format!("import part\nassert part.CODE == 'of {version}', part.CODE"));
        app.file("requirements.txt", "./part\n").file("part/pyproject.toml", pyproject).file("part/part.py", &format!("CODE = 'of {version}'\n"))
    };
    let mut shop = Shop::open_on(terms(&of("1"), ""), &of("1")).await;
    // There are five slots; the sixth release is in the first one's again.
    for version in ["2", "3", "4", "5", "6"] {
        deploys(&mut shop, &of(version), version).await;
    }
}

#[tokio::test]
async fn an_upgrade_says_what_it_changed() {
    let of = |version: &str, wants: &str| App::plain(version).beginning("import idna").depending(&format!("\"{wants}\""));
    let old = of("1", "idna==3.6").locked();
    let mut shop = Shop::open_on(terms(&old, "[project.shop.python]\nsync = \"upgrade\""), &old).await;
    let run = deploys(&mut shop, &of("2", "idna>=3.6").file("uv.lock", old.text("uv.lock")), "2").await;
    assert!(log(&run).contains("~ idna 3.6 -> 3."), "{}", log(&run));
    let kept = std::fs::read_to_string(shop.host.apps().join("shop/current/uv.lock")).unwrap();
    assert!(!kept.contains("version = \"3.6\""), "the new lock stays with the release");
}

#[tokio::test]
async fn what_is_wrong_with_a_repository_is_named() {
    let app = App::plain("1").depending("\"idna\"").locked();
    let mut shop = Shop::open_on(terms(&app, ""), &app).await;
    for (bad, kind, step, said) in [
        (app.clone().depending("\"idna\", \"six\""), "source", "sync", "lockfile"),
        (App::plain("2").depending("\"idna>99\""), "source", "sync", "idna"),
        (App::bare("2").file("requirements/a.txt", "").file("requirements/b.txt", ""), "source", "plan", "python.requirements"),
        (App::bare("2").file("requirements.txt", "no-such-package-as-this-one-here\n"), "source", "sync", "no-such-package-as-this-one-here"),
    ] {
        let run = shop.push_and_see(&bad).await;
        let seen = failed(&run);
        assert_eq!((seen.0, seen.1), (kind, step), "{run:#}");
        assert!(seen.2.contains(said), "{}", seen.2);
        shop.serves("1").await;
    }
}

#[tokio::test]
async fn packages_that_do_not_go_together_are_named_and_a_projects_overrides_stand() {
    let overrides = "[tool.uv]\noverride-dependencies = [\"idna==2.0\"]\n";
    let app = App::plain("1").depending("\"requests==2.32.3\"");
    let app = app.clone().file("pyproject.toml", &format!("{}{overrides}", app.text("pyproject.toml"))).locked();
    let shop = Shop::open_on(terms(&app, ""), &app).await;
    shop.serves("1").await;
    let run = shop.run(&shop.runs().await[0]["id"]).await;
    assert!(log(&run).contains("idna>=2.5") && log(&run).contains("override-dependencies"), "{}", log(&run));
}
