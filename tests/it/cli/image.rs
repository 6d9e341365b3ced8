//! The container image that `hack/image` makes: every digest is true, and the program in it finds all that it needs there,
//! as the unprivileged user and with nothing of this machine in sight.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The document or layer that a descriptor names, after its digest and size were held against it.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let content = std::fs::read(layout.join("blobs/sha256").join(digest)).unwrap();
    let found: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, digest);
    assert_eq!(descriptor["size"], content.len());
    content
}

fn document(layout: &Path, descriptor: &Value) -> Value {
    serde_json::from_slice(&blob(layout, descriptor)).unwrap()
}

/// The program in the image, which sees nothing else.
fn contained(root: &Path, user: &str, arguments: &[&str]) -> String {
    let is_root = run(Command::new("id").arg("-u")).stdout == b"0\n";
    let mut command = Command::new(if is_root { "chroot" } else { "unshare" });
    if is_root {
        command.arg(format!("--userspec={user}"));
    } else {
        command.args(["--map-root-user", "chroot"]);
    }
    let output = run(command.arg(root).arg("/reiter8").args(arguments));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_image_is_whole_and_its_program_runs_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let (binary, archive) = (scratch.path().join("reiter8"), scratch.path().join("image.tar"));
    run(Command::new("strip").arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_reiter8")));
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/image");
    let told = run(Command::new(made).arg("--binary").arg(&binary).arg("--output").arg(&archive));

    let layout = scratch.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout));
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let named = &index["manifests"][0];
    assert!(String::from_utf8_lossy(&told.stdout).contains(named["digest"].as_str().unwrap()), "{told:?}");
    assert_eq!(named["annotations"]["org.opencontainers.image.ref.name"], env!("CARGO_PKG_VERSION"));
    let manifest = document(&layout, named);
    let config = document(&layout, &manifest["config"]);
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/reiter8"]));

    let (packed, root) = (scratch.path().join("layer.tar.gz"), scratch.path().join("root"));
    std::fs::write(&packed, blob(&layout, &manifest["layers"][0])).unwrap();
    std::fs::create_dir(&root).unwrap();
    run(Command::new("tar").arg("-xzpf").arg(&packed).arg("-C").arg(&root));
    let user = config["config"]["User"].as_str().unwrap();
    let chart = std::fs::read_to_string("charts/reiter8/templates/deployment.yaml").unwrap();
    assert!(chart.contains(&format!("runAsUser: {}\n", user.split(':').next().unwrap())), "the chart's user is {user}");

    assert_eq!(contained(&root, user, &["--version"]).trim(), concat!("reiter8 ", env!("CARGO_PKG_VERSION")));
    // The whole story: temporary files, Git, and no library that is missing.
    let story: Value = serde_json::from_str(&contained(&root, user, &["demo", "-o", "json"])).unwrap();
    assert_eq!(story["scenarios"][0]["outcome"], "Promote");
}
