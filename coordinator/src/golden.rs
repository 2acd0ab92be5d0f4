//! Files that freeze a format: a change of it breaks a test until it is written anew with `GRISTMILL_BLESS=1`.

use std::path::Path;

/// Compares the text with the file of this name under `src`.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
    let text = format!("{}\n", text.trim_end());
    if std::env::var_os("GRISTMILL_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, text).expect("writes");
        return;
    }
    let frozen = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == frozen, "{name} changed: is every reader of it still right? Now:\n{text}");
}
