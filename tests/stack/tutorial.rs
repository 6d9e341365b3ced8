//! `docs/tutorial.md` is true: every command of its `bash` blocks is run in its order in one shell, on a stack of its own,
//! and has to succeed; what the text says that one sees is seen; and the platform ends as the text says.
//!
//! Needs the parts that `hack/parts/build` makes; `hack/test` runs it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::support::stack;
use crate::support::stack::gitea::Gitea;
use crate::support::stack::process::Process;
use crate::support::stack::trial::Stack;
use regex::Regex;
use serde_json::Value;

/// Each section with its blocks, their commands, and the quoted words that are seen. Nothing is left out unnoticed.
const SECTIONS: [(&str, usize, usize, usize); 10] = [
    ("The parts", 1, 3, 0),
    ("The controller", 1, 2, 0),
    ("The environment repository", 2, 13, 4),
    ("What the platform team applies", 2, 7, 1),
    ("CI has a new image", 2, 6, 0),
    ("Traffic moves", 1, 4, 1),
    ("Review and merge", 2, 8, 1),
    ("Clean up", 2, 9, 3),
    ("A bad candidate", 2, 11, 2),
    ("Stop", 1, 1, 0),
];

/// Longer than any command's own deadline.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Ends the output of a command.
const MARK: &str = "@end-of-command@";

/// A part of the tutorial between two headings.
struct Section {
    name: String,
    blocks: Vec<Vec<String>>,
    /// The quoted words of the sentences that say what one sees.
    seen: Vec<String>,
}

fn sections(text: &str) -> Vec<Section> {
    text.split("\n## ")
        .skip(1)
        .map(|part| {
            let (name, body) = part.split_once('\n').unwrap();
            let mut pieces = body.split("```");
            let (mut blocks, mut prose) = (vec![], String::new());
            while let Some(words) = pieces.next() {
                prose.push_str(words);
                if let Some(block) = pieces.next().and_then(|b| b.strip_prefix("bash\n")) {
                    blocks.push(commands(block));
                }
            }
            Section { name: name.trim().to_owned(), blocks, seen: seen(&prose) }
        })
        .collect()
}

/// The quoted words after "you see", up to the end of the sentence; an ellipsis stands for anything.
fn seen(prose: &str) -> Vec<String> {
    let (sentence, quoted) = (Regex::new(r"(?s)[Yy]ou see(.*?)\.(?:\s|$)").unwrap(), Regex::new("`([^`]+)`").unwrap());
    let sentences = sentence.captures_iter(prose).map(|c| c[1].replace('\n', " "));
    sentences.flat_map(|s| quoted.captures_iter(&s).map(|c| c[1].to_owned()).collect::<Vec<_>>()).collect()
}

/// A block's commands: as many lines as bash needs for a whole one.
fn commands(block: &str) -> Vec<String> {
    let (mut found, mut command) = (vec![], String::new());
    for line in block.lines() {
        if command.is_empty() && (line.trim().is_empty() || line.starts_with('#')) {
            continue;
        }
        command.push_str(line);
        command.push('\n');
        let parsed = Command::new("bash").args(["-n", "-c", &command]).output().unwrap();
        if parsed.status.success() && parsed.stderr.is_empty() && !line.ends_with('\\') {
            found.push(std::mem::take(&mut command));
        }
    }
    assert!(command.is_empty(), "a block ends within a command:\n{command}");
    found
}

