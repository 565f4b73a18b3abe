//! A package index of a story's own, with packages that are as large as it wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::Tools;

/// Makes a wheel of a module and a file of bytes beside it, and its page.
const WHEEL: &str = r#"import hashlib, os, pathlib, sys, zipfile

root, name, version, bytes_, is_noise = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5] == "true"
folder = root / "simple" / name
folder.mkdir(parents=True, exist_ok=True)
wheel = folder / f"{name}-{version}-py3-none-any.whl"
metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
info = f"{name}-{version}.dist-info"
files = {
    f"{name}/__init__.py": f"VERSION = {version!r}\n",
    f"{name}/load": os.urandom(bytes_) if is_noise else bytes(bytes_),
    f"{info}/METADATA": metadata,
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: stories\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED if is_noise else zipfile.ZIP_DEFLATED) as archive:
    for path, text in files.items():
        archive.writestr(path, text)
(folder / f"{wheel.name}.metadata").write_text(metadata)
digest = lambda data: hashlib.sha256(data).hexdigest()
link = f'<a href="{wheel.name}#sha256={digest(wheel.read_bytes())}" data-core-metadata="sha256={digest(metadata.encode())}">{wheel.name}</a>\n'
with open(folder / "index.html", "a") as page:
    page.write(link)
"#;

/// What a package holds besides its module.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// So many bytes that do not pack.
    Noise(usize),
    /// So many bytes that pack to nearly nothing.
    Zeros(usize),
}

/// The index, over HTTP. It ends with this value.
#[derive(Debug)]
pub struct Index {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    dir: TempDir,
}

impl Index {
    /// One without packages.
    #[must_use]
    pub fn new() -> Self {
        let (dir, is_over) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (root, over) = (dir.path().to_owned(), Arc::clone(&is_over));
        std::thread::spawn(move || serve(&listener, &root, &over));
        Self { address, is_over, dir }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/simple", self.address)
    }

    /// One more package.
    pub fn publish(&self, name: &str, version: &str, load: Load) {
        let (bytes, is_noise) = match load {
            Load::Noise(bytes) => (bytes, true),
            Load::Zeros(bytes) => (bytes, false),
        };
        let args = [name, version, &bytes.to_string(), &is_noise.to_string()];
        let output = Command::new(Tools::python()).args(["-c", WHEEL]).arg(self.dir.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(listener: &TcpListener, root: &Path, is_over: &AtomicBool) {
    for stream in listener.incoming() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let (root, Ok(stream)) = (root.to_owned(), stream) else { continue };
        std::thread::spawn(move || answer(stream, &root));
    }
}

/// Answers one request; each has a connection of its own.
fn answer(mut out: TcpStream, root: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(out.try_clone()?).lines();
    let line = lines.next().transpose()?.unwrap_or_default();
    // Up to the empty one, or its end would come as a reset.
    for header in lines {
        if header?.is_empty() {
            break;
        }
    }
    let path = line.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match std::fs::read(file(root, path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let kind = if path.ends_with('/') { "text/html" } else { "application/octet-stream" };
    write!(out, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    if line.starts_with("HEAD") { Ok(()) } else { out.write_all(&body) }
}

fn file(root: &Path, path: &str) -> PathBuf {
    let path = root.join(path.trim_start_matches('/'));
    if path.is_dir() { path.join("index.html") } else { path }
}
