//! What an ask for an action says beside its host, its project and its action:
//! one service, perhaps, and for a form where its button stood.
//!
//! Pure. Invariant: what is not understood is refused and never passed over,
//! for without its service an ask is one for the whole project. What is absent:
//! whether there is such a service, which is the hub's to know.

use doorstep_shared::ids::{Action, BadServiceName, Name, ServiceName};
use serde::{Deserialize, Serialize};

/// Longest body of an ask: one name of 200 bytes, however it is written.
pub const BODY_BYTES_MAX: u64 = 4 * 1024;

/// A field's name and its value.
pub type Field = (String, String);

/// Where a button stood, and so where its person goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Back {
    /// The project's page.
    #[default]
    Project,
    /// The page of all services.
    Containers,
    /// The first page.
    Home,
}

impl Back {
    /// What a form says.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Containers => "containers",
            Self::Home => "home",
        }
    }

    /// The page, at its part about this project.
    #[must_use]
    pub fn path(self, host: &Name, project: &Name) -> String {
        match self {
            Self::Project => format!("/projects/{host}/{project}"),
            Self::Containers => format!("/containers#project/{host}/{project}"),
            Self::Home => format!("/#project/{host}/{project}"),
        }
    }
}

/// What a project is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The action.
    pub action: Action,
    /// The one service that is meant, if it is one.
    pub service: Option<ServiceName>,
    /// The commit to go back to, of a rollback.
    pub commit: Option<String>,
}

/// What was asked for, beside the action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The one service that is meant; all of them when there is none.
    pub service: Option<ServiceName>,
    /// The commit to go back to; what was live before when there is none.
    pub commit: Option<String>,
    /// Where its person goes on.
    pub back: Back,
}

/// Why an ask was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAsk {
    /// A field that no ask has.
    #[error("an ask has no `{0}`; name one service with `service`, or none for all of them, and with `commit` what to roll back to")]
    Field(String),
    /// A body that is something else.
    #[error("the body is not `{{\"service\": \"NAME\"}}` or `{{\"commit\": \"COMMIT\"}}`: {0}")]
    Body(String),
    /// A name that none can have.
    #[error(transparent)]
    Service(#[from] BadServiceName),
    /// What is no commit.
    #[error("`{0}` is not a commit: 40 or 64 hexadecimal digits")]
    Commit(String),
    /// Two services.
    #[error("an ask names at most one service")]
    Twice,
}

/// The body of an API's ask.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    commit: Option<String>,
}

/// Can this action be asked of one service?
#[must_use]
pub fn takes_service(action: Action) -> bool {
    match action {
        Action::Restart | Action::Stop | Action::Start | Action::Rebuild => true,
        Action::Fetch | Action::Deploy | Action::Rollback => false,
    }
}

/// The part of a host's file that allows these actions beside what it allows
/// now: a table's head and its line.
#[must_use]
pub fn policy(project: &str, allowed: &[Action], shows_logs: bool, wanted: &[Action]) -> String {
    let is_in = |action: &&Action| allowed.contains(action) || wanted.contains(action);
    let mut words: Vec<&str> = Action::ALL.iter().filter(is_in).map(|action| action.as_str()).collect();
    if shows_logs {
        words.push("logs");
    }
    format!("[project.{project}.policy]\nremote = [\"{}\"]", words.join("\", \""))
}

/// What a program asks for, by its query or by its body.
///
/// # Errors
///
/// When either is not understood, or they name two services.
pub fn of_api(query: &[Field], body: &[u8]) -> Result<Asked, BadAsk> {
    let mut asked = Asked::default();
    for (name, value) in query {
        match name.as_str() {
            "service" => asked.name(value)?,
            "commit" => asked.go_back_to(value)?,
            other => return Err(unknown(other)),
        }
    }
    if !body.trim_ascii().is_empty() {
        let body: Body = serde_json::from_slice(body).map_err(|fault| BadAsk::Body(fault.to_string()))?;
        if let Some(service) = body.service {
            asked.name(&service)?;
        }
        if let Some(commit) = body.commit {
            asked.go_back_to(&commit)?;
        }
    }
    Ok(asked)
}

