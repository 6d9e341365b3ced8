//! Opaque metrics read from a real HTTP server, well-behaved and hostile.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures::StreamExt;
use jiff::Timestamp;
use reiter8::engine::judge::Sample;
use reiter8::engine::{Pair, Unavailable, Window};
use reiter8::live::{
    Binding, Destination, Expression, Opaque, OpaqueQuery, Reach, RouteBinding, VersionBinding, Versions, WeightsAt,
};

const BEGAN: i64 = 1_800_000_000;

fn versions() -> Versions {
    let version = |name: &str, revision: &str| VersionBinding {
        name: name.into(),
        workload: format!("{name}-workload"),
        variables: vec![("revision".into(), revision.into())],
    };
    let to = |subset: &str| Destination { host: Some("app".into()), subset: Some(subset.into()) };
    Versions::of(&Binding {
        namespace: "shop".into(),
        name: "trial".into(),
        uid: "u".into(),
        created: Timestamp::from_second(BEGAN).unwrap(),
        target: "shop/app".into(),
        routes: RouteBinding {
            weights: WeightsAt::VirtualService { name: "app".into(), routes: vec![], delegate: false },
            baseline: to("stable"),
            candidates: vec![to("next")],
        },
        baseline: version("stable", "a"),
        // What would leave a parameter, a path or a JSON string that is not escaped.
        candidates: vec![version("next", "b&x=\"1\"/../# é")],
        metrics: vec![],
    })
    .remove(0)
}

/// 1 GiB, in chunks of 64 KiB.
async fn endless() -> impl IntoResponse {
    let chunk = Bytes::from(vec![b' '; 64 << 10]);
    let chunks = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    Body::from_stream(chunks.take((1 << 30) / (64 << 10)))
}

