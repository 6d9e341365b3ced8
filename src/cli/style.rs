//! Colours and bars for people at a terminal; plain text for everybody else.

use std::io::{self, IsTerminal as _, Write as _};

/// Whether standard output is read by a person.
pub(super) fn for_people() -> bool {
    io::stdout().is_terminal()
}

/// Whether that person wants colours; <https://no-color.org>: any value that is not empty declines.
pub(super) fn coloured() -> bool {
    for_people() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Prints to standard output. A reader who left (a closed pipe) has what they wanted: no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Text in one of ANSI's colours: 31 red, 32 green, 36 cyan, 1 bold, 2 dim.
pub(super) fn paint(text: &str, colour: u8, wanted: bool) -> String {
    if wanted { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A bar of twenty cells for a percentage.
pub(super) fn bar(percent: u8) -> String {
    let full = usize::from(percent).div_ceil(5).min(20);
    format!("{}{}", "█".repeat(full), "·".repeat(20 - full))
}

/// Counts steps of long work on standard error, for a person at a terminal; calling it is one more step.
pub(super) fn progress(what: &str, steps: usize) -> impl FnMut() {
    let (what, mut done, watched) = (what.to_owned(), 0, io::stderr().is_terminal());
    move || {
        done += 1;
        if watched {
            let end = if done >= steps { "\n" } else { "" };
            let _ = write!(io::stderr(), "\r{what}: {done} of {steps}{end}");
        }
    }
}

/// Seconds as `m:ss`.
pub(super) fn clock(seconds: i64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// A unified diff with its lines coloured.
pub(super) fn diff(text: &str, wanted: bool) -> String {
    let line = |line: &str| match line.as_bytes().first() {
        Some(b'+') if !line.starts_with("+++") => paint(line, 32, wanted),
        Some(b'-') if !line.starts_with("---") => paint(line, 31, wanted),
        Some(b'@') => paint(line, 36, wanted),
        _ => line.to_owned(),
    };
    text.lines().map(|l| format!("    {}\n", line(l))).collect()
}
