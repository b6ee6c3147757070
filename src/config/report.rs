//! What `escache check` prints: every setting with its value and where that comes from, secrets covered.

use super::Config;

impl Config {
    /// All settings, as YAML with the origins in comments.
    #[must_use]
    pub fn report(&self) -> String {
        let lines: Vec<(String, String)> = self
            .rows
            .iter()
            .map(|row| {
                let note = match row.setting.name {
                    "indices.requests.cache.size" if row.shown.ends_with('%') => {
                        format!("{}, {}mb here", row.origin, self.settings.proxy.capacity >> 20)
                    }
                    _ => row.origin.to_string(),
                };
                (format!("{}: {}", row.setting.name, row.shown), note)
            })
            .collect();
        let width = lines.iter().map(|(line, _)| line.len()).filter(|len| *len <= 60).max().unwrap_or(0);
        lines.iter().map(|(line, note)| format!("{line:width$}  # {note}\n")).collect()
    }
}
