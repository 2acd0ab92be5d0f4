//! Where the result goes.

use serde::{Deserialize, Serialize};

use super::check::not_built;
use crate::absent::is_default;
use crate::output::{OutputCompression, OutputFormat};
use crate::problem::Problem;

/// Where the result goes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// `file:///…/` or `store://…/` for a directory of parts, without the slash for one file merged by key; absent for the
    /// coordinator's store under the job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether an output that exists is replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overwrite: bool,
    /// What the lines of the program become.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: OutputFormat,
    /// How the files are packed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compression: OutputCompression,
}

impl OutputSpec {
    /// Returns what the names of part files end in.
    #[must_use]
    pub fn ending(&self) -> String {
        match &self.format {
            OutputFormat::Text(_) => self.compression.ending().to_owned(),
            OutputFormat::Ndjson(_) => format!(".ndjson{}", self.compression.ending()),
            OutputFormat::Csv(_) => format!(".csv{}", self.compression.ending()),
            // Its pages are packed, and it is not.
            OutputFormat::Parquet(_) => ".parquet".to_owned(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        self.format.check()?;
        if self.compression == OutputCompression::Bzip2 && matches!(self.format, OutputFormat::Parquet(_)) {
            return Err(Problem::at(
                "/output/compression",
                "pages of Parquet are packed with zstd, gzip, lz4 or not at all",
            ));
        }
        let Some(url) = &self.url else {
            if self.overwrite {
                return Err(Problem::at(
                    "/output/overwrite",
                    "there is nothing to overwrite in the coordinator's store",
                ));
            }
            return Ok(());
        };
        let store = url.strip_prefix("store://");
        if url.starts_with("file:///") || store.is_some_and(|path| !path.trim_matches('/').is_empty()) {
            return Ok(());
        }
        let detail =
            format!("`{url}`: outputs can be file:/// or store:// URLs, or left out for the coordinator's store");
        Err(not_built("/output/url", url, detail))
    }
}
