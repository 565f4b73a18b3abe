//! Bare repositories made and changed with the real `git`, served over HTTP by
//! `git http-backend`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

/// Runs git in a folder, free of the machine's settings, and returns its stdout.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let settings = ["user.name=Ann", "user.email=ann@example.org", "init.defaultBranch=main", "commit.gpgsign=false"];
    let output = Command::new("git")
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("no_proxy", "127.0.0.1")
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// One repository, `owner/name`, on a server of its own.
#[derive(Debug)]
pub struct GitOrigin {
    server: Arc<Server>,
    address: SocketAddr,
    name: String,
    dir: TempDir,
}

#[derive(Debug)]
struct Server {
    root: PathBuf,
    token: Mutex<Option<String>>,
    requests: AtomicUsize,
    is_down: AtomicBool,
    is_over: AtomicBool,
}

impl GitOrigin {
    /// An empty repository, open to everybody.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("served");
        let (bare, work) = (root.join(format!("{name}.git")), dir.path().join("work"));
        std::fs::create_dir_all(&bare).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        git(&bare, &["init", "-q", "--bare"]);
        git(&work, &["init", "-q"]);
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server {
            root,
            token: Mutex::new(None),
            requests: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&server);
        std::thread::spawn(move || serving.serve(&listener));
        Self { server, address, name: name.to_owned(), dir }
    }

    /// `owner/name`, as GitHub calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address over HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/{}.git", self.address, self.name)
    }

    /// Its path on disk.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.server.root.join(format!("{}.git", self.name))
    }

    /// Asks for this token from now on, as the password of any user.
    pub fn protect(&self, token: &str) {
        *self.server.token.lock().unwrap() = Some(token.to_owned());
    }

    /// Answers 503 to everything, or no longer.
    pub fn set_down(&self, is_down: bool) {
        self.server.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How many requests came.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.server.requests.load(Ordering::SeqCst)
    }

    /// Where files are changed before they are committed.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Writes these files (`None` removes one), commits and pushes to `main`;
    /// returns the commit.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        let work = self.work();
        for (path, text) in files {
            let path = work.join(path);
            match text {
                Some(text) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, text).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
        git(&work, &["add", "-A", "-f"]);
        git(&work, &["commit", "-q", "--allow-empty", "-m", message]);
        self.push("main")
    }

    /// Pushes the work folder's head to a branch, by force; returns the commit.
    pub fn push(&self, branch: &str) -> String {
        let work = self.work();
        git(&work, &["push", "-q", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        git(&work, &["rev-parse", "HEAD"])
    }

    /// Goes back to an older commit and pushes that by force.
    pub fn rewind(&self, commit: &str) -> String {
        git(&self.work(), &["reset", "-q", "--hard", commit]);
        self.push("main")
    }
}

impl Drop for GitOrigin {
    fn drop(&mut self) {
        self.server.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Server {
    fn serve(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (server, Ok(stream)) = (Arc::clone(&self), stream) else { continue };
            std::thread::spawn(move || server.connection(stream));
        }
    }

    fn connection(&self, mut out: TcpStream) -> std::io::Result<()> {
        out.set_nodelay(true)?;
        let mut reader = BufReader::new(out.try_clone()?);
        while let Some(request) = read_request(&mut reader)? {
            self.requests.fetch_add(1, Ordering::SeqCst);
            if self.is_down.load(Ordering::SeqCst) {
                simple(&mut out, "503 Service Unavailable", "")?;
            } else if !self.is_welcome(&request) {
                simple(&mut out, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"git\"\r\n")?;
            } else {
                self.backend(&mut out, &request)?;
            }
        }
        Ok(())
    }

    fn is_welcome(&self, request: &Request) -> bool {
        let Some(token) = self.token.lock().unwrap().clone() else { return true };
        let given = request.header("authorization").strip_prefix("Basic ").map(from_base64).unwrap_or_default();
        given.split_once(':').is_some_and(|(_, password)| password == token)
    }

    fn backend(&self, out: &mut TcpStream, request: &Request) -> std::io::Result<()> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", request.header("content-type"))
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
            .env("GIT_PROTOCOL", request.header("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        child.stdin.take().unwrap().write_all(&request.body)?;
        let mut answer = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut answer)?;
        child.wait()?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let (mut status, mut headers) = ("200 OK".to_owned(), String::new());
        for line in head.lines() {
            match line.strip_prefix("Status: ") {
                Some(given) => given.clone_into(&mut status),
                None => headers += &format!("{line}\r\n"),
            }
        }
        let body = answer.get(end + 4..).unwrap_or_default();
        write!(out, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len())?;
        out.write_all(body)
    }
}

fn simple(out: &mut TcpStream, status: &str, headers: &str) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n")
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let line = read_line(reader)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut request = Request { method, target, headers: Vec::new(), body: Vec::new() };
    while let Some((name, value)) = read_line(reader)?.split_once(':') {
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.header("transfer-encoding") == "chunked" {
        while let size @ 1.. = usize::from_str_radix(&read_line(reader)?, 16).unwrap_or(0) {
            let begin = request.body.len();
            request.body.resize(begin + size, 0);
            reader.read_exact(&mut request.body[begin..])?;
            read_line(reader)?;
        }
        read_line(reader)?;
    } else {
        request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

fn read_line(reader: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Text from base64; what is not base64 is skipped.
fn from_base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sixes = text.bytes().filter_map(|byte| LETTERS.iter().position(|letter| *letter == byte));
    let (mut bits, mut held, mut bytes) = (0usize, 0u32, Vec::new());
    for six in sixes {
        bits = (bits << 6) | six;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
            bits &= (1 << held) - 1;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