/// The reader's shell.
struct Shell {
    bash: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    fn start(stack: &Path, scratch: &Path) -> Self {
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env("REITER8_STACK", stack).env("TMPDIR", scratch).env("GIT_TERMINAL_PROMPT", "0");
        // What cargo sets for this program is not for the cargo that hack/stack calls.
        let own = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|p| name.starts_with(p));
        std::env::vars().filter(|(name, _)| own(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        let mut bash = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut input, output) = (bash.stdin.take().unwrap(), bash.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        writeln!(input, "exec 2>&1; set -u -o pipefail").unwrap();
        Self { bash, input, lines }
    }

    /// Runs a command to its end; what it printed, if it succeeded.
    fn run(&mut self, command: &str) -> String {
        println!("$ {}", command.trim_end());
        let began = Instant::now();
        // A command that reads the standard input would take the next ones.
        write!(self.input, "{{ {command}\n}} </dev/null\nprintf '\\n%s %s\\n' {MARK} $?\n").unwrap();
        let mut printed = vec![];
        loop {
            let line = match self.lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("no end after {} s:\n{command}", PATIENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => panic!("the shell ended:\n{command}{}", printed.join("\n")),
            };
            if let Some(code) = line.strip_prefix(MARK) {
                assert_eq!(code.trim(), "0", "exit code of\n{command}{}", printed.join("\n"));
                println!("  [{:.1} s]", began.elapsed().as_secs_f64());
                return printed.join("\n");
            }
            println!("  {line}");
            printed.push(line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}

/// Stops what the tutorial started, however the test ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = stack::down(&self.0);
    }
}

/// The platform, from outside of the shell.
struct Platform {
    stack: ManuallyDrop<Stack>,
    forge: Gitea,
}

impl Platform {
    fn new(dir: &Path) -> Self {
        let endpoints = stack::endpoints(dir).unwrap();
        let forge = Gitea::new(&endpoints.gitea_url, &endpoints.bot_token, "environment");
        let site = stack::Site { dir: dir.into(), bin: stack::binaries(), node: "unused".into() };
        Self { stack: ManuallyDrop::new(Stack { site, endpoints }), forge }
    }

    /// The weights that Envoy has.
    async fn weights(&self) -> (u64, u64) {
        self.stack.envoy_weights("bookinfo.example.com").await.unwrap()
    }

    /// The states of all requests, the oldest first.
    async fn requests(&self) -> Vec<String> {
        let pulls = self.forge.pulls().await.unwrap();
        let state = |p: &Value| if p["merged"] == true { "merged".into() } else { p["state"].as_str().unwrap().into() };
        pulls.iter().map(state).collect()
    }

    /// The repository and the namespace have the shape of before, with this version as the baseline.
    async fn has_its_shape(&self, version: &str) {
        let files = self.forge.files().await.unwrap();
        let app = "apps/productpage";
        let wanted = [
            "README.md".to_owned(),
            format!("{app}/productpage.yaml"),
            format!("{app}/routing.yaml"),
            "templates/productpage/experiment.yaml".to_owned(),
        ];
        assert_eq!(files, wanted);
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/bookinfo/productpage.yaml");
        let sample = std::fs::read_to_string(sample).unwrap();
        let kept = sample.lines().filter(|l| !l.contains("VERSION") && !l.contains("ERROR_RATE"));
        let kept: String = kept.map(|l| format!("{l}\n")).collect();
        let baseline = self.forge.file(&format!("{app}/productpage.yaml")).await.unwrap();
        assert_eq!(baseline, kept.replace("productpage:v1", &format!("productpage:{version}")));
        let objects = self.stack.kubectl(&["get", "deployments,experiments", "-n", "bookinfo", "-o", "name"], None);
        assert_eq!(objects.unwrap().trim(), "deployment.apps/productpage");
        assert_eq!(self.weights().await, (100, 0));
    }

    /// How many requests were sent, and how many of them failed.
    fn counts(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(self.stack.site.dir.join("requests.json")).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        (document["sent"].as_u64().unwrap(), document["failed"].as_u64().unwrap())
    }

    /// What holds after a section.
    async fn check(&self, section: &str) {
        let (sent, failed) = if section == "The parts" { (0, 0) } else { self.sent() };
        match section {
            // The request is opened a moment later; the next section waits for it.
            "Traffic moves" => assert_eq!(self.weights().await, (50, 50)),
            "Review and merge" => {
                assert_eq!(self.weights().await, (100, 0));
                assert_eq!(self.requests().await, ["merged", "open"]);
            }
            "Clean up" => {
                self.has_its_shape("v2").await;
                assert_eq!(self.requests().await, ["merged", "merged"]);
                assert!(sent > 1000 && failed == 0, "{failed} of {sent} requests failed");
            }
            "A bad candidate" => {
                self.has_its_shape("v2").await;
                assert_eq!(self.requests().await, ["merged", "merged", "merged"]);
                assert!((1..200).contains(&failed), "{failed} of {sent} requests failed");
            }
            _ => {}
        }
    }

    /// Counts, once they are kept.
    fn sent(&self) -> (u64, u64) {
        if self.stack.site.dir.join("requests.json").exists() { self.counts() } else { (0, 0) }
    }
}

#[test]
fn every_command_of_the_tutorial_works() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md")).unwrap();
    let sections = sections(&text);
    let counted: Vec<_> = sections
        .iter()
        .map(|s| (s.name.as_str(), s.blocks.len(), s.blocks.iter().map(Vec::len).sum(), s.seen.len()))
        .collect();
    assert_eq!(counted, SECTIONS);
    assert_eq!(text.matches("```bash\n").count(), SECTIONS.iter().map(|s| s.1).sum::<usize>());

    let folder = Folder(PathBuf::from(format!("/var/tmp/reiter8-test-tutorial-{}", std::process::id())));
    let scratch = tempfile::tempdir().unwrap();
    let mut shell = Shell::start(&folder.0, scratch.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    let mut ran: Vec<Process> = vec![];
    for section in &sections {
        println!("{:.0} s: {}", began.elapsed().as_secs_f64(), section.name);
        let printed: String = section.blocks.iter().flatten().map(|command| shell.run(command) + "\n").collect();
        for words in &section.seen {
            let missing = words.split('…').find(|part| !printed.contains(part));
            assert!(missing.is_none(), "{}: `{words}` is not seen in\n{printed}", section.name);
        }
        if section.name == "Stop" {
            let left: Vec<_> = ran.iter().filter(|p| p.alive()).map(|p| &p.name).collect();
            assert!(ran.len() > 10 && left.is_empty() && !folder.0.exists(), "{left:?} of {} processes", ran.len());
        } else {
            ran = stack::processes(&folder.0);
            runtime.block_on(Platform::new(&folder.0).check(&section.name));
        }
    }
    println!("the tutorial took {:.0} s", began.elapsed().as_secs_f64());
}
