//! HTTP/1.1 by hand: one request at a time on a kept connection, with nothing
//! between the clock and the socket.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long one exchange may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(10);
/// The largest answer that is read: a page of 500 projects with room to spare.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The largest request that is served: a delivery with room to spare.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, in its chunks when it came in some.
    pub body: Vec<u8>,
    /// Everything that came, the head included.
    pub wire_bytes: usize,
}

/// What came to a server.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The headers, their names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The next one of a connection; `None` at its end.
    pub fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let line = read_line(reader)?;
        let Some(method) = line.split(' ').next().filter(|method| !method.is_empty()) else { return Ok(None) };
        let mut request = Self { method: method.to_owned(), headers: Vec::new(), body: Vec::new() };
        while let Some((name, value)) = read_line(reader)?.split_once(':') {
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = request.headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
        let length: usize = length.parse().context("not a length")?;
        if length > REQUEST_BYTES_MAX {
            bail!("a request of {length} bytes");
        }
        request.body = vec![0; length];
        reader.read_exact(&mut request.body)?;
        Ok(Some(request))
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, EXCHANGE_MAX).with_context(|| format!("{address} takes no connection"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(EXCHANGE_MAX))?;
        Ok(Self { stream, bytes: Vec::with_capacity(4_096) })
    }

    /// Sends a request and reads its answer.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).context("the request was not taken")?;
        self.bytes.clear();
        loop {
            if let Some(answer) = parse(&self.bytes)? {
                return Ok(answer);
            }
            let mut chunk = [0u8; 16_384];
            let count = self.stream.read(&mut chunk).context("no answer")?;
            if count == 0 {
                bail!("the connection ended after {} bytes of an answer: {:?}", self.bytes.len(), String::from_utf8_lossy(&self.bytes));
            }
            if self.bytes.len() > ANSWER_BYTES_MAX {
                bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
            }
            self.bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }
}

/// One `GET` on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    Connection::open(address)?.exchange(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// The answer, once it is whole.
pub fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end);
    let rest = rest.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("not an HTTP answer")?;
    let header = |name: &str| head.lines().filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, value)| value);
    if header("transfer-encoding") == Some("chunked") {
        return Ok(rest.ends_with(b"0\r\n\r\n").then(|| Answer { status, body: rest.to_vec(), wire_bytes: bytes.len() }));
    }
    let length: usize = header("content-length").unwrap_or("0").parse().context("not a length")?;
    Ok(rest.get(..length).map(|body| Answer { status, body: body.to_vec(), wire_bytes: end + 4 + length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_one_after_the_other() {
        let mut bytes: &[u8] = b"POST /a HTTP/1.1\r\nX-One: 1\r\nContent-Length: 2\r\n\r\n{}GET /b HTTP/1.1\r\n\r\n";
        let first = Request::read(&mut bytes).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.body.as_slice()), ("POST", b"{}".as_slice()));
        assert!(first.headers.contains(&("x-one".to_owned(), "1".to_owned())));
        assert_eq!(Request::read(&mut bytes).unwrap().unwrap().method, "GET");
        assert!(Request::read(&mut bytes).unwrap().is_none());
    }

    #[test]
    fn an_answer_is_whole_or_waited_for() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
        assert!(parse(&whole[..20]).unwrap().is_none() && parse(&whole[..whole.len() - 1]).unwrap().is_none());
        let answer = parse(whole).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (202, b"ok".as_slice()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(parse(chunked).unwrap().is_some() && parse(&chunked[..chunked.len() - 2]).unwrap().is_none());
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