async fn server() -> SocketAddr {
    let text = |body: &'static str| get(move || async move { body });
    let app = Router::new()
        .route("/number", text(r#"{"data": {"result": [{"value": [1, "3.5"]}]}}"#))
        .route("/nan", text(r#"{"data": {"result": [{"value": [1, "NaN"]}]}}"#))
        .route("/empty", text(r#"{"data": {"result": []}}"#))
        .route("/html", text("<html>"))
        .route("/deep", get(|| async { "[".repeat(100_000) }))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, r#"{"data": 1}"#) }))
        .route("/elsewhere", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/number")], "") }))
        .route("/endless", get(endless))
        .route("/slow", get(std::future::pending::<String>))
        // The length of what arrived, and an error for anything that is not as it was meant.
        .route(
            "/echo",
            get(|Query(query): Query<HashMap<String, String>>, headers: HeaderMap| async move {
                let version = if query["version"] == "stable" { 1 } else { 2 };
                assert_eq!(query["revision"], if version == 1 { "a" } else { "b&x=\"1\"/../# é" });
                assert_eq!((query["literal"].as_str(), query["range"].as_str()), ("$unknown $", "[60s]"));
                assert_eq!((query.len(), headers["x-key"].to_str().unwrap()), (4, "$revision"));
                format!("{{\"data\": {version}}}")
            }),
        )
        .route(
            "/path/{version}/value",
            get(|axum::extract::Path(version): axum::extract::Path<String>| async move {
                format!("{{\"data\": {}}}", version.len())
            }),
        )
        .route(
            "/posted",
            post(|headers: HeaderMap, body: String| async move {
                assert_eq!(headers[header::CONTENT_TYPE], "application/json");
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
                format!("{{\"data\": {}}}", body["elapsed"])
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn query(url: String, program: &str) -> OpaqueQuery {
    OpaqueQuery {
        url,
        params: vec![],
        post: false,
        body: None,
        headers: vec![],
        expression: Expression::new(program).unwrap(),
    }
}

async fn read(source: &Opaque, query: &OpaqueQuery) -> Result<(Sample, Sample), Unavailable> {
    let at = |second: i64| Timestamp::from_second(BEGAN + second).unwrap();
    match source.read(query, &versions(), Window { from: at(40), to: at(60) }, at(0)).await? {
        Pair::Values { baseline, candidate } => Ok((baseline, candidate)),
        Pair::Requests { .. } => panic!("a number is no count of requests"),
    }
}

const PROMETHEUS: &str = ".data.result[0].value[1] | tonumber";

#[tokio::test]
async fn a_number_is_found_in_an_answer_and_a_missing_one_is_missing() {
    let (address, source) = (server().await, Opaque::new(Reach::Anywhere));
    let ask = async |path: &str| read(&source, &query(format!("http://{address}/{path}"), PROMETHEUS)).await;
    assert_eq!(ask("number").await.unwrap(), (Sample::gauge(3.5), Sample::gauge(3.5)));
    for path in ["nan", "empty", "html", "deep"] {
        assert_eq!(ask(path).await.unwrap(), (Sample::default(), Sample::default()), "{path}");
    }
}

#[tokio::test]
async fn a_source_that_misbehaves_is_unavailable_and_bounded() {
    let (address, source) = (server().await, Opaque::new(Reach::Anywhere));
    for (path, word) in [
        ("broken", "500"),
        ("elsewhere", "redirects are not followed"),
        ("nowhere", "404"),
        ("endless", "larger than"),
        ("slow", "failed to ask"),
    ] {
        let began = Instant::now();
        let error =
            read(&source, &query(format!("http://{address}/{path}?token=secret"), PROMETHEUS)).await.unwrap_err();
        assert_eq!(error.cause.word(), "MetricsUnavailable");
        assert!(error.message.contains(word) && !error.message.contains("secret"), "{path}: {}", error.message);
        assert!(began.elapsed() < Duration::from_secs(30), "{path} took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn placeholders_stay_where_they_are_put() {
    let (address, source) = (server().await, Opaque::new(Reach::Anywhere));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut echo = query(format!("http://{address}/echo?literal=$unknown+$$"), ".data");
    echo.params = vec![pair("version", "$name"), pair("revision", "${revision}"), pair("range", "[${elapsedTime}s]")];
    echo.headers = vec![pair("X-Key", "$revision")];
    assert_eq!(read(&source, &echo).await.unwrap(), (Sample::gauge(1.0), Sample::gauge(2.0)));
    let path = query(format!("http://{address}/path/$revision/value"), ".data");
    assert_eq!(read(&source, &path).await.unwrap().1, Sample::gauge("b&x=\"1\"/../# é".len() as f64));
    let mut posted = query(format!("http://{address}/posted"), ".data");
    posted.post = true;
    posted.body = Some(r#"{"revision": "$revision", "elapsed": $elapsedTime}"#.into());
    assert_eq!(read(&source, &posted).await.unwrap(), (Sample::gauge(60.0), Sample::gauge(60.0)));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_anything_is_sent() {
    let (address, source) = (server().await, Opaque::new(Reach::Anywhere));
    for url in [
        "ftp://metrics/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "metrics/x".to_owned(),
        format!("http://user:word@{address}/number"),
        "http://$revision/number".to_owned(),
        "http://metrics.$revision/number".to_owned(),
    ] {
        let error = read(&source, &query(url.clone(), PROMETHEUS)).await.unwrap_err();
        assert_eq!(error.cause.word(), "InvalidQuery", "{url}: {}", error.message);
    }
    for (name, value) in [("Host", "other"), ("a b", "x"), ("X", "a\r\nB: c"), ("Content-Length", "1")] {
        let mut asked = query(format!("http://{address}/number"), PROMETHEUS);
        asked.headers = vec![(name.into(), value.into())];
        assert_eq!(read(&source, &asked).await.unwrap_err().cause.word(), "InvalidQuery", "{name}: {value}");
    }
    let mut asked = query(format!("http://{address}/number"), PROMETHEUS);
    asked.body = Some("{".into());
    assert_eq!(read(&source, &asked).await.unwrap_err().cause.word(), "InvalidQuery");
}

#[tokio::test]
async fn this_machine_is_not_asked() {
    let (address, source) = (server().await, Opaque::new(Reach::Others));
    // And not the metadata of its cloud, however they are written.
    for host in [
        "127.0.0.1",
        "localhost",
        "127.8.8.8",
        "0x7f.1",
        "2130706433",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "[fe80::1]",
    ] {
        let asked = query(format!("http://{host}:{}/number", address.port()), PROMETHEUS);
        let error = read(&source, &asked).await.unwrap_err();
        assert_eq!(error.cause.word(), "MetricsUnavailable", "{host}: {}", error.message);
        let refused = error.message.contains("on this machine or link-local") || host == "localhost";
        assert!(refused, "{host}: {}", error.message);
    }
}

/// The longest program that is read, bytes.
const LONGEST: usize = 1024;

const ANSWER: &[u8] =
    br#"{"data":{"result":[{"metric":{"v":"a"},"value":[1,"3.5"]},{"metric":{"v":"b"},"value":[1,"2"]}]},"n":4}"#;

#[test]
fn programs_of_metrics_find_their_number() {
    for (program, number) in [
        (".data.result[0].value[1] | tonumber", Some(3.5)),
        (".data.result[] | select(.metric.v == \"b\") | .value[1] | tonumber", Some(2.0)),
        ("[.data.result[].value[1] | tonumber] | add", Some(5.5)),
        (".data.result | map(.value[1] | tonumber) | max", Some(3.5)),
        ("(.data.result | length) / (.n | tonumber) * 100", Some(50.0)),
        (".missing // 7", Some(7.0)),
        ("if .n > 3 then 1 else 0 end", Some(1.0)),
        ("(.x | tonumber)? // 9", Some(9.0)),
        (".data.result[2].value[1] | tonumber", None),
        (".data.result[0].value[1]", None),
        (".", None),
        ("empty", None),
        ("1 / 0", None),
    ] {
        let expression = Expression::new(program).unwrap_or_else(|e| panic!("{program}: {e}"));
        assert_eq!(expression.number(ANSWER), number, "{program}");
    }
}

#[test]
fn nothing_that_might_not_end_or_reach_outside_is_accepted() {
    for program in [
        "env.PATH",
        "$ENV",
        "$__prog_args",
        "halt",
        "3|halt(3)",
        "halt_error",
        "error(\"x\")",
        "input",
        "inputs",
        "debug",
        "stderr",
        "now",
        "def f: f; f",
        "def f: 1 + f; f",
        "[repeat(1)]",
        "[range(1000000000)]",
        "range(5)",
        "recurse",
        "..",
        "while(true; .)",
        "until(false; .)",
        "limit(3; repeat(1))",
        "first(repeat(1))",
        "reduce .[] as $x (0; . + 1)",
        "foreach .[] as $x (0; .)",
        "label $f | .",
        ". as $x | $x",
        ".,.",
        "(.,.)|(.,.)",
        ". + .",
        "\"a\" * 1000000000",
        ".a + \"a\"",
        ".a / .b",
        "-.",
        ".[] + .[]",
        "[.[]] + [.[]]",
        "{a: .[]}",
        ".a = 1",
        ".a |= .",
        ".a += 1",
        "\"\\(.)\"",
        "@base64",
        "@json \"\\(.)\"",
        ".[.a]",
        ".[length]",
        ".[1:length]",
        "add",
        "[.[]] | add",
        "map(.) | add",
        "flatten",
        "combinations",
        "splits(\"a\")",
        "test(\"(a+)+$\")",
        "gsub(\"a\";\"b\")",
        "import \"a\" as a; .",
        "include \"a\"; .",
        "ltrimstr(\"a\")",
        "getpath([\"a\"])",
        "paths",
        "input_filename",
        "get_search_list",
        "tojson",
        "fromjson",
        "select(.[])",
        "if .[] then 1 else 2 end",
        "",
        "|",
        "(",
        "tonumber*tonumber|length*length|length*length|length*length|length*length|length*length|length*length|length*length|length*length",
    ] {
        assert!(Expression::new(program).is_err(), "{program}");
    }
}

#[test]
fn neither_depth_nor_length_of_a_program_ends_the_process() {
    for unit in [
        "(", "[", "{", "-", "\"\\(", "if ", "try ", "not|", ".a", ".[0]", ". // ", "reduce ", "def f: ", ".a?", "1+",
        "1 and ", ". as ", "map(",
    ] {
        for bytes in [LONGEST, 100 * LONGEST] {
            let program = unit.repeat(bytes / unit.len());
            if let Ok(expression) = Expression::new(&program) {
                assert_eq!(expression.number(b"{}"), None, "{unit}");
            }
            let _ = Expression::new(&format!("{program}1"));
        }
    }
}

#[test]
fn deep_and_odd_answers_are_no_numbers() {
    let first = Expression::new(".. // 1").is_err();
    assert!(first);
    let number = |program: &str, answer: &[u8]| Expression::new(program).ok().and_then(|e| e.number(answer));
    assert_eq!(number(".", b" 12 "), Some(12.0));
    for answer in ["NaN", "nan", "Infinity", "1e999", "\"1\"", "true", "null", "[1]", "", "1 2", "{", "\u{0}"] {
        assert_eq!(number(".", answer.as_bytes()), None, "{answer}");
    }
    for text in ["\"NaN\"", "\"Infinity\"", "\"x\"", "\"\"", "null", "true", "[]"] {
        assert_eq!(number("tonumber", text.as_bytes()), None, "{text}");
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(number("length", deep.as_bytes()), None);
    let digits = format!("\"{}\"", "9".repeat(200_000));
    assert_eq!(number("tonumber", digits.as_bytes()), None);
    assert_eq!(
        number("(tonumber * tonumber) | (length * length) | (length * length)", b"\"99\""),
        Some(99_f64.powi(8))
    );
}
