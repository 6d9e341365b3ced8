//! The commands as people and pipelines call them: `check`, completions, the plugin's name, the help.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::manifests::{EXPERIMENT, changed, samples};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_reiter8");

/// Runs the program away from any cluster and terminal.
fn reiter8(args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).env("KUBECONFIG", "/nonexistent").env("HOME", "/nonexistent");
    command.env_remove("KUBERNETES_SERVICE_HOST").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What `check` says of a directory.
fn check(dir: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut args = vec!["check", dir.to_str().unwrap()];
    args.extend(more);
    let output = reiter8(&args);
    (output.status.code(), stdout(&output))
}

#[test]
fn the_samples_have_nothing_to_complain_about() {
    let (code, text) = check(&samples(), &["--strict"]);
    assert_eq!((code, text.as_str()), (Some(0), ""));
    let file = samples().join("bookinfo/experiment.yaml");
    assert_eq!(check(&file, &["--strict"]), (Some(0), String::new()), "a file alone is enough");
}

#[test]
fn the_promotion_of_every_candidate_is_rehearsed() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("apps/reviews");
    std::fs::create_dir_all(&app).unwrap();
    for entry in std::fs::read_dir(samples().join("reviews")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, app.join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(check(dir.path(), &["--strict"]), (Some(0), String::new()));
    let images = |text: &str| text.replace("to: reviews.yaml", "to: reviews.yaml\n      fields: Images");
    let experiment = app.join("experiment.yaml");
    let written = std::fs::read_to_string(&experiment).unwrap();
    // Only the second candidate has a difference that would be left behind.
    let black = std::fs::read_to_string(app.join("reviews-black.yaml")).unwrap();
    std::fs::write(app.join("reviews-black.yaml"), black.replace("value: black", "value: none")).unwrap();
    std::fs::write(&experiment, images(&written)).unwrap();
    let (code, text) = check(dir.path(), &[]);
    assert!(code == Some(1) && text.contains("a promotion of `red`: the candidate differs"), "{text}");
    std::fs::write(&experiment, written.replace("red: reviews-red.yaml", "red: reviews-rot.yaml")).unwrap();
    let (code, text) = check(dir.path(), &["--strict"]);
    assert!(
        code == Some(1) && text.contains("spec.gitops.promote.fromEach: there is no file `reviews-rot.yaml`"),
        "{text}"
    );
    // Nobody's manifest need not be there.
    let each = written.replace("{red: reviews-red.yaml}", "{black: reviews-black.yaml, red: reviews-red.yaml}");
    std::fs::write(&experiment, each.replace("from: reviews-black.yaml", "from: nobody.yaml")).unwrap();
    assert_eq!(check(dir.path(), &["--strict"]), (Some(0), String::new()));
}

