//! What an ask for an action says beside its host, its project and its action:
//! one service, perhaps.
//!
//! Pure. Invariant: what is not understood is refused and never passed over,
//! for without its service an ask is one for the whole project. What is absent:
//! whether there is such a service, which is the hub's to know.

use doorstep_shared::ids::{Action, BadServiceName, ServiceName};
use serde::Deserialize;

/// Longest body of an ask: one name of 200 bytes, however it is written.
pub const BODY_BYTES_MAX: u64 = 4 * 1024;

/// A field's name and its value.
pub type Field = (String, String);

/// Why an ask was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAsk {
    /// A field that no ask has.
    #[error("an ask has no `{0}`; name one service with `service`, or none for all of them")]
    Field(String),
    /// A body that is something else.
    #[error("the body is not `{{\"service\": \"NAME\"}}`: {0}")]
    Body(String),
    /// A name that none can have.
    #[error(transparent)]
    Service(#[from] BadServiceName),
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
}

/// Can this action be asked of one service?
#[must_use]
pub fn takes_service(action: Action) -> bool {
    match action {
        Action::Restart | Action::Stop | Action::Start | Action::Rebuild => true,
        Action::Fetch | Action::Deploy | Action::Rollback => false,
    }
}

/// What a program asks for, by its query or by its body.
///
/// # Errors
///
/// When either is not understood, or they name two services.
pub fn of_api(query: &[Field], body: &[u8]) -> Result<Option<ServiceName>, BadAsk> {
    let mut named = None;
    for (name, value) in query {
        match name.as_str() {
            "service" => name_it(&mut named, value)?,
            other => return Err(unknown(other)),
        }
    }
    if !body.trim_ascii().is_empty() {
        let body: Body = serde_json::from_slice(body).map_err(|fault| BadAsk::Body(fault.to_string()))?;
        if let Some(service) = body.service {
            name_it(&mut named, &service)?;
        }
    }
    Ok(named)
}

/// What a person asks for, by the fields of a page's form.
///
/// # Errors
///
/// When a field is not understood.
pub fn of_form(fields: &[Field]) -> Result<Option<ServiceName>, BadAsk> {
    let mut named = None;
    for (name, value) in fields {
        match name.as_str() {
            "service" => name_it(&mut named, value)?,
            other => return Err(unknown(other)),
        }
    }
    Ok(named)
}

fn name_it(named: &mut Option<ServiceName>, service: &str) -> Result<(), BadAsk> {
    match named.replace(service.parse()?) {
        None => Ok(()),
        Some(_) => Err(BadAsk::Twice),
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
        of_api(&fields(query), body.as_bytes()).map(|named| named.map(String::from))
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
        assert_eq!(said, "an ask has no `services`; name one service with `service`, or none for all of them");
    }

    #[test]
    fn a_form_names_a_service_or_none() {
        let form = |pairs: &[(&str, &str)]| of_form(&fields(pairs));
        assert_eq!(form(&[]), Ok(None));
        assert_eq!(form(&[("service", "web")]), Ok(Some("web".parse().unwrap())));
        for bad in [[("service", "")], [("next", "/")]] {
            assert!(form(&bad).is_err(), "{bad:?}");
        }
    }
}
