//! The token of these tests, everything that is logged, and a look for the one in the other.

use std::io::Write;
use std::sync::{Mutex, Once};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use reqwest::Url;

/// Found nowhere by chance, and with characters that addresses encode.
pub(crate) const TOKEN: &str = "R8x+9zQ/secret~Tok%41en=";

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Where the log goes.
#[derive(Clone, Copy)]
struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps everything that this process logs from now on, at every level and of every library.
pub(crate) fn keep_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        all.with_writer(|| Sink).init();
    });
}

/// What was logged.
pub(crate) fn logs() -> String {
    String::from_utf8_lossy(&LOGGED.lock().unwrap()).into_owned()
}

/// The part of base64 text that is the token's alone, behind this many other bytes.
fn inside(offset: usize, engine: &base64::engine::GeneralPurpose) -> String {
    let encoded = engine.encode(format!("{}{TOKEN}..", &"...."[..offset]));
    let from = (offset * 8).div_ceil(6);
    let to = (offset + TOKEN.len()) * 8 / 6;
    encoded[from..to].to_owned()
}

/// The token as it may appear: plain, in an address, quoted, or in base64 wherever it begins.
pub(crate) fn forms() -> Vec<String> {
    let mut url = Url::parse("https://h/").unwrap();
    url.query_pairs_mut().append_pair("t", TOKEN);
    let query = url.query().unwrap().trim_start_matches("t=").to_owned();
    url.set_username(TOKEN).unwrap();
    let mut forms = vec![TOKEN.to_owned(), query, url.username().to_owned(), TOKEN.replace('/', "\\/")];
    for engine in [&STANDARD, &URL_SAFE] {
        forms.extend((0..3).map(|offset| inside(offset, engine)));
    }
    forms
}

/// The forms of the token that a text has.
pub(crate) fn found(text: &str) -> Vec<String> {
    forms().into_iter().filter(|form| text.contains(form.as_str())).collect()
}
