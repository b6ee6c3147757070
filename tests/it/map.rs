//! ARCHITECTURE.md is true of the tree: its map has every module, in the order in which they may use each other.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_map_has_every_module_in_its_order() {
    let (map, library) = (read("ARCHITECTURE.md"), read("src/lib.rs"));
    let rows: Vec<&str> =
        map.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let modules = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    // the program comes last: it uses all of them
    let expected: Vec<&str> = modules.chain(["main"]).collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_files_that_it_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = read("ARCHITECTURE.md");
    let named: Vec<&str> = map.split('`').filter(|word| word.ends_with(".rs")).collect();
    let gone = named
        .iter()
        .filter(|file| !["src", ".", "tests/it"].iter().any(|at| root.join(at).join(file).is_file()));
    assert_eq!((gone.collect::<Vec<_>>(), named.len() > 20), (Vec::new(), true));
}
