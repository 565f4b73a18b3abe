//! The addresses of others: the edge, the git origin of a project, the page of
//! a health check.
//!
//! None of them may carry credentials: an URL ends in logs, in reports and on
//! git's command line. Messages therefore never repeat the value. A git origin
//! must also be nothing that git takes for an option or for a transport helper
//! (`ext::sh -c ...` runs a command).

use std::path::PathBuf;

use ::url::Url;

use super::address::PORT_PLACEHOLDER;
use super::model::Repo;

/// Reads the edge's URL; no slash is left at its end.
pub(super) fn edge(text: &str) -> Result<String, String> {
    let url = http(text, "a host signs in with what `doorstep join` gave it")?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the edge's URL has no query and no fragment".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Reads where a health check asks over HTTP: a path or a whole URL, whose port
/// may be `{port}`. Handed back as it was written.
pub(super) fn health(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        let numbered = text.replacen(PORT_PLACEHOLDER, "1", 1);
        http(&numbered, "a health check needs none")?;
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a path has no spaces; write other characters as %20".to_owned());
    }
    if text.contains('#') {
        return Err("a fragment (`#...`) never reaches the server".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads where people reach a project; handed back as it was written.
pub(super) fn address(text: &str) -> Result<String, String> {
    http(text, "it is shown on pages").map(|_| text.to_owned())
}

/// Reads where git fetches a project from.
pub(super) fn repo(text: &str) -> Result<Repo, String> {
    if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
        return Err(
            "not a git origin: it is empty, starts with `-` or holds a control character"
                .to_owned(),
        );
    }
    let before_slash = text.split('/').next().unwrap_or_default();
    if before_slash.contains("::") {
        return Err("git's transport helpers (`name::address`) are refused: they can run commands; use https, ssh or a path".to_owned());
    }
    match text.split_once("://") {
        Some((scheme, _)) => repo_url(text, &scheme.to_ascii_lowercase()),
        // git's own rule: a colon before the first slash makes it an address.
        None if before_slash.contains(':') => scp_like(text),
        None => repo_path(text),
    }
}

fn repo_url(text: &str, scheme: &str) -> Result<Repo, String> {
    match scheme {
        "http" | "https" => {
            let url = http(text, "put the token in a file and name it in `token_file`")?;
            no_suffix(&url)?;
            has_path(&url)?;
            Ok(Repo::Http(text.to_owned()))
        }
        "ssh" => ssh_url(text),
        "file" => {
            let url = strict(text)?;
            no_suffix(&url)?;
            has_path(&url)?;
            if url.host().is_some() {
                return Err(
                    "a file URL has three slashes, such as \"file:///srv/git/shop\"".to_owned(),
                );
            }
            Ok(Repo::File(text.to_owned()))
        }
        _ => Err("the origin is an https, ssh or file URL, or a path".to_owned()),
    }
}

fn ssh_url(text: &str) -> Result<Repo, String> {
    let url = strict(text)?;
    no_suffix(&url)?;
    has_path(&url)?;
    if url.password().is_some() {
        return Err("an ssh URL has no password; ssh uses a key".to_owned());
    }
    ssh_name(url.username())?;
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() {
        return Err("the URL has no host".to_owned());
    }
    ssh_name(host)?;
    Ok(Repo::Ssh(text.to_owned()))
}

/// `[user@]host:path`, git's short form of an ssh address.
fn scp_like(text: &str) -> Result<Repo, String> {
    let (user, rest) = text.split_once('@').unwrap_or(("", text));
    if user.contains(':') {
        return Err("an ssh address has no password; ssh uses a key".to_owned());
    }
    let (host, path) = rest.split_once(':').unwrap_or((rest, ""));
    let spaced = text.contains(char::is_whitespace);
    if host.is_empty() || path.is_empty() || path.starts_with('-') || spaced {
        return Err("not an ssh address such as \"git@github.com:me/shop\"".to_owned());
    }
    if ["http", "https", "ssh", "file"].contains(&host) {
        return Err(format!("two slashes are missing: {host}://"));
    }
    ssh_name(user)?;
    ssh_name(host)?;
    Ok(Repo::Ssh(text.to_owned()))
}

/// git hands the user and the host to ssh as arguments, where a leading dash
/// would make an option, and a percent sign can decode to one.
fn ssh_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-[]:".contains(c);
    if name.starts_with('-') || !name.chars().all(plain) {
        return Err("the user and the host of an ssh address are plain names".to_owned());
    }
    Ok(())
}

fn repo_path(text: &str) -> Result<Repo, String> {
    if text.starts_with('~') {
        return Err("`~` is not expanded in this file; write the whole path".to_owned());
    }
    let first = text.split('/').next().unwrap_or_default();
    let dotted = first.contains('.') && !first.starts_with('.');
    if dotted && text.contains('/') {
        return Err(
            "this would be a path; write https:// before a host, or ./ before a folder".to_owned(),
        );
    }
    Ok(Repo::Path(PathBuf::from(text)))
}

/// An http or https URL without credentials; `instead` says where those belong.
fn http(text: &str, instead: &str) -> Result<Url, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err("expected a URL that starts with https:// or http://".to_owned());
    }
    let url = strict(text)?;
    // The parser would skip further slashes until it finds a host.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err("the URL has no host".to_owned());
    }
    if authority.contains('@') {
        return Err(format!("no user or password may stand in a URL; {instead}"));
    }
    if url.port() == Some(0) {
        return Err("the port is a number from 1 to 65535".to_owned());
    }
    Ok(url)
}

