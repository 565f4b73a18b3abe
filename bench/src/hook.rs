//! A server that does one thing at each request: what stands where a webhook
//! server would, when none is installed or none is wanted.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use crate::http::Request;

/// The server, until it is dropped.
#[derive(Debug)]
pub struct Hook {
    /// Where it listens.
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Hook {
    /// Believes everybody, and does this before it answers; one request at a time.
    pub fn start(mut act: impl FnMut() + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, is_over) = (listener.local_addr()?, Arc::<AtomicBool>::default());
        let end = Arc::clone(&is_over);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                // Whoever does not get through is missed by who waits for the act.
                let _ = stream.map_err(anyhow::Error::from).and_then(|stream| serve(stream, &mut act));
            }
        });
        Ok(Self { address, is_over })
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, act: &mut impl FnMut()) -> Result<()> {
    if Request::read(&mut BufReader::new(stream.try_clone()?))?.is_some() {
        act();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}
