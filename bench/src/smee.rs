//! smee as people run it: a server that GitHub posts to, and its client, which
//! holds a stream open and posts each event to a server on its own machine.
//!
//! The client is the real one, from npm (`smee/package-lock.json`). Its server
//! is in no registry, so it is played here, as far as the client and GitHub see
//! it: `GET /channel` is a stream of server-sent events, `POST /channel` parses
//! the JSON and sends it on, written anew, with the headers beside it. Nothing
//! is stored: without a client a post is answered and gone, as at smee.io.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use doorstep_tests::wait;
use serde_json::{Value, json};

use crate::http::{Connection, Request};
use crate::push;
use crate::script::as_on_a_host;

/// Names the folder where the client is installed; `bench/run` sets it.
const CLIENT_IN: &str = "DOORSTEP_BENCH_SMEE_DIR";
const CHANNEL: &str = "/channel";

/// The client's program, where it is installed.
pub fn client() -> Option<PathBuf> {
    let program = PathBuf::from(std::env::var_os(CLIENT_IN)?).join("node_modules/smee-client/bin/smee.js");
    program.is_file().then_some(program)
}

/// A server with one channel and a client at it.
#[derive(Debug)]
pub struct Smee {
    channel: Arc<Channel>,
    address: SocketAddr,
    client: Child,
}

/// The open streams of the channel.
#[derive(Debug, Default)]
struct Channel {
    streams: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Smee {
    /// Both of them; the client posts to `target`. Its words go to `log`.
    pub fn open(program: &Path, target: &str, log: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, channel) = (listener.local_addr()?, Arc::<Channel>::default());
        let serving = Arc::clone(&channel);
        std::thread::spawn(move || serving.serve(&listener));
        let out = std::fs::File::create(log)?;
        let mut command = Command::new("node");
        command.arg(program).args(["--url", &format!("http://{address}{CHANNEL}"), "--target", target]);
        let client = as_on_a_host(&mut command).stdout(out.try_clone()?).stderr(out).spawn().context("node does not start")?;
        let opened = Self { channel, address, client };
        let begun = Instant::now();
        while opened.channel.streams().is_empty() {
            if begun.elapsed() > wait::DEADLINE {
                bail!("smee-client does not connect: {}", std::fs::read_to_string(log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(opened)
    }

    /// GitHub tells the server of a push; returns when it began to.
    pub fn tell(&self, guid: &str, body: &[u8]) -> Result<Instant> {
        let request = push::request(CHANNEL, guid, body);
        let mut connection = Connection::open(self.address)?;
        let begun = Instant::now();
        let answer = connection.exchange(&request)?;
        if answer.status != 200 {
            bail!("smee answered {}", answer.status);
        }
        Ok(begun)
    }
}

impl Drop for Smee {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
        self.channel.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Channel {
    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (channel, Ok(stream)) = (Arc::clone(&self), stream) else { continue };
            std::thread::spawn(move || channel.connection(stream));
        }
    }

    fn connection(&self, mut out: TcpStream) -> Result<()> {
        out.set_nodelay(true)?;
        let mut reader = BufReader::new(out.try_clone()?);
        while let Some(request) = Request::read(&mut reader)? {
            match request.method.as_str() {
                "GET" => {
                    out.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\nevent: ready\ndata: {}\n\n")?;
                    // What comes from now on is events; the client says no more.
                    self.streams().push(out);
                    return Ok(());
                }
                _ => {
                    self.pass_on(&request)?;
                    out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
                }
            }
        }
        Ok(())
    }

    fn pass_on(&self, request: &Request) -> Result<()> {
        let body: Value = serde_json::from_slice(&request.body)?;
        let mut event = json!({"body": body, "query": {}});
        for (name, value) in &request.headers {
            event[name.as_str()] = value.as_str().into();
        }
        let text = format!("data: {event}\n\n");
        self.streams().retain_mut(|stream| stream.write_all(text.as_bytes()).is_ok());
        Ok(())
    }
}
