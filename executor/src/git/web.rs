//! The HTTP half of git's smart protocol: one client, shared by all fetches.
//!
//! Requests are driven from the blocking thread on a tokio handle, in slices
//! of [`TICK`], so that a cancelled or overdue fetch ends while it waits for
//! the network as well. Answers are read as they come; nothing holds a pack.
//!
//! Redirects are followed by hand, for the first request only: the rest of the
//! fetch goes where it led. The token goes to the origin's own host only.

use super::claims::State;
use super::error::{FetchError, clean};
use super::fetch::Bounds;
use super::origin::Token;
use reqwest::{RequestBuilder, Response, StatusCode, Url, header};
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long a wait goes on before cancellation and deadline are looked at.
const TICK: Duration = Duration::from_millis(100);
/// The end mark comes with the last data or right behind it; a new connection
/// costs about as much as this on a far origin.
const DRAIN: Duration = Duration::from_millis(100);
/// Real chains are short: http to https, then a renamed repository.
const REDIRECTS_MAX: usize = 5;

/// How long the network may be silent.
#[derive(Clone, Copy, Debug)]
pub struct WebLimits {
    /// For name, TCP and TLS together.
    pub connect: Duration,
    /// Between two pieces of an answer, and before its first.
    pub idle: Duration,
}

impl Default for WebLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(60),
        }
    }
}

/// The HTTP client of all fetches. Cloning is cheap; connections are shared.
#[derive(Clone, Debug)]
pub struct Web {
    client: reqwest::Client,
    handle: Handle,
    limits: WebLimits,
}

impl Web {
    /// Makes the client. `handle` is that of a running tokio runtime with IO
    /// and time; it must not be shut down while a fetch is under way.
    ///
    /// Proxies are taken from the environment (`HTTPS_PROXY` and friends),
    /// certificates from the platform.
    pub fn new(handle: Handle, limits: WebLimits) -> Result<Self, FetchError> {
        // An error only means that a provider was installed before; that one
        // serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!(
                "git/2.0 (doorstep ",
                env!("CARGO_PKG_VERSION"),
                ")"
            ))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .build()
            .map_err(|e| FetchError::Other {
                url: "any origin".into(),
                why: format!("the http client could not be made: {}", chain(&e)),
            })?;
        Ok(Self {
            client,
            handle,
            limits,
        })
    }
}

/// One fetch, as its transport sees it.
pub(super) struct Call {
    pub web: Web,
    /// The origin's address; for a local origin nothing here is used.
    pub home: Option<Url>,
    pub shown: String,
    pub token: Option<Token>,
    pub bounds: Bounds,
    /// How the first round of the negotiation is answered.
    pub claims: State,
    /// What went wrong in our code below libgit2, which passes only text on.
    pub failure: Mutex<Option<FetchError>>,
}

impl Call {
    /// Ends a fetch that is cancelled or overdue.
    pub fn check(&self) -> Result<(), FetchError> {
        if self.bounds.cancel.load(Ordering::Relaxed) {
            return Err(FetchError::Cancelled);
        }
        if Instant::now() >= self.bounds.deadline {
            return Err(FetchError::TimedOut {
                url: self.shown.clone(),
            });
        }
        Ok(())
    }