/// What a person asks for, by the fields of a page's form.
///
/// # Errors
///
/// When a field is not understood.
pub fn of_form(fields: &[Field]) -> Result<Asked, BadAsk> {
    let mut asked = Asked::default();
    for (name, value) in fields {
        match (name.as_str(), value.as_str()) {
            ("service", service) => asked.name(service)?,
            ("commit", commit) => asked.go_back_to(commit)?,
            ("back", "containers") => asked.back = Back::Containers,
            ("back", "home") => asked.back = Back::Home,
            (other, _) => return Err(unknown(other)),
        }
    }
    Ok(asked)
}

impl Asked {
    fn name(&mut self, service: &str) -> Result<(), BadAsk> {
        match self.service.replace(service.parse()?) {
            None => Ok(()),
            Some(_) => Err(BadAsk::Twice),
        }
    }

    fn go_back_to(&mut self, commit: &str) -> Result<(), BadAsk> {
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadAsk::Commit(commit.chars().take(80).collect()));
        }
        self.commit = Some(commit.to_ascii_lowercase());
        Ok(())
    }
}

fn unknown(field: &str) -> BadAsk {
    BadAsk::Field(field.chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn api(query: &[(&str, &str)], body: &str) -> Result<Option<String>, BadAsk> {
        of_api(&fields(query), body.as_bytes()).map(|asked| asked.service.map(String::from))
    }

    #[test]
    fn a_service_is_named_by_the_query_or_the_body() {
        assert_eq!(api(&[], ""), Ok(None));
        for none in ["{}", " \n", r#"{"service":null}"#] {
            assert_eq!(api(&[], none), Ok(None), "{none:?}");
        }
        assert_eq!(api(&[("service", "web")], ""), Ok(Some("web".into())));
        assert_eq!(api(&[], r#"{"service":"web"}"#), Ok(Some("web".into())));
        assert_eq!(api(&[("service", "web")], r#"{"service":"web"}"#), Err(BadAsk::Twice));
    }

    #[test]
    fn what_is_not_understood_is_not_an_ask_for_everything() {
        for bad in ["", "-web", "a b", "../web", "wéb"] {
            assert!(matches!(api(&[("service", bad)], ""), Err(BadAsk::Service(_))), "{bad}");
        }
        for bad in [r#"{"services":"web"}"#, r#"{"service":["web"]}"#, r#""web""#, "service=web", "{", "\u{feff}{}"] {
            assert!(matches!(api(&[], bad), Err(BadAsk::Body(_))), "{bad}");
        }
        assert_eq!(api(&[("services", "web")], ""), Err(BadAsk::Field("services".into())));
        let said = BadAsk::Field("services".into()).to_string();
        assert_eq!(said, "an ask has no `services`; name one service with `service`, or none for all of them, and with `commit` what to roll back to");
    }

    #[test]
    fn the_line_that_allows_an_action_keeps_what_was_allowed() {
        let line = policy("shop", &[Action::Deploy], true, &[Action::Stop, Action::Fetch]);
        assert_eq!(line, "[project.shop.policy]\nremote = [\"fetch\", \"deploy\", \"stop\", \"logs\"]");
        assert_eq!(policy("a", &[], false, &[Action::Start]), "[project.a.policy]\nremote = [\"start\"]");
    }

    #[test]
    fn a_form_says_where_its_button_stood() {
        let form = |pairs: &[(&str, &str)]| of_form(&fields(pairs));
        assert_eq!(form(&[]), Ok(Asked::default()));
        assert_eq!(form(&[("back", "home")]), Ok(Asked { back: Back::Home, ..Asked::default() }));
        let commit = "0a".repeat(20);
        assert_eq!(form(&[("commit", &commit.to_uppercase())]), Ok(Asked { commit: Some(commit.clone()), ..Asked::default() }));
        for bad in ["", "main", "0a0a0a0", &"g".repeat(40)] {
            assert_eq!(form(&[("commit", bad)]), Err(BadAsk::Commit(bad.into())));
        }
        let web = Some("web".parse().unwrap());
        assert_eq!(form(&[("service", "web"), ("back", "containers")]), Ok(Asked { service: web, back: Back::Containers, ..Asked::default() }));
        for bad in [[("back", "//evil.example")], [("service", "")], [("next", "/")]] {
            assert!(form(&bad).is_err(), "{bad:?}");
        }
    }
}
