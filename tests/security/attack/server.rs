//! A loopback server that answers every request with an attack, and remembers what it was asked and what it could send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::pack;

/// The size of an answer that is too large.
pub(crate) const GIBIBYTE: u64 = 1 << 30;

/// What a server does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// A body of a gibibyte, which its header announces or not.
    Large { announced: bool },
    /// A gibibyte of headers.
    Headers,
    /// A list of refs of a gibibyte, to git.
    Refs,
    /// A pack of a gibibyte, to git.
    Pack,
    /// A pack that is small on its way, to git.
    Bomb,
    /// A byte each second: of the body, or of the headers.
    Slow { body: bool },
    /// Elsewhere, with this status.
    Redirect(u16, String),
    /// This body.
    Json(String),
    /// A refusal that repeats the request's headers, once as they are and once in pieces.
    Repeat,
    /// The same in the words of git's protocol.
    GitError,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method and path.
    pub(crate) line: String,
    /// Headers without the credential, and the body.
    pub(crate) rest: String,
    /// The credential's header.
    pub(crate) credential: Option<String>,
}

/// What the server has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) asked: Mutex<Vec<Asked>>,
    /// Bytes of answers that the connections took.
    pub(crate) sent: AtomicU64,
    closed: AtomicBool,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) seen: Arc<Seen>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.closed.store(true, Ordering::Relaxed);
        // Wakes the loop, which looks whether it should end.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

impl Server {
    pub(crate) fn start(attack: Attack) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Seen>::default();
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.closed.load(Ordering::Relaxed) {
                    break;
                }
                let (attack, told) = (attack.clone(), Arc::clone(&told));
                // A connection that the client ends is what is hoped for.
                std::thread::spawn(move || stream.and_then(|stream| serve(&stream, &attack, &told)));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().unwrap().clone()
    }
}

/// Reads one request.
fn request(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut asked = Asked { line: String::new(), rest: String::new(), credential: None };
    reader.read_line(&mut asked.line)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if lower.starts_with("authorization:") {
            asked.credential = Some(line.trim().to_owned());
        } else {
            asked.rest.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    asked.rest.push_str(&String::from_utf8_lossy(&body));
    Ok(asked)
}

/// Sends and counts.
fn send(mut stream: &TcpStream, bytes: &[u8], seen: &Seen) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    seen.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// The same bytes again, up to a gibibyte.
fn pour(stream: &TcpStream, bytes: &[u8], seen: &Seen) -> std::io::Result<()> {
    for _ in 0..GIBIBYTE / bytes.len() as u64 {
        send(stream, bytes, seen)?;
    }
    Ok(())
}

/// A byte each second, for as long as somebody reads.
fn drip(stream: &TcpStream, bytes: &[u8], seen: &Seen) -> std::io::Result<()> {
    for byte in bytes.iter().cycle() {
        send(stream, &[*byte], seen)?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// The kind of answer that the client takes.
fn kind(asked: &Asked) -> String {
    let kind = match () {
        () if asked.line.contains("info/refs?service=git-receive-pack") => "x-git-receive-pack-advertisement",
        () if asked.line.contains("info/refs") => "x-git-upload-pack-advertisement",
        () if asked.line.contains("git-upload-pack") => "x-git-upload-pack-result",
        () => "json",
    };
    format!("content-type: application/{kind}\r\nconnection: close\r\n")
}

fn serve(stream: &TcpStream, attack: &Attack, seen: &Seen) -> std::io::Result<()> {
    let asked = request(stream)?;
    let kind = kind(&asked);
    let list = asked.line.contains("info/refs");
    let done = asked.rest.contains("0009done");
    let credential = asked.credential.clone().unwrap_or_default();
    seen.asked.lock().unwrap().push(asked);
    let ok = format!("HTTP/1.1 200 OK\r\n{kind}");
    let begin = |more: &str| send(stream, format!("{ok}{more}\r\n").as_bytes(), seen);
    let whole = |status: &str, more: &str, body: &str| {
        let head = format!("HTTP/1.1 {status}\r\n{kind}{more}content-length: {}\r\n\r\n{body}", body.len());
        send(stream, head.as_bytes(), seen)
    };
    match attack {
        Attack::Large { announced } => {
            begin(&if *announced { format!("content-length: {GIBIBYTE}\r\n") } else { String::new() })?;
            pour(stream, &vec![b' '; 1 << 16], seen)
        }
        Attack::Headers => {
            send(stream, ok.as_bytes(), seen)?;
            pour(stream, b"x-more: and more and more and more and more\r\n", seen)
        }
        Attack::Refs => {
            begin("")?;
            send(stream, &pack::listing(), seen)?;
            pour(stream, &pack::more_refs(), seen)
        }
        Attack::Pack | Attack::Bomb if list => {
            begin("")?;
            send(stream, &[pack::listing(), pack::main_and_end()].concat(), seen)
        }
        Attack::Pack | Attack::Bomb => {
            begin("")?;
            if !done {
                return send(stream, &pack::shallow(), seen);
            }
            send(stream, &pack::beginning(), seen)?;
            let block = if *attack == Attack::Pack { pack::stored() } else { pack::growing() };
            pour(stream, &block, seen)
        }
        Attack::Slow { body: true } => {
            begin("")?;
            // What a patient reader would take: the size of a packet, and then its content.
            drip(stream, if list { b"f" } else { b" " }, seen)
        }
        Attack::Slow { body: false } => drip(stream, format!("{ok}x-more: {}", "a".repeat(1000)).as_bytes(), seen),
        Attack::Redirect(status, to) => whole(&format!("{status} Elsewhere"), &format!("location: {to}\r\n"), ""),
        Attack::Json(body) => whole("200 OK", "", body),
        Attack::Repeat => {
            let token = credential.rsplit(' ').next().unwrap_or_default();
            let body =
                serde_json::json!({"message": format!("\u{1b}[31mno\r\n{credential} {token}"), "errors": [token]});
            whole("422 Unprocessable", "", &body.to_string())
        }
        Attack::GitError => {
            begin("")?;
            let words = format!("ERR \u{1b}[31m{credential}\n{}", "x".repeat(5000));
            send(stream, format!("{:04x}{words}", words.len() + 4).as_bytes(), seen)
        }
    }
}
