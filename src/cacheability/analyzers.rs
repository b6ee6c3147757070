//! What is known of analyzers by their names: those of plugins that reload their dictionaries without a trace in the
//! engine, and those whose words cannot surprise.

const RELOADING: &[&str] = &["ik_max_word", "ik_smart", "dynamic_synonym", "hanlp", "pinyin_dynamic"];

/// Whether a component of this name or type reloads its dictionary.
#[must_use]
pub fn reloads(name: &str) -> bool {
    RELOADING.contains(&name)
}

/// Built-in analyzers whose words are parts of the text, perhaps in small letters, perhaps without an ending.
pub(super) const KNOWN: &[&str] = &["english", "keyword", "simple", "standard", "stop", "whitespace"];

/// Whether it is known that all words of this analyzer begin as words of the text do. Others may translate, fold or
/// join, and so make `now` of any text.
///
/// An index may give the name to one of its own (`AnalysisRegistry`), so what names an analyzer depends on its settings, too.
#[must_use]
pub fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}
