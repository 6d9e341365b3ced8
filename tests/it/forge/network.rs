//! How forges and git servers are reached: authorities of one's own, and proxies. Servers on loopback, no network.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use reiter8::gitops::blocking;
use reiter8::gitops::forge::{Forge, GitHub, Gitea, Way};
use reiter8::gitops::repository::{Remote, RepositoryError, Session};
use reiter8::gitops::transport::{Limits, Token};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const TOKEN: &str = "ghp_0123456789";
/// A name that no server of names knows.
const NOWHERE: &str = "forge.invalid";

fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// An authority of its own, and a server's certificate by it for 127.0.0.1.
fn certificates(folder: &Path) {
    let request = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(folder, &format!("req -x509 {request} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    openssl(folder, &format!("req {request} -keyout server.key -out server.csr -subj /CN=server"));
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem",
    );
}

/// Reads the head of a request; its first line.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    lines.map_while(Result::ok).find(String::is_empty)?;
    Some(first)
}

/// A server over TLS that finds nothing; its address.
fn find_nothing(folder: &Path) -> String {
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let chain = CertificateDer::from_pem_slice(&file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&file("server.key")).unwrap();
    let provider = Arc::new(reiter8::http::provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![chain], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream.unwrap());
            // A client that does not trust the certificate ends the connection.
            if head(&mut stream).is_some() {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

/// What the API and git say of `/acme/env` at an address.
async fn reasons(address: &str, ca: Option<Arc<str>>) -> [String; 3] {
    let (url, token) = (format!("{address}/acme/env.git"), Token::new(TOKEN));
    let way = Way { ca: ca.clone(), ..Way::default() };
    let said = async |forge: Forge| forge.permissions().await.unwrap_err().cause().word().to_owned();
    let github = match GitHub::over(&url, Some(&token), &way) {
        Ok(github) => said(Forge::GitHub(github)).await,
        Err(error) => error.cause().word().to_owned(),
    };
    let gitea = match Gitea::over(&url, Some(token.clone()), &way) {
        Ok(gitea) => said(Forge::Gitea(gitea)).await,
        Err(error) => error.cause().word().to_owned(),
    };
    let remote = Remote::Http { url, credentials: Some(token), allow_http: false, ca };
    let git = blocking(move || Session::open(&remote, "main", Limits::default()).map(|_| ()));
    let git: RepositoryError = git.await.unwrap_err();
    [github, gitea, git.cause().word().to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let address = find_nothing(folder.path());
    let pem =
        |name: &str| -> Option<Arc<str>> { Some(std::fs::read_to_string(folder.path().join(name)).unwrap().into()) };
    // Found nothing: the connection was made.
    assert_eq!(reasons(&address, pem("ca.pem")).await, ["RepositoryNotFound"; 3]);
    assert_eq!(reasons(&address, None).await, ["ProviderUnavailable"; 3]);
    openssl(
        folder.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=other",
    );
    assert_eq!(reasons(&address, pem("other.pem")).await, ["ProviderUnavailable"; 3]);
    let way = Way { ca: Some("no certificate".into()), ..Way::default() };
    let refused = GitHub::over(&format!("{address}/acme/env"), None, &way).unwrap_err();
    assert!(refused.to_string().contains("certificates"), "{refused}");
}

/// A proxy that makes no connection; what it was asked for.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<Mutex<Vec<String>>>::default());
    let told = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            if let Some(line) = head(&mut stream) {
                told.lock().unwrap().push(line);
                let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        }
    });
    (address, asked)
}

/// Runs in a process of its own, whose variables name a proxy.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another test runs it, with the variables that it is about"]
async fn asks_for_a_repository_at_a_host_that_is_nowhere() {
    assert_eq!(reasons(&format!("https://{NOWHERE}"), None).await, ["ProviderUnavailable"; 3]);
}

#[test]
fn a_proxy_is_used_for_the_api_and_for_git_unless_its_variables_say_no() {
    let (address, asked) = proxy();
    let run = |variables: &[(&str, &str)]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "forge::network::asks_for_a_repository_at_a_host_that_is_nowhere", "--ignored"]);
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
            child.env_remove(variable);
        }
        let done = child.envs(variables.iter().copied()).output().unwrap();
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && told.contains("1 passed"), "{told}");
        std::mem::take(&mut *asked.lock().unwrap())
    };
    let line = format!("CONNECT {NOWHERE}:443 HTTP/1.1");
    let through = run(&[("HTTPS_PROXY", address.as_str())]);
    assert_eq!(through.len(), 3, "GitHub's client, Gitea's, and git: {through:?}");
    assert!(through.iter().all(|asked| *asked == line), "{through:?}");
    assert_eq!(run(&[("HTTPS_PROXY", address.as_str()), ("NO_PROXY", NOWHERE)]), Vec::<String>::new());
}
