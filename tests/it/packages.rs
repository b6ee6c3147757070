//! What the program is made of: licences, sources and packages that are not wanted.

use std::process::Command;

use serde_json::Value;

/// Licences that go with Apache-2.0; of `A OR B` one must be here, of `A AND B` both.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A second TLS, a C library in a static binary, a second runtime.
const BANNED: &[&str] = &["async-std", "native-tls", "openssl-sys"];

/// What would be a fault to have in two versions: their types are in our interfaces.
const ONCE: &[&str] = &["bytes", "http", "http-body", "hyper", "moka", "rustls", "tokio"];

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--locked", "--format-version", "1", "--all-features"]);
    metadata.args([
        "--filter-platform",
        &host(),
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    let output = metadata.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned()
}

/// Whether an SPDX expression allows what we do. `/` is an old spelling of OR.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let flat = expression.replace(['(', ')'], "");
    // without brackets AND binds more; with them, the strictest reading of the two: every term on its own
    if expression.contains('(') {
        return flat
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())));
    }
    flat.split(" OR ").any(|part| part.split(" AND ").all(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn licences_sources_and_packages_are_those_that_are_allowed() {
    let mut wrong = Vec::new();
    let mut versions = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    let packages = packages();
    for package in &packages {
        let text = |name: &str| package[name].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        versions.entry(name).or_default().push(version);
        if !allowed(text("license")) {
            wrong.push(format!("{name} {version}: licence [{}]", text("license")));
        }
        if name != env!("CARGO_PKG_NAME") && text("source") != SOURCE {
            wrong.push(format!("{name} {version}: comes from [{}]", text("source")));
        }
        if BANNED.contains(&name) {
            wrong.push(format!("{name} {version}: is not wanted"));
        }
    }
    for name in ONCE {
        if versions.get(name).is_some_and(|versions| versions.len() > 1) {
            wrong.push(format!("{name}: in several versions {:?}", versions[name]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(packages.len() > 50, "{} packages only", packages.len());
}

#[test]
fn a_licence_that_is_not_on_the_list_is_refused() {
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(allowed(expression), expected, "{expression}");
    }
}
