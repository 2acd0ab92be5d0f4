//! What a person sees of uploads and downloads: a bar on a terminal, one line at the end, on stderr only.

use std::io::{IsTerminal as _, Write as _};

use gristmill_sdk::app::progress::{counted, size};
use indicatif::{ProgressBar, ProgressStyle};

/// Files on their way.
pub(crate) struct Transfer {
    bar: ProgressBar,
    files: u64,
    quiet: bool,
}

impl Transfer {
    /// Starts with the bytes that are to come, where they are known.
    pub(crate) fn new(quiet: bool, total: Option<u64>) -> Self {
        let draws = !quiet && std::io::stderr().is_terminal();
        let bar = match total {
            _ if !draws => ProgressBar::hidden(),
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, files: 0, quiet }
    }

    /// Returns what counts bytes.
    pub(crate) fn counter(&self) -> impl Fn(u64) + Send + Sync + 'static + use<> {
        let bar = self.bar.clone();
        move |bytes| bar.inc(bytes)
    }

    /// Counts a file that is through.
    pub(crate) fn count_file(&mut self) {
        self.files += 1;
    }

    /// Says what was done.
    pub(crate) fn close(self, done: &str) {
        self.bar.finish_and_clear();
        if !self.quiet {
            let line = format!("{done} {} ({})", counted(self.files, "file"), size(self.bar.position()));
            drop(writeln!(std::io::stderr(), "{line}"));
        }
    }
}
