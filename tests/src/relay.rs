//! A wire to somebody whom a host asks over TCP. It is cut in the middle of an
//! answer, after so many bytes, and stays dead until it is healed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes that are handed on at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What somebody notices of a wire that is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Connections end, and new ones do so at once.
    Hangup,
    /// Nothing: connections stay, and no byte comes.
    Silence,
    /// Every connection, new ones too, ends after so many bytes of answers; what
    /// is shorter comes whole.
    EachTime,
}

/// The wire. It ends with this value.
#[derive(Debug)]
pub struct Relay {
    wire: Arc<Wire>,
    address: SocketAddr,
    /// What is asked through it.
    url: String,
}

#[derive(Debug)]
struct Wire {
    to: SocketAddr,
    state: Mutex<State>,
    /// Both ends of every connection.
    ends: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Whole,
    /// So many bytes of answers are handed on yet.
    Ends(usize, Death),
    Dead(Death),
    /// So many bytes of each connection's answers are handed on; was one cut yet?
    EndsEach(usize, bool),
}

impl Relay {
    /// A wire to the server of an `http` URL.
    #[must_use]
    pub fn to(url: &str) -> Self {
        let place = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Wire {
            to: place.parse().unwrap(),
            state: Mutex::new(State::Whole),
            ends: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let carrying = Arc::clone(&wire);
        std::thread::spawn(move || carrying.carry(&listener));
        Self { wire, address, url: url.replacen(place, &address.to_string(), 1) }
    }

    /// The same URL, through this wire.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// It dies once so many more bytes of answers have passed, or cuts each
    /// connection there.
    pub fn cut_after(&self, bytes: usize, death: Death) {
        *self.wire.state.lock().unwrap() = match death {
            Death::EachTime => State::EndsEach(bytes, false),
            Death::Hangup | Death::Silence => State::Ends(bytes, death),
        };
    }

    /// Has it cut an answer?
    #[must_use]
    pub fn has_cut(&self) -> bool {
        matches!(*self.wire.state.lock().unwrap(), State::Dead(_) | State::EndsEach(_, true))
    }

    /// It carries again; what it carried when it died is lost.
    pub fn heal(&self) {
        *self.wire.state.lock().unwrap() = State::Whole;
        self.wire.hang_up();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.wire.is_over.store(true, Ordering::SeqCst);
        self.wire.hang_up();
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Wire {
    fn carry(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            if let State::Dead(Death::Hangup) = *self.state.lock().unwrap() {
                continue;
            }
            let _ = self.connect(client);
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.to)?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            self.ends.lock().unwrap().push(end.try_clone()?);
        }
        let (asks, answered) = (client.try_clone()?, server.try_clone()?);
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || there.hand_on(asks, server, |_, bytes| Some(bytes)));
        std::thread::spawn(move || back.hand_on(answered, client, |before, bytes| back.passes(before, bytes)));
        Ok(())
    }

    /// Hands bytes on, of each piece as many as `passes` says, until an end is
    /// gone or the wire died.
    fn hand_on(&self, mut from: TcpStream, mut to: TcpStream, passes: impl Fn(usize, usize) -> Option<usize>) {
        let (mut piece, mut before) = ([0; PIECE_BYTES], 0);
        while let Ok(bytes @ 1..) = from.read(&mut piece) {
            let Some(passed) = passes(before, bytes) else { return };
            before += passed;
            if to.write_all(&piece[..passed]).is_err() || passed < bytes && self.ends_each() {
                break;
            }
            if let State::Dead(Death::Hangup) = *self.state.lock().unwrap() {
                self.hang_up();
            }
        }
        if !matches!(*self.state.lock().unwrap(), State::Dead(Death::Silence)) {
            let _ = to.shutdown(Shutdown::Write);
            if self.ends_each() {
                let _ = from.shutdown(Shutdown::Both);
            }
        }
    }

    fn ends_each(&self) -> bool {
        matches!(*self.state.lock().unwrap(), State::EndsEach(..))
    }

    /// How many of these bytes of an answer pass, which come after those
    /// `before` on the same connection; `None` once it is dead.
    fn passes(&self, before: usize, bytes: usize) -> Option<usize> {
        let mut state = self.state.lock().unwrap();
        match *state {
            State::Whole => Some(bytes),
            State::Ends(left, death) if left <= bytes => {
                *state = State::Dead(death);
                Some(left)
            }
            State::Ends(left, death) => {
                *state = State::Ends(left - bytes, death);
                Some(bytes)
            }
            State::Dead(_) => None,
            State::EndsEach(most, _) if before + bytes > most => {
                *state = State::EndsEach(most, true);
                Some(most - before)
            }
            State::EndsEach(..) => Some(bytes),
        }
    }

    fn hang_up(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
