//! Analyzers, tokenizers and filters of plugins that reload their dictionaries without a trace in the engine.

const RELOADING: &[&str] = &["ik_max_word", "ik_smart", "dynamic_synonym", "hanlp", "pinyin_dynamic"];

/// Whether a component of this name or type reloads its dictionary.
#[must_use]
pub fn reloads(name: &str) -> bool {
    RELOADING.contains(&name)
}
