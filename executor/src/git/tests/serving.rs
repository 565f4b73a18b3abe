//! A web server that runs `git http-backend`, and misbehaves when told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

/// What the server does instead of, or besides, serving.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// `Basic …` that must be in the request.
    pub auth: Option<String>,
    pub status: Option<u16>,
    /// Where the list of refs is redirected to.
    pub redirect: Option<String>,
    /// Ends the connection after so many bytes of a pack.
    pub cut_after: Option<usize>,
    /// Holds the pack back after so many bytes, until `release`.
    pub hold_after: Option<usize>,
    /// Takes requests and never answers.
    pub silent: bool,
    /// Answers with a web page.
    pub html: bool,
}

#[derive(Default)]
struct State {
    manners: Manners,
    seen: Vec<Seen>,
    connections: usize,
    released: bool,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

pub struct Server {
    pub port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Server {
    /// Serves the repositories below `root`.
    pub fn start(root: &Path, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new((
            Mutex::new(State {
                manners,
                ..State::default()
            }),
            Condvar::new(),
        ));
        let (state, root) = (Arc::clone(&shared), root.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, root) = (Arc::clone(&state), root.clone());
                state.0.lock().unwrap().connections += 1;
                std::thread::spawn(move || {
                    let _ = connection(stream.unwrap(), &root, &state);
                });
            }
        });
        Self { port, shared }
    }

    pub fn url(&self, repo: &str) -> String {
        format!("http://127.0.0.1:{}/{repo}", self.port)
    }

    pub fn set(&self, manners: Manners) {
        self.shared.0.lock().unwrap().manners = manners;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.0.lock().unwrap().seen.clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.0.lock().unwrap().connections
    }

    pub fn release(&self) {
        self.shared.0.lock().unwrap().released = true;
        self.shared.1.notify_all();
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

fn connection(stream: TcpStream, root: &Path, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    while let Some((seen, body)) = request(&mut reader)? {
        let manners = {
            let mut state = shared.0.lock().unwrap();
            state.seen.push(seen.clone());
            state.manners.clone()
        };
        if manners.silent {
            // Until the client hangs up.
            let _ = reader.read(&mut [0])?;
            return Ok(());
        }
        let refused = manners
            .auth
            .as_ref()
            .is_some_and(|want| seen.header("authorization") != Some(want));
        if refused || manners.status.is_some() {
            simple(&mut out, manners.status.unwrap_or(401), "", "no")?;
        } else if manners.html {
            simple(
                &mut out,
                200,
                "Content-Type: text/html\r\n",
                "<h1>Sign in</h1>",
            )?;
        } else if let Some(to) = manners.redirect.filter(|_| seen.line.starts_with("GET")) {
            simple(&mut out, 301, &format!("Location: {to}\r\n"), "")?;
        } else if !backend(&mut out, root, &seen, &body, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn simple(out: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    write!(
        out,
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<(Seen, Vec<u8>)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let seen = Seen {
        line: line.trim().to_owned(),
        headers,
    };
    let bytes = seen
        .header("content-length")
        .map_or(0, |l| l.parse().unwrap());
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body)?;
    Ok(Some((seen, body)))
}

/// Runs git and sends its answer in chunks; false when the line was cut.
fn backend(
    out: &mut TcpStream,
    root: &Path,
    seen: &Seen,
    body: &[u8],
    shared: &Shared,
) -> std::io::Result<bool> {
    let mut words = seen.line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", PathBuf::from(root))
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", seen.header("content-type").unwrap_or(""))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROTOCOL", seen.header("git-protocol").unwrap_or(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().unwrap().write_all(body)?;
    let mut answer = BufReader::new(child.stdout.take().unwrap());
    let mut status = "200 OK".to_owned();
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        match line.trim().split_once(": ") {
            Some(("Status", s)) => status = s.to_owned(),
            Some(_) => headers += &line.replace('\n', "\r\n").replace("\r\r", "\r"),
            None => break,
        }
    }
    write!(
        out,
        "HTTP/1.1 {status}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
    )?;
    let whole = send(out, &mut answer, method == "POST", shared);
    drop(answer);
    child.wait()?;
    whole
}

fn send(
    out: &mut TcpStream,
    answer: &mut impl Read,
    pack: bool,
    shared: &Shared,
) -> std::io::Result<bool> {
    let manners = shared.0.lock().unwrap().manners.clone();
    let mut buffer = vec![0; 16 * 1024];
    let mut sent = 0;
    loop {
        let bytes = answer.read(&mut buffer)?;
        write!(out, "{bytes:x}\r\n")?;
        out.write_all(&buffer[..bytes])?;
        out.write_all(b"\r\n")?;
        sent += bytes;
        if bytes == 0 {
            return Ok(true);
        }
        if pack && manners.cut_after.is_some_and(|limit| sent >= limit) {
            out.shutdown(std::net::Shutdown::Both)?;
            return Ok(false);
        }
        if pack && manners.hold_after.is_some_and(|limit| sent >= limit) {
            let mut state = shared.0.lock().unwrap();
            while !state.released {
                state = shared.1.wait(state).unwrap();
            }
        }
    }
}
