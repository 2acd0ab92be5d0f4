//! What the first step reads, and how it is cut.

use serde::{Deserialize, Serialize};

use super::check::{between, check_word, not_built};
use crate::limits;
use crate::problem::Problem;

/// One input of the first step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// A URL (`file:///…`, `store://…`), which may be a file, a directory or a glob.
    Url(String),
    /// A URL with a tag.
    Tagged(Tagged),
    /// Records made of nothing: record `i` is the decimal text of `i`.
    Generated(Generated),
}

/// An input by whose tag programs tell where a record is from. A split has files of one tag only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tagged {
    /// As an input without a tag.
    pub url: String,
    /// What programs are told: 1 to 128 bytes, none of them control characters.
    pub tag: String,
}

impl Input {
    /// Makes the input of a URL, with a tag if there is one.
    #[must_use]
    pub fn of(url: String, tag: Option<&str>) -> Self {
        match tag {
            None => Self::Url(url),
            Some(tag) => Self::Tagged(Tagged { url, tag: tag.to_owned() }),
        }
    }

    /// Returns the URL and the tag; `None` when there are no files.
    #[must_use]
    pub fn url(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::Url(url) => Some((url, None)),
            Self::Tagged(Tagged { url, tag }) => Some((url, Some(tag))),
            Self::Generated(_) => None,
        }
    }
}

/// A count of records to generate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// How many records, numbered from 0.
    pub generate: u64,
}

/// How inputs are cut.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Target bytes of a split of files; chosen from the input's size when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Records of a split of a generated input; all in 16 splits when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Lines of a split of files: one task for every so many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
}

impl Split {
    pub(super) fn check(&self) -> Result<(), Problem> {
        between("/split/bytes", self.bytes, limits::SPLIT_FLOOR_BYTES, limits::SPLIT_CEILING_BYTES)?;
        between("/split/records", self.records, 1, u64::MAX)?;
        between("/split/lines", self.lines, 1, u64::MAX)?;
        if self.lines.is_some() && self.bytes.is_some() {
            return Err(Problem::at("/split/lines", "inputs are cut by `bytes` or by `lines`, not both"));
        }
        Ok(())
    }
}

pub(super) fn check_inputs(inputs: &[Input]) -> Result<(), Problem> {
    if inputs.is_empty() {
        return Err(Problem::at("/inputs", "at least one input is needed"));
    }
    let generated = inputs.iter().filter(|input| matches!(input, Input::Generated(_))).count();
    if generated > 0 && inputs.len() > 1 {
        return Err(Problem::at("/inputs", "a generated input stands alone"));
    }
    for (index, input) in inputs.iter().enumerate() {
        let at = format!("/inputs/{index}");
        match input {
            Input::Generated(Generated { generate: 0 }) => {
                return Err(Problem::at(format!("{at}/generate"), "at least one record is needed"));
            }
            Input::Generated(_) => {}
            Input::Url(url) => check_input_url(url, &at)?,
            Input::Tagged(Tagged { url, tag }) => {
                check_input_url(url, &format!("{at}/url"))?;
                check_word(tag, &format!("{at}/tag"), "a tag")?;
            }
        }
    }
    Ok(())
}

fn check_input_url(url: &str, at: &str) -> Result<(), Problem> {
    if url.starts_with("file:///") || url.starts_with("store://") {
        return Ok(());
    }
    Err(not_built(at, url, format!("`{url}`: inputs can be file:/// or store:// URLs")))
}
