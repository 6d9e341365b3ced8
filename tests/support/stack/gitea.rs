//! The forge as its users see it: a person or CI who commits, reviews and merges.

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// Most items of a page that Gitea gives.
const PAGE: usize = 50;

/// A Gitea of its own, stopped when it goes out of scope.
pub struct Server {
    site: super::Site,
    pub url: String,
    /// Tokens of the two users.
    pub bot: String,
    pub reviewer: String,
}

impl Server {
    /// Starts one for a test program.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let dir = format!("/var/tmp/reiter8-test-{name}-{}", std::process::id()).into();
        let site = super::Site { dir, bin: super::binaries(), node: "unused".into() };
        let (port, bot, reviewer) = super::parts::gitea(&site)?;
        Ok(Self { site, url: format!("http://127.0.0.1:{port}"), bot, reviewer })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // To look at what a failed test left behind.
        if std::env::var_os("REITER8_KEEP_STACK").is_some() {
            println!("  left running: hack/stack --dir {} down", self.site.dir.display());
            return;
        }
        let _ = super::down(&self.site.dir);
    }
}

/// A user of the stack's Gitea, at one repository of `bot`.
#[derive(Clone)]
pub struct Gitea {
    client: Client,
    base: String,
    token: String,
    pub repository: String,
}

impl Gitea {
    // Nothing of the machine goes into this client: it cannot be refused.
    #[allow(clippy::unwrap_used)]
    pub fn new(url: &str, token: &str, repository: &str) -> Self {
        Self {
            client: reiter8::http::client().build().unwrap(),
            base: format!("{url}/api/v1"),
            token: token.into(),
            repository: repository.into(),
        }
    }

