//! What the program is made of: licences, sources and packages that are not wanted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
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

/// The modules of the library in their order, and what each uses of the others: `crate::NAME` in its files.
fn modules() -> Vec<(String, BTreeSet<String>)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = fs::read_to_string(source.join("lib.rs")).unwrap();
    let names = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names
        .map(|name| {
            let mut files = vec![source.join(format!("{name}.rs")), source.join(name)];
            let mut uses = BTreeSet::new();
            while let Some(file) = files.pop() {
                if file.is_dir() {
                    files.extend(fs::read_dir(file).unwrap().map(|entry| entry.unwrap().path()));
                } else if file.extension().is_some_and(|extension| extension == "rs") && file.exists() {
                    uses.extend(used(&fs::read_to_string(file).unwrap()));
                }
            }
            (name.to_owned(), uses)
        })
        .collect()
}

/// The modules that a source names: as `crate::NAME` and in `crate::{NAME...}`. Comments may name any.
fn used(source: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let source = lines.join("\n");
    let after = source.split("crate::").skip(1);
    after.map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_module_uses_only_those_above_it() {
    let modules = modules();
    let order: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    let mut wrong = Vec::new();
    for (at, (name, uses)) in modules.iter().enumerate() {
        for other in uses.iter().filter(|other| *other != name) {
            match order.iter().position(|known| known == other) {
                Some(place) if place < at => {}
                Some(_) => wrong.push(format!("{name} uses {other}, which stands below it in lib.rs")),
                None => {
                    wrong.push(format!("{name} uses crate::{other}, which is no module: name one at a time"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let uses = |name: &str| modules.iter().find(|(known, _)| known == name).map_or(0, |(_, uses)| uses.len());
    assert!(order.len() > 20 && uses("proxy") > 10 && uses("outcome") == 0, "{order:?}");
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

/// `scripts/sbom`: all packages of Cargo.lock, each once, with where they are from and their licences.
#[test]
fn the_bill_of_materials_has_every_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if Command::new("python3").arg("--version").output().is_err() {
        println!("SKIPPED: there is no python3");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("escache.cdx.json");
    let output = Command::new(root.join("scripts/sbom")).arg(&file).output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bill: Value = serde_json::from_slice(&fs::read(&file).unwrap()).expect("JSON");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let program = &bill["metadata"]["component"];
    assert_eq!((&program["name"], &program["type"]), (&"escache".into(), &"application".into()));
    let components: Vec<&Value> = bill["components"].as_array().unwrap().iter().chain([program]).collect();
    let of = |component: &Value, name: &str| component[name].as_str().unwrap_or_default().to_owned();
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let locked: BTreeSet<(String, String)> = lock
        .split("[[package]]")
        .skip(1)
        .map(|package| {
            let field = |name: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
                line.unwrap_or_default().trim_end_matches('"').to_owned()
            };
            (field("name"), field("version"))
        })
        .collect();
    let listed: BTreeSet<_> = components.iter().map(|c| (of(c, "name"), of(c, "version"))).collect();
    assert!(locked.len() > 100 && listed == locked, "{:?}", listed.symmetric_difference(&locked));
    assert_eq!(listed.len(), components.len(), "each once");
    let references: BTreeSet<String> = components.iter().map(|c| of(c, "bom-ref")).collect();
    assert_eq!(references.len(), components.len());
    for component in &components {
        let (name, version) = (of(component, "name"), of(component, "version"));
        assert_eq!(of(component, "purl"), format!("pkg:cargo/{name}@{version}"));
        let hash = component["hashes"][0]["content"].as_str().unwrap_or_default();
        assert!(name == "escache" || hash.len() == 64, "{component}");
        assert!(allowed(component["licenses"][0]["expression"].as_str().unwrap_or_default()), "{component}");
    }
    let required = |name: &str| {
        components.iter().any(|component| component["name"] == name && component["scope"] == "required")
    };
    assert!(required("tokio") && required("rustls") && !required("proptest"));
    for dependency in bill["dependencies"].as_array().unwrap() {
        let all = dependency["dependsOn"].as_array().unwrap().iter().chain([&dependency["ref"]]);
        for reference in all {
            assert!(references.contains(reference.as_str().unwrap()), "{reference} is nowhere");
        }
    }
}