#[test]
fn programs_read_one_document() {
    let dir = changed(EXPERIMENT, "routes: [productpage]", "routes: [reviews]");
    let (code, text) = check(dir.path(), &["-o", "json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &document["errors"], &document["experiments"]), (Some(1), &Value::from(1), &Value::from(1)));
    let finding = &document["findings"][0];
    assert!(finding["file"].as_str().unwrap().ends_with("experiment.yaml"));
    assert_eq!((&finding["line"], &finding["severity"]), (&Value::from(25), &Value::from("error")));
    assert_eq!(finding["object"], "Experiment productpage-x7k2p");
}

#[test]
fn a_pipeline_is_read_from_standard_input() {
    let file = std::fs::File::open(samples().join(EXPERIMENT)).unwrap();
    let output = Command::new(BINARY).args(["check", "-"]).stdin(file).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
}

#[test]
fn wrong_arguments_and_absent_files_have_their_codes() {
    assert_eq!(reiter8(&["check"]).status.code(), Some(2));
    assert_eq!(reiter8(&["check", "/nonexistent.yaml"]).status.code(), Some(1));
    assert_eq!(reiter8(&["pause", "Not/A/Name"]).status.code(), Some(2));
    assert_eq!(reiter8(&["assert", "x", "--outcome", "Perhaps"]).status.code(), Some(2));
    assert_eq!(reiter8(&["assert", "x", "--reason", "Proved"]).status.code(), Some(2));
    assert_eq!(reiter8(&["abort", "x", "--reason", &"x".repeat(201)]).status.code(), Some(2));
    for errors in ["5", "1%,2%,3%", ""] {
        assert_eq!(reiter8(&["demo", "--candidate-errors", errors]).status.code(), Some(2), "{errors}");
    }
}

#[test]
fn without_a_cluster_each_command_says_what_to_set() {
    for command in ["describe", "watch", "assert", "pause", "resume", "abort", "promote", "retry"] {
        let output = reiter8(&[command, "x"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {error}");
        assert!(error.contains("KUBECONFIG"), "{command}: {error}");
    }
}

#[test]
fn every_command_has_examples_and_exit_codes_in_its_help() {
    let help = stdout(&reiter8(&["--help"]));
    assert!(help.contains("kubectl-reiter8") && help.contains("Exit codes"), "{help}");
    for command in
        ["check", "describe", "watch", "assert", "pause", "resume", "abort", "promote", "retry", "demo", "run", "crds"]
    {
        let help = stdout(&reiter8(&[command, "--help"]));
        assert!(help.contains("Examples:\n") && help.contains("Exit codes"), "{command}: {help}");
    }
    assert!(stdout(&reiter8(&["completions", "--help"])).contains("Examples:\n"));
}

#[test]
fn a_reader_who_leaves_has_what_they_wanted() {
    for args in [&["crds"][..], &["crds", "--format", "markdown"], &["completions", "bash"]] {
        let mut child = Command::new(BINARY).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_wrong_scenario_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.yaml");
    let reward = "experiment: {strategy: {testingPattern: A/B}, criteria: {rewards: [{metric: orders, preferredDirection: High}]}}";
    let table = [
        ("candidat: {}", "unknown field `candidat`"),
        ("experiment: {strategy: {testingPattern: A/B}}", "an A/B experiment compares one reward, here are 0"),
        (reward, "which has the built-in metrics and `revenue`"),
    ];
    for (text, problem) in table {
        std::fs::write(&file, text).unwrap();
        let output = reiter8(&["simulate", file.to_str().unwrap()]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.matches(problem).count()), (Some(1), 1), "{error}");
    }
}

#[test]
fn nobody_who_hears_complaints_is_no_failure() {
    let dir = changed(EXPERIMENT, "interval: 10s", "interval: 10ms");
    let file = dir.path().to_str().unwrap();
    for (args, code) in [(&["check", file][..], 1), (&["describe", "x"], 1), (&["plan", file, "--rps", "50"], 1)] {
        let mut command = Command::new(BINARY);
        command.args(args).env("KUBECONFIG", "/nonexistent").env("HOME", "/nonexistent");
        command.env_remove("KUBERNETES_SERVICE_HOST").stdout(Stdio::null());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(command.stderr(writer).status().unwrap().code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_kubeconfig_that_cannot_be_read_is_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "clusters: [{name: a\nusers: [{name: b, user: {token: very-secret}}]\n").unwrap();
    let output = reiter8(&["describe", "x", "--kubeconfig", file.path().to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("failed to parse") && !error.contains("very-secret"), "{error}");
}

#[test]
fn another_projects_experiment_is_none_of_ours() {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), "apiVersion: example.com/v1\nkind: Experiment\nmetadata: {name: x}\n").unwrap();
    let output = reiter8(&["check", "-o", "json", file.path().to_str().unwrap()]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["documents"], &document["experiments"]), (&Value::from(1), &Value::from(0)));
}

#[test]
fn shells_learn_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&reiter8(&["completions", shell]));
        for word in ["describe", "promote", "completions", "strict"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    // What bash thinks of it.
    let script = reiter8(&["completions", "bash"]).stdout;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("script"), script).unwrap();
    let ask = "source \"$1\"; COMP_WORDS=(reiter8 desc); COMP_CWORD=1; _reiter8 reiter8 desc reiter8; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", ask, "ask"]).arg(dir.path().join("script")).output().unwrap();
    assert_eq!(stdout(&output).trim(), "describe", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn as_a_kubectl_plugin_it_speaks_of_kubectl() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("kubectl-reiter8");
    std::os::unix::fs::symlink(BINARY, &plugin).unwrap();
    let help = Command::new(&plugin).args(["describe", "--help"]).output().unwrap();
    assert!(stdout(&help).contains("Usage: kubectl reiter8 describe"), "{}", stdout(&help));
    assert!(stdout(&reiter8(&["describe", "--help"])).contains("Usage: reiter8 describe"));
}