/// Parses without the parser's leniency: it would drop tabs and newlines, trim
/// spaces and turn backslashes into slashes, and git would see another URL.
fn strict(text: &str) -> Result<Url, String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if text.contains(odd) {
        return Err("a URL has no spaces, control characters or backslashes".to_owned());
    }
    Url::parse(text).map_err(|error| format!("not a URL: {error}"))
}

fn no_suffix(url: &Url) -> Result<(), String> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a git origin has no query and no fragment".to_owned());
    }
    Ok(())
}

fn has_path(url: &Url) -> Result<(), String> {
    if url.path().trim_matches('/').is_empty() {
        return Err("the URL names a server but no repository".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_people_reach_it_is_a_page_without_a_password() {
        assert_eq!(address("https://shop.home.example/a?b#c").as_deref(), Ok("https://shop.home.example/a?b#c"));
        for text in ["", "shop.example", "javascript:alert(1)", "https://", "https://ann:secret@shop.example"] {
            let fault = address(text).unwrap_err();
            assert!(!fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn an_edge_is_a_plain_url() {
        for (text, expected) in [
            (
                "https://d.example.workers.dev",
                "https://d.example.workers.dev",
            ),
            ("https://d.example/", "https://d.example"),
            ("http://127.0.0.1:8787/a//", "http://127.0.0.1:8787/a"),
            ("HTTPS://D.Example:443/", "https://d.example"),
        ] {
            assert_eq!(edge(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "d.example",
            "ftp://d.example",
            "wss://d.example",
            "https:d.example",
            "https://",
            "https://me:pw@d.example",
            "https://me@d.example",
            "https://@d.example",
            "https://d.example/?a=b",
            "https://d.example/#x",
            " https://d.example",
            "https://d.ex\nample",
            "https:\\\\d.example",
            "https://d.example:0",
            "https://d.example:99999",
            "/path",
            "https://d.example\\@evil.example",
        ] {
            assert!(edge(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn origins_that_git_can_fetch() {
        let http = |t: &str| Repo::Http(t.to_owned());
        let ssh = |t: &str| Repo::Ssh(t.to_owned());
        let path = |t: &str| Repo::Path(PathBuf::from(t));
        for (text, make) in [
            ("https://github.com/me/shop", &http as &dyn Fn(&str) -> Repo),
            ("http://127.0.0.1:8080/shop.git", &http),
            ("ssh://git@github.com:22/me/shop.git", &ssh),
            ("ssh://github.com/me/shop", &ssh),
            ("git@github.com:me/shop.git", &ssh),
            ("host:shop", &ssh),
            ("file:///srv/git/shop", &|t| Repo::File(t.to_owned())),
            ("/srv/git/shop", &path),
            ("/srv/git/a:b", &path),
            ("./shop", &path),
            ("../shop.git", &path),
            ("shop", &path),
            ("shop.git", &path),
            ("work/shop", &path),
        ] {
            assert_eq!(repo(text), Ok(make(text)));
        }
    }

    #[test]
    fn origins_that_are_refused() {
        for (text, part) in [
            ("", "empty"),
            ("-oProxyCommand=x", "starts with `-`"),
            ("--upload-pack=x", "starts with `-`"),
            ("/srv/a\0b", "control character"),
            ("ext::sh -c touch% /tmp/x", "transport helpers"),
            ("fd::17/foo", "transport helpers"),
            ("https::https://x/y", "transport helpers"),
            ("https://me:pw@github.com/me/shop", "token_file"),
            ("https://ghp_abc@github.com/me/shop", "token_file"),
            ("https://github.com/me/shop?token=x", "no query"),
            ("https://github.com/me/shop#x", "no fragment"),
            ("https://github.com", "no repository"),
            ("https:github.com/me/shop", "two slashes are missing"),
            ("ftp://github.com/me/shop", "https, ssh or file"),
            ("git://github.com/me/shop", "https, ssh or file"),
            ("ssh://git:pw@github.com/me/shop", "no password"),
            ("ssh://-oProxyCommand=x/shop", "plain names"),
            ("ssh://%2doProxyCommand=x/shop", "plain names"),
            ("ssh://-x@github.com/shop", "plain names"),
            ("me:pw@github.com:me/shop", "no password"),
            ("git@-oProxyCommand=x:shop", "plain names"),
            ("git@github.com:", "not an ssh address"),
            ("git@github.com:-x", "not an ssh address"),
            ("git@github.com:a b", "not an ssh address"),
            ("file://host/shop", "three slashes"),
            ("file:///", "no repository"),
            ("~/shop", "not expanded"),
            ("github.com/me/shop", "https://"),
        ] {
            let message = repo(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("pw") && !message.contains("ghp_"));
        }
    }

    #[test]
    fn a_health_page_is_a_path_or_a_url() {
        for text in [
            "/",
            "/health?full=1",
            "https://x/health",
            "http://127.0.0.1:{port}/h",
        ] {
            assert_eq!(health(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "health",
            "/a b",
            "/a#b",
            "/ü",
            "ftp://x/",
            "http://u:p@x/",
            "http:///",
        ] {
            assert!(health(text).is_err(), "{text}");
        }
    }
}
