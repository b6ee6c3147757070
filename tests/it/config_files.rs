//! What operators copy from `config/`: the alerts and the dashboard name metrics that exist, compose and Kubernetes
//! settings that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::escache::two;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn yaml(name: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple(&read(name));
    documents.unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All values of members called `name`, at any depth.
fn members<'a>(value: &'a Value, name: &str, out: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            out.extend(object.get(name));
            object.values().for_each(|v| members(v, name, out));
        }
        Value::Array(elements) => elements.iter().for_each(|v| members(v, name, out)),
        _ => {}
    }
}

/// All texts of members called `name`, at any depth.
fn texts(value: &Value, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    members(value, name, &mut out);
    out.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The words of a text that begin with `prefix`.
fn words<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':';
    text.split(word).map(|word| word.trim_end_matches(':')).filter(|word| word.starts_with(prefix)).collect()
}

/// What `label="..."` or `label=~"a|b"` asks for in a query.
fn label_values<'a>(query: &'a str, label: &str) -> Vec<&'a str> {
    let mut out = Vec::new();
    for part in query.split(['{', ',']) {
        let Some((name, value)) = part.split_once('=') else { continue };
        if name.trim().trim_end_matches('!') == label {
            let value = value.trim_start_matches('~').trim_start_matches('"');
            out.extend(value.split('"').next().unwrap_or_default().split('|'));
        }
    }
    out
}

/// The text of `/metrics` after a search, and the names of its samples.
async fn metrics() -> (String, BTreeSet<String>) {
    let (_engine, escache) = two().await;
    escache.search("/logs/_search", json!({})).await;
    let answer = escache.client.get(format!("{}/metrics", escache.admin)).await;
    let text = answer.text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect();
    (text, names)
}

/// The queries of the alerts and of the dashboard, each with where it stands.
fn queries() -> Vec<(&'static str, String)> {
    let rules = yaml("prometheus/rules.yml").remove(0);
    let dashboard: Value = serde_json::from_str(&read("grafana/escache.json")).expect("JSON");
    let mut out: Vec<_> = texts(&rules, "expr").into_iter().map(|q| ("prometheus/rules.yml", q)).collect();
    assert!(out.len() >= 10, "{} rules", out.len());
    let of_rules = out.len();
    out.extend(texts(&dashboard, "expr").into_iter().map(|q| ("grafana/escache.json", q)));
    out.extend(texts(&dashboard, "definition").into_iter().map(|q| ("grafana/escache.json", q)));
    assert!(out.len() >= of_rules + 30, "{} queries", out.len());
    out
}

