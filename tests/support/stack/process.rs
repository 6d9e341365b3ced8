//! Processes that outlive the command that started them: spawning, waiting until they answer, stopping.
//!
//! A process is known by its pid together with its start time, so that a pid that was reused is never signalled.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// A started part of the stack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    pub name: String,
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub started: u64,
    pub port: u16,
    pub log: PathBuf,
}

impl Process {
    /// Starts a command in a process group of its own, which no terminal's end or Ctrl-C reaches, with its output in a log.
    pub fn spawn(dir: &Path, name: &str, port: u16, command: &mut Command) -> anyhow::Result<Self> {
        let log = dir.join("log").join(format!("{name}.log"));
        fs::create_dir_all(dir.join("log"))?;
        // A part that is started again goes on with its log.
        let output = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("failed to start {name}: {command:?}"))?;
        let pid = i32::try_from(child.id())?;
        // Reaps the child while this process lives; later it is the init process's.
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
        let started = start_time(pid).unwrap_or(0);
        Ok(Self { name: name.into(), pid, started, port, log })
    }

    /// Whether this very process is running.
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Resident memory in MiB.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
    }

    /// Sends a signal, if it still is this process.
    pub fn signal(&self, signal: &str) {
        if self.alive() {
            let _ = Command::new("kill").args([signal, &self.pid.to_string()]).stderr(Stdio::null()).status();
        }
    }

    /// Asks it to stop, waits, then insists.
    pub fn stop(&self, patience: Duration) {
        self.signal("-TERM");
        let deadline = Instant::now() + patience;
        while self.alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal("-KILL");
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `ready` holds; a process that died or a deadline that passed is an error with the log's end.
    pub fn wait(&self, patience: Duration, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            // Life first: after a clash of ports it may be somebody else who answers.
            let answered = ready();
            if answered && self.alive() {
                return Ok(());
            }
            if !self.alive() {
                bail!("{} died; the end of {}:\n{}", self.name, self.log.display(), tail(&self.log));
            }
            if Instant::now() > deadline {
                let (name, log) = (&self.name, self.log.display());
                bail!("{name} was not ready within {} s; the end of {log}:\n{}", patience.as_secs(), tail(&self.log));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

/// The start time of a running process; a zombie counts as gone.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
}

/// A port that nobody listens on, below the range from which outgoing connections take theirs.
pub fn free_port() -> anyhow::Result<u16> {
    static TAKEN: Mutex<Vec<u16>> = Mutex::new(vec![]);
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Different start points keep two stacks that start at once out of each other's way.
    let first = 15_000 + u16::try_from(std::process::id() % 600)? * 20;
    for port in (first..29_000).chain(15_000..first) {
        if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.push(port);
            return Ok(port);
        }
    }
    bail!("no free port between 15000 and 29000")
}

/// Whether somebody listens.
pub fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(200)).is_ok()
}
