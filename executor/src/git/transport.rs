//! Our smart subtransport: libgit2 speaks the git protocol, [`Call`] carries
//! it over HTTP.
//!
//! libgit2 keeps transports in one global table, filled once per process, and
//! asks the table's factory for a transport in the middle of a fetch, with
//! nothing of ours in hand. The fetch's own state (token, deadline, client)
//! reaches the factory through a thread-local: libgit2 calls it on the thread
//! that fetches, and a fetch does not leave that thread. The other way, a key
//! hidden in the URL, would put a made-up address into every error text.

use super::claims::{self, Claims};
use super::error::FetchError;
use super::web::Call;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use reqwest::{Response, Url};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

/// The largest request: 256 "have" lines of 50 bytes, the wants and the
/// capabilities come to under 20 kB; a megabyte is far beyond it.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Call>>> = const { RefCell::new(None) };
}

/// Makes http and https ours. Without its `https` feature libgit2 brings no
/// transport for https, and custom ones are looked up before its own http.
///
/// # Safety
///
/// No other thread may use libgit2's transports meanwhile.
#[expect(unsafe_code, reason = "libgit2's table of transports is a global")]
pub(super) unsafe fn register() -> Result<(), git2::Error> {
    for scheme in ["http", "https"] {
        // SAFETY: handed on to our caller.
        unsafe {
            git2::transport::register(scheme, |remote| {
                let call = CURRENT.with_borrow(Clone::clone);
                let call = call
                    .ok_or_else(|| git2::Error::from_str("no fetch is under way on this thread"))?;
                Transport::smart(
                    remote,
                    true,
                    Subtransport {
                        call,
                        base: Arc::default(),
                    },
                )
            })?;
        }
    }
    Ok(())
}

/// Lends `call` to the transports of this thread for the time of `work`.
pub(super) fn lend<T>(call: &Arc<Call>, work: impl FnOnce() -> T) -> T {
    struct Back(Option<Arc<Call>>);
    impl Drop for Back {
        fn drop(&mut self) {
            let before = self.0.take();
            CURRENT.with_borrow_mut(|current| *current = before);
        }
    }
    let before = CURRENT.with_borrow_mut(|current| current.replace(Arc::clone(call)));
    let _back = Back(before);
    work()
}

struct Subtransport {
    call: Arc<Call>,
    /// Where the list of refs was found, after redirects.
    base: Arc<Mutex<Option<Url>>>,
}

impl SmartSubtransport for Subtransport {
    fn action(
        &self,
        _url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let lists = match service {
            Service::UploadPackLs => true,
            Service::UploadPack => false,
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(git2::Error::from_str("this transport does not push"));
            }
        };
        let base = Arc::clone(&self.base);
        Ok(Box::new(Exchange {
            call: Arc::clone(&self.call),
            base,
            lists,
            request: Vec::new(),
            answer: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer. libgit2 writes the request, then reads; the
/// first read sends.
struct Exchange {
    call: Arc<Call>,
    base: Arc<Mutex<Option<Url>>>,
    lists: bool,
    request: Vec<u8>,
    answer: Option<Answer>,
}

struct Answer {
    /// `None` when nobody was asked.
    response: Option<Response>,
    piece: bytes::Bytes,
}

impl Exchange {
    fn send(&mut self) -> Result<Answer, FetchError> {
        if let Some(told) = self.claimed() {
            return Ok(Answer {
                response: None,
                piece: told.into(),
            });
        }
        let mut base = self.base.lock().unwrap_or_else(|e| e.into_inner());
        let response = if self.lists {
            let (response, found) = self.call.list_refs()?;
            *base = Some(found);
            response
        } else {
            let found = base.as_ref().or(self.call.home.as_ref());
            let found = found.ok_or_else(|| FetchError::Other {
                url: self.call.shown.clone(),
                why: "a pack was asked for before the list of refs".into(),
            })?;
            self.call
                .upload_pack(found, std::mem::take(&mut self.request))?
        };
        drop(base);
        self.judged(response)
    }

    /// What is said in the origin's place, if anything is.
    fn claimed(&self) -> Option<Vec<u8>> {
        let told = match (self.lists, self.call.claims.get()) {
            (false, Claims::Allowed) => claims::answer(&self.request)?,
            _ => return None,
        };
        self.call.claims.set(Claims::Made);
        Some(told)
    }

    /// Looks at what the origin says to a claim; one that it refutes ends this
    /// try before the pack has come.
    fn judged(&self, mut response: Response) -> Result<Answer, FetchError> {
        let mut start = Vec::new();
        if !self.lists && self.call.claims.get() == Claims::Made {
            while start.len() < claims::REFUTED.len()
                && let Some(piece) = self.call.next_piece(&mut response)?
            {
                start.extend_from_slice(&piece);
            }
            if start.starts_with(claims::REFUTED) {
                self.call.claims.set(Claims::Refuted);
                return Err(FetchError::Other {
                    url: self.call.shown.clone(),
                    why: "it has nothing of what is here".into(),
                });
            }
        }
        Ok(Answer {
            response: Some(response),
            piece: start.into(),
        })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        if self.answer.is_none() {
            self.answer = Some(self.send()?);
        }
        let Some(answer) = &mut self.answer else {
            return Ok(0);
        };
        while answer.piece.is_empty() {
            let Some(response) = &mut answer.response else {
                return Ok(0);
            };
            match self.call.next_piece(response)? {
                Some(piece) => answer.piece = piece,
                None => return Ok(0),
            }
        }
        let bytes = buffer.len().min(answer.piece.len());
        buffer[..bytes].copy_from_slice(&answer.piece.split_to(bytes));
        Ok(bytes)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(response) = self.answer.as_mut().and_then(|answer| answer.response.as_mut()) {
            self.call.drain(response);
        }
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill(buffer).map_err(|error| {
            let text = io::Error::other(error.to_string());
            self.call.fail(error);
            text
        })
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.request.len() + bytes.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::other("the request is too large"));
        }
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