#[tokio::test]
async fn alerts_and_dashboard_name_metrics_and_labels_that_exist() {
    let (text, exported) = metrics().await;
    let recorded: BTreeSet<String> = texts(&yaml("prometheus/rules.yml")[0], "record").into_iter().collect();
    let mut wrong = Vec::new();
    for (file, query) in queries() {
        let mut named = 0;
        for word in words(&query, "escache") {
            // job="escache" is what the scrape configuration calls it
            if word == "escache" || recorded.contains(word) {
                continue;
            }
            named += 1;
            if !exported.contains(word) {
                wrong.push(format!("{file}: there is no metric {word} for: {query}"));
            }
        }
        if named == 0 && !query.starts_with("up{") {
            wrong.push(format!("{file}: no metric of escache in: {query}"));
        }
        for label in ["outcome", "api", "reason", "cause", "limit", "kind", "result"] {
            for value in label_values(&query, label) {
                if !text.contains(&format!("{label}=\"{value}\"")) {
                    wrong.push(format!("{file}: no {label} is called {value}: {query}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read("grafana/escache.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let place = |p: &Value| ["x", "y", "w", "h"].map(|k| p["gridPos"][k].as_u64().unwrap());
    for (i, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = place(panel);
        assert!(x + w <= 24, "{} is too wide", panel["title"]);
        for other in &panels[..i] {
            let [x2, y2, w2, h2] = place(other);
            let apart = x + w <= x2 || x2 + w2 <= x || y + h <= y2 || y2 + h2 <= y;
            assert!(apart, "{} lies over {}", panel["title"], other["title"]);
        }
    }
}

/// The variables of all settings that `escache.yml` has.
fn variables() -> BTreeSet<String> {
    let documented = read("escache.yml");
    let names = documented.lines().filter_map(|line| line.strip_prefix('#')?.split_once(':'));
    names
        .filter(|(name, _)| !name.is_empty() && !name.contains(' '))
        .map(|(name, _)| format!("ESCACHE_{}", name.to_uppercase().replace('.', "_")))
        .collect()
}

/// escache refuses to start where a variable has its prefix and is none of its settings. So none that a script or a test
/// reads may have it, or who has set one cannot start the program from the same shell.
#[test]
fn the_prefix_of_the_program_is_for_its_settings() {
    let (mut files, mut found, mut wrong) = (0, 0, Vec::new());
    let known = variables();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // what is there; a package has not all of it
    let mut folders: Vec<PathBuf> =
        [".ci", "benches", "docs", "examples", "scripts", "src", "tests", "tools"]
            .map(|f| root.join(f))
            .into();
    let mut texts: Vec<PathBuf> =
        ["ARCHITECTURE.md", "Dockerfile", "README.md", "SECURITY.md"].map(|f| root.join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            // what is built there, and names that are wrong on purpose
            let left_out = [".build", "__pycache__"].iter().any(|name| entry.file_name() == *name)
                || path == root.join("src/config/tests.rs");
            match kind.is_dir() {
                _ if left_out => {}
                true => folders.push(path),
                false => texts.push(path),
            }
        }
    }
    for path in texts {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        files += 1;
        for word in words(&text, "ESCACHE_").into_iter().filter(|word| *word != "ESCACHE_") {
            found += 1;
            if word != "ESCACHE_CONFIG" && !known.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(files > 200 && found > 15, "{found} in {files} files");
    assert!(wrong.is_empty(), "no settings of escache:\n{}", wrong.join("\n"));
}

#[test]
fn compose_and_kubernetes_name_settings_and_files_that_exist() {
    let settings = variables();
    let mut found = 0;
    for name in ["compose.yml", "kubernetes/deployment.yaml", "kubernetes/sidecar.yaml"] {
        let text = read(name);
        assert!(!yaml(name).is_empty(), "{name}");
        for word in words(&text, "ESCACHE_") {
            found += 1;
            assert!(settings.contains(word), "{name}: {word} is no setting");
        }
    }
    assert!(found >= 9, "{found} settings");
    let compose = yaml("compose.yml").remove(0);
    let mut volumes = Vec::new();
    members(&compose["services"], "volumes", &mut volumes);
    let mut files = 0;
    for volume in volumes.into_iter().flat_map(|list| list.as_array().unwrap()) {
        if let Some(path) = volume.as_str().unwrap().split(':').next().and_then(|p| p.strip_prefix("./")) {
            files += 1;
            assert!(folder().join(path).exists(), "compose.yml: there is no config/{path}");
        }
    }
    assert_eq!(files, 4);
}

#[test]
fn probes_ask_what_the_admin_listener_has_on_a_port_that_is_named() {
    let mut probes = 0;
    for name in ["kubernetes/deployment.yaml", "kubernetes/sidecar.yaml"] {
        let documents = Value::from(yaml(name));
        let ports = texts(&documents, "name");
        let mut gets = Vec::new();
        members(&documents, "httpGet", &mut gets);
        for get in gets {
            probes += 1;
            assert!(["/live", "/ready"].contains(&get["path"].as_str().unwrap()), "{name}: {get}");
            assert!(ports.iter().any(|port| get["port"] == port.as_str()), "{name}: {get}");
        }
    }
    assert_eq!(probes, 6);
}