    /// The address that git and Argo CD use.
    pub fn clone_url(&self) -> String {
        format!("{}/bot/{}.git", self.base.trim_end_matches("/api/v1"), self.repository)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        request = request.header("authorization", format!("token {}", self.token));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("{method} {path}: {status} {text}");
        }
        Ok(if text.is_empty() || status == StatusCode::NO_CONTENT { Value::Null } else { serde_json::from_str(&text)? })
    }

    async fn here(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        self.call(method, &format!("/repos/bot/{}{path}", self.repository), body).await
    }

    /// Creates the repository, with `reviewer` as a person who may merge.
    pub async fn create(&self) -> anyhow::Result<()> {
        let wanted = json!({"name": self.repository, "auto_init": true, "default_branch": "main", "private": false});
        self.call(Method::POST, "/user/repos", Some(wanted)).await?;
        self.here(Method::PUT, "/collaborators/reviewer", Some(json!({"permission": "write"}))).await?;
        Ok(())
    }

    /// One commit on `main` that writes these files; `None` as content removes one.
    pub async fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) -> anyhow::Result<()> {
        self.write(json!({"branch": "main", "message": message}), files).await
    }

    /// The same commit on a branch of its own, with a request to merge it; its number.
    pub async fn propose(&self, branch: &str, message: &str, files: &[(&str, Option<&str>)]) -> anyhow::Result<u64> {
        self.propose_as(branch, message, (message, ""), files).await
    }

    /// The same with a title and a text of the request's own.
    pub async fn propose_as(
        &self,
        branch: &str,
        message: &str,
        (title, body): (&str, &str),
        files: &[(&str, Option<&str>)],
    ) -> anyhow::Result<u64> {
        self.write(json!({"branch": "main", "new_branch": branch, "message": message}), files).await?;
        let wanted = json!({"head": branch, "base": "main", "title": title, "body": body});
        number(&self.here(Method::POST, "/pulls", Some(wanted)).await?)
    }

    /// A new issue; its number.
    pub async fn issue(&self, title: &str, body: &str) -> anyhow::Result<u64> {
        number(&self.here(Method::POST, "/issues", Some(json!({"title": title, "body": body}))).await?)
    }

    /// What happened to an issue, by kinds.
    pub async fn timeline(&self, issue: u64) -> anyhow::Result<Vec<String>> {
        let all = self.all(&format!("/issues/{issue}/timeline?")).await?;
        Ok(all.iter().filter_map(|e| Some(e.get("type")?.as_str()?.to_owned())).collect())
    }

    /// What Gitea's page of an issue or request makes of its title and its text.
    pub async fn page(&self, number: u64) -> anyhow::Result<(String, String)> {
        let site = self.base.trim_end_matches("/api/v1");
        let answer = self.client.get(format!("{site}/bot/{}/issues/{number}", self.repository)).send().await?;
        let page = answer.error_for_status()?.text().await?;
        let between = |from: &str, to: &str| -> Option<String> {
            let rest = page.split_once(from)?.1.split_once('>')?.1;
            Some(rest.split_once(to)?.0.to_owned())
        };
        let title = between("<h1", "</h1>").context("a page without a title")?;
        let text = between("class=\"render-content markup\"", "</div>").context("a page without a text")?;
        Ok((title, text))
    }

    async fn write(&self, mut wanted: Value, files: &[(&str, Option<&str>)]) -> anyhow::Result<()> {
        let mut changes = vec![];
        for (path, content) in files {
            let sha = self.here(Method::GET, &format!("/contents/{path}"), None).await.ok();
            let sha = sha.as_ref().and_then(|f| f.get("sha")).cloned();
            changes.push(match (content, sha) {
                (Some(content), None) => json!({"operation": "create", "path": path, "content": base64(content)}),
                (Some(content), Some(sha)) => {
                    json!({"operation": "update", "path": path, "content": base64(content), "sha": sha})
                }
                (None, sha) => json!({"operation": "delete", "path": path, "sha": sha}),
            });
        }
        if let Some(wanted) = wanted.as_object_mut() {
            wanted.insert("files".into(), changes.into());
        }
        self.here(Method::POST, "/contents", Some(wanted)).await?;
        Ok(())
    }

    /// The text of a file on `main`.
    pub async fn file(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}/repos/bot/{}/raw/{path}?ref=main", self.base, self.repository);
        let answer = self.client.get(url).header("authorization", format!("token {}", self.token)).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// The paths of all files on `main`, sorted.
    pub async fn files(&self) -> anyhow::Result<Vec<String>> {
        let tree = self.here(Method::GET, "/git/trees/main?recursive=true&per_page=1000", None).await?;
        let entries = tree.get("tree").and_then(Value::as_array).context("a tree without entries")?;
        let blobs = entries.iter().filter(|e| e.get("type").and_then(Value::as_str) == Some("blob"));
        let mut paths: Vec<String> = blobs.filter_map(|e| Some(e.get("path")?.as_str()?.to_owned())).collect();
        paths.sort();
        Ok(paths)
    }

    /// Every request, in any state, the oldest first.
    pub async fn pulls(&self) -> anyhow::Result<Vec<Value>> {
        let mut pulls = self.all("/pulls?state=all&sort=oldest").await?;
        pulls.sort_by_key(|p| p.get("number").and_then(Value::as_u64));
        Ok(pulls)
    }

    /// The paths of the files that a request changes, sorted, with what it does to each.
    pub async fn changed(&self, number: u64) -> anyhow::Result<Vec<(String, String)>> {
        let files = self.all(&format!("/pulls/{number}/files?")).await?;
        let text = |file: &Value, key: &str| Some(file.get(key)?.as_str()?.to_owned());
        let mut changed: Vec<_> =
            files.iter().filter_map(|f| Some((text(f, "filename")?, text(f, "status")?))).collect();
        changed.sort();
        Ok(changed)
    }

    /// The open requests.
    pub async fn open(&self) -> anyhow::Result<Vec<Value>> {
        self.all("/pulls?state=open").await
    }

    /// The names of all branches, sorted.
    pub async fn branches(&self) -> anyhow::Result<Vec<String>> {
        let list = self.all("/branches?").await?;
        let names = list.iter().filter_map(|b| Some(b.get("name")?.as_str()?.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// How many commits `main` itself has: those that came with a merge are not counted.
    pub fn commits(&self) -> anyhow::Result<usize> {
        let dir = tempfile::tempdir()?;
        self.git(dir.path(), &["clone", "--quiet", "--bare", &self.clone_url(), "."])?;
        let count = self.git(dir.path(), &["rev-list", "--count", "--first-parent", "main"])?;
        Ok(count.trim().parse()?)
    }

    /// Every page of a list.
    async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut found, mut page) = (vec![], 1);
        loop {
            let list = self.here(Method::GET, &format!("{path}&limit={PAGE}&page={page}"), None).await?;
            let list = list.as_array().cloned().unwrap_or_default();
            let more = list.len() == PAGE;
            found.extend(list);
            if !more {
                return Ok(found);
            }
            page += 1;
        }
    }

    /// Closes a request without a merge.
    pub async fn close(&self, number: u64) -> anyhow::Result<()> {
        self.here(Method::PATCH, &format!("/pulls/{number}"), Some(json!({"state": "closed"}))).await?;
        Ok(())
    }

    /// Lets nobody push to branches that match a pattern.
    pub async fn protect(&self, pattern: &str) -> anyhow::Result<()> {
        self.here(Method::POST, "/branch_protections", Some(json!({"rule_name": pattern, "enable_push": false})))
            .await?;
        Ok(())
    }

    /// Takes such a rule away.
    pub async fn unprotect(&self, pattern: &str) -> anyhow::Result<()> {
        self.here(Method::DELETE, &format!("/branch_protections/{}", pattern.replace('/', "%2F")), None).await?;
        Ok(())
    }

    /// Takes back the newest commit on `main`, with git itself, as a person would.
    pub fn revert(&self) -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let git = |args: &[&str]| self.git(dir.path(), args);
        git(&["clone", "--quiet", &self.clone_url(), "."])?;
        git(&["revert", "--no-edit", "HEAD"])?;
        git(&["push", "--quiet", "origin", "main"])?;
        Ok(())
    }

    /// Git itself with this user's token.
    fn git(&self, dir: &std::path::Path, args: &[&str]) -> anyhow::Result<String> {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(dir);
        command.args(["-c", "user.name=Reviewer", "-c", "user.email=reviewer@example.test"]).args(args);
        // By the environment: arguments are for everybody to see.
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "http.extraHeader");
        command.env("GIT_CONFIG_VALUE_0", format!("Authorization: token {}", self.token));
        super::parts::run(&mut command)
    }

    /// Merges a request, unless Gitea says that it cannot be merged, or not yet; whether it did.
    pub async fn try_merge(&self, number: u64) -> anyhow::Result<bool> {
        let merged = self.here(Method::POST, &format!("/pulls/{number}/merge"), Some(json!({"Do": "merge"}))).await;
        match merged {
            Ok(_) => Ok(true),
            Err(error) if ["405", "409"].iter().any(|code| error.to_string().contains(code)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Merges a request as soon as Gitea has found it mergeable.
    pub async fn merge(&self, number: u64) -> anyhow::Result<()> {
        let path = format!("/pulls/{number}/merge");
        let mut last = self.here(Method::POST, &path, Some(json!({"Do": "merge"}))).await;
        for _ in 0..50 {
            match &last {
                // 405: it still computes whether the request can be merged.
                Err(error) if error.to_string().contains("405") => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    last = self.here(Method::POST, &path, Some(json!({"Do": "merge"}))).await;
                }
                _ => break,
            }
        }
        last.map(|_| ())
    }
}

fn number(made: &Value) -> anyhow::Result<u64> {
    made.get("number").and_then(Value::as_u64).context("an answer without a number")
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS.get((n >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'=');
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