    /// Keeps the first failure; later ones follow from it.
    pub fn fail(&self, error: FetchError) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
    }

    /// Asks for the list of refs. The second value is where the repository
    /// turned out to be.
    pub fn list_refs(&self) -> Result<(Response, Url), FetchError> {
        let home = self
            .home
            .as_ref()
            .ok_or_else(|| self.network("no address".into()))?;
        let mut at = below(home, "info/refs?service=git-upload-pack");
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(self.web.client.get(at.clone()), home, &at)?;
            if response.status().is_redirection() {
                at = self.follow(&at, &response)?;
                continue;
            }
            self.judge(&response, "application/x-git-upload-pack-advertisement")?;
            return Ok((response, self.base_of(&at)?));
        }
        Err(self.bad_url("it redirects too often"))
    }

    /// Sends one round of the negotiation to `base`.
    pub fn upload_pack(&self, base: &Url, body: Vec<u8>) -> Result<Response, FetchError> {
        let home = self.home.as_ref().unwrap_or(base);
        let at = below(base, "git-upload-pack");
        let request = self
            .web
            .client
            .post(at.clone())
            .header(
                header::CONTENT_TYPE,
                "application/x-git-upload-pack-request",
            )
            .header(header::ACCEPT, "application/x-git-upload-pack-result")
            .body(body);
        let response = self.send(request, home, &at)?;
        if response.status().is_redirection() {
            return Err(self.network("a redirect in the middle of the fetch".into()));
        }
        self.judge(&response, "application/x-git-upload-pack-result")?;
        Ok(response)
    }

    /// The next piece of an answer; `None` at its end.
    pub fn next_piece(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, FetchError> {
        self.wait(response.chunk())?
            .map_err(|e| self.network(chain(&e)))
    }

    /// Reads what is left of an answer, normally its end mark alone: libgit2
    /// stops at the last packet, and a connection whose answer was not read to
    /// its end is not used again. One with more to say is not waited for.
    pub fn drain(&self, response: &mut Response) {
        if self.check().is_err() || self.failure.lock().is_ok_and(|failure| failure.is_some()) {
            return;
        }
        self.web.handle.block_on(async {
            let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
            let _ = tokio::time::timeout(DRAIN, rest).await;
        });
    }

    fn send(&self, request: RequestBuilder, home: &Url, at: &Url) -> Result<Response, FetchError> {
        let request = match &self.token {
            Some(token) if same_host(home, at) => {
                request.basic_auth("x-access-token", Some(token.reveal()))
            }
            Some(_) | None => request,
        };
        self.wait(request.send())?
            .map_err(|e| self.network(chain(&e)))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, FetchError> {
        let silent_until = Instant::now() + self.web.limits.idle;
        self.web.handle.block_on(async {
            let mut future = pin!(future);
            loop {
                self.check()?;
                let now = Instant::now();
                if now >= silent_until {
                    let idle_s = self.web.limits.idle.as_secs_f32();
                    return Err(self.network(format!("it was silent for {idle_s} s")));
                }
                let slice = TICK
                    .min(silent_until - now)
                    .min(self.bounds.deadline.saturating_duration_since(now));
                if let Ok(value) = tokio::time::timeout(slice, future.as_mut()).await {
                    return Ok(value);
                }
            }
        })
    }

    fn follow(&self, at: &Url, response: &Response) -> Result<Url, FetchError> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|l| l.to_str().ok());
        let next = location
            .and_then(|l| at.join(l).ok())
            .ok_or_else(|| self.bad_url("it redirects to nowhere"))?;
        let plain_at_home =
            next.scheme() == "http" && at.scheme() == "http" && next.host() == at.host();
        if next.scheme() != "https" && !plain_at_home {
            return Err(self.bad_url("it redirects to a place that is not https"));
        }
        Ok(next)
    }

    /// The repository behind an address that answered with refs.
    fn base_of(&self, at: &Url) -> Result<Url, FetchError> {
        let mut base = at.clone();
        let path = at.path().strip_suffix("/info/refs").map(str::to_owned);
        base.set_path(&path.ok_or_else(|| self.bad_url("it redirects to what is no repository"))?);
        base.set_query(None);
        base.set_fragment(None);
        Ok(base)
    }

    fn judge(&self, response: &Response, content_type: &str) -> Result<(), FetchError> {
        let status = response.status();
        let (url, why) = (self.shown.clone(), status.as_u16().to_string());
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(FetchError::Denied { url, why });
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(FetchError::NotFound { url, why });
            }
            s if s.is_server_error()
                || s == StatusCode::TOO_MANY_REQUESTS
                || s == StatusCode::REQUEST_TIMEOUT =>
            {
                return Err(self.network(format!("it answered {status}")));
            }
            _ => {
                return Err(FetchError::Other {
                    url,
                    why: format!("it answered {status}"),
                });
            }
        }
        let given = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|t| t.to_str().ok())
            .unwrap_or("nothing");
        if given.split(';').next().map(str::trim) != Some(content_type) {
            return Err(self.bad_url(&clean(&format!(
                "it answered with {given}, not with git's smart protocol"
            ))));
        }
        Ok(())
    }

    fn network(&self, why: String) -> FetchError {
        FetchError::Network {
            url: self.shown.clone(),
            why,
        }
    }

    fn bad_url(&self, why: &str) -> FetchError {
        FetchError::BadUrl {
            url: self.shown.clone(),
            why: why.to_owned(),
        }
    }
}

/// Whether a token for `home` may go to `at`: the same host, and either https
/// or exactly the scheme and port that the owner of the host wrote.
fn same_host(home: &Url, at: &Url) -> bool {
    let same_door =
        home.scheme() == at.scheme() && home.port_or_known_default() == at.port_or_known_default();
    let to_tls = home.scheme() == "http" && at.scheme() == "https" && at.port().is_none();
    home.host() == at.host() && (same_door || to_tls)
}

fn below(base: &Url, what: &str) -> Url {
    let (path, query) = match what.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (what, None),
    };
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.set_query(query);
    url
}

/// An error with its causes, without the URL that reqwest adds.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "could not connect".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_send(home: &str, at: &str) -> bool {
        same_host(&Url::parse(home).unwrap(), &Url::parse(at).unwrap())
    }

    #[test]
    fn a_token_stays_with_its_host_and_door() {
        assert!(may_send("https://a/x", "https://a:443/y"));
        assert!(may_send("http://a/x", "https://a/x"));
        assert!(may_send("http://a:3000/x", "http://a:3000/x"));
        assert!(!may_send("https://a/x", "http://a/x"));
        assert!(!may_send("https://a/x", "https://b/x"));
        assert!(!may_send("https://a/x", "https://a.b/x"));
        assert!(!may_send("https://a/x", "https://a:8443/x"));
        assert!(!may_send("http://a:3000/x", "http://a:4000/x"));
    }

    #[test]
    fn requests_go_below_the_repository() {
        for base in ["https://a/x", "https://a/x/"] {
            let url = below(&Url::parse(base).unwrap(), "info/refs?service=s");
            assert_eq!(url.as_str(), "https://a/x/info/refs?service=s");
        }
    }
}
