//! The streaming contract of a step, as far as jobs choose: separators, partitions, order, what an exit code means.

use serde::{Deserialize, Serialize};

use crate::fields::KeyFields;
use crate::limits;
use crate::problem::Problem;

/// How records become lines and lines records. The defaults are Hadoop Streaming's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streaming {
    /// What a mapper is given of an input record.
    pub input: InputForm,
    /// Between key and value on a mapper's stdin, where it is given both (`stream.map.input.field.separator`).
    pub map_input_separator: String,
    /// Ends the key in a mapper's output (`stream.map.output.field.separator`).
    pub map_output_separator: String,
    /// Which occurrence of it does (`stream.num.map.output.key.fields`).
    pub map_output_key_fields: u32,
    /// Between key and value on a reducer's stdin (`stream.reduce.input.field.separator`).
    pub reduce_input_separator: String,
    /// Ends the key in a reducer's output (`stream.reduce.output.field.separator`).
    pub reduce_output_separator: String,
    /// Which occurrence of it does (`stream.num.reduce.output.key.fields`).
    pub reduce_output_key_fields: u32,
    /// Between key and value in the written output (`mapreduce.output.textoutputformat.separator`).
    pub output_separator: String,
    /// Which partition a key belongs to.
    pub partition: Partition,
    /// In which order a reducer sees keys.
    pub order: Order,
    /// Exactly as Hadoop: a line without separator gains one in the output, a mapper must read all its input.
    pub strict: bool,
    /// Whether an exit code other than 0 is no failure (`stream.non.zero.exit.is.failure=false`).
    pub ignore_exit_code: bool,
}

/// What a mapper is given of an input record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputForm {
    /// The line (TextInputFormat).
    #[default]
    Line,
    /// Byte offset, separator, line (NLineInputFormat).
    OffsetLine,
    /// The line up to the first tab, separator, the rest (KeyValueTextInputFormat).
    KeyValue,
}

/// Which partition a key belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Partition {
    /// By XXH3 of the whole key.
    #[default]
    Hash,
    /// By Java's hash of the key as Hadoop's `Text`: the same part files as Hadoop.
    Java,
    /// By fields of the key (KeyFieldBasedPartitioner).
    Fields {
        /// As `sort -k`: `-k1,2`, several separated by spaces.
        options: String,
        /// Between the fields (`mapreduce.map.output.key.field.separator`).
        separator: String,
    },
}

/// In which order a reducer sees keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// By their bytes.
    #[default]
    Bytes,
    /// By fields (KeyFieldBasedComparator).
    Fields {
        /// As `sort`: `-n`, `-r`, `-k2,2nr`, several separated by spaces.
        options: String,
        /// Between the fields (`mapreduce.map.output.key.field.separator`).
        separator: String,
    },
}

impl Default for Streaming {
    fn default() -> Self {
        let tab = || "\t".to_owned();
        Self {
            input: InputForm::Line,
            map_input_separator: tab(),
            map_output_separator: tab(),
            map_output_key_fields: 1,
            reduce_input_separator: tab(),
            reduce_output_separator: tab(),
            reduce_output_key_fields: 1,
            output_separator: tab(),
            partition: Partition::Hash,
            order: Order::Bytes,
            strict: false,
            ignore_exit_code: false,
        }
    }
}

impl Streaming {
    pub(super) fn check(&self, at: &str) -> Result<(), Problem> {
        self.check_separators(at)?;
        self.check_key_fields(at)?;
        self.check_options(at)
    }

    fn check_separators(&self, at: &str) -> Result<(), Problem> {
        let separators = [
            ("map_input_separator", &self.map_input_separator),
            ("map_output_separator", &self.map_output_separator),
            ("reduce_input_separator", &self.reduce_input_separator),
            ("reduce_output_separator", &self.reduce_output_separator),
            ("output_separator", &self.output_separator),
        ];
        for (name, separator) in separators {
            if separator.len() > limits::SEPARATOR_BYTES || separator.contains('\n') {
                let detail = format!("a separator is at most {} bytes without a line feed", limits::SEPARATOR_BYTES);
                return Err(Problem::at(format!("{at}/{name}"), detail));
            }
        }
        if self.map_output_separator.is_empty() {
            return Err(Problem::at(format!("{at}/map_output_separator"), "an empty separator ends no key"));
        }
        Ok(())
    }

    fn check_key_fields(&self, at: &str) -> Result<(), Problem> {
        let fields = [
            ("map_output_key_fields", self.map_output_key_fields),
            ("reduce_output_key_fields", self.reduce_output_key_fields),
        ];
        for (name, count) in fields {
            if count == 0 || count > limits::KEY_FIELDS {
                let detail = format!("1 to {} fields are allowed", limits::KEY_FIELDS);
                return Err(Problem::at(format!("{at}/{name}"), detail));
            }
        }
        Ok(())
    }

    fn check_options(&self, at: &str) -> Result<(), Problem> {
        let partition = match &self.partition {
            Partition::Fields { options, separator } => Some(("partition", options, separator)),
            Partition::Hash | Partition::Java => None,
        };
        let order = match &self.order {
            Order::Fields { options, separator } => Some(("order", options, separator)),
            Order::Bytes => None,
        };
        for (name, options, separator) in partition.into_iter().chain(order) {
            if let Err(error) = KeyFields::parse(options, separator) {
                return Err(Problem::at(format!("{at}/{name}/fields/options"), error.to_string()));
            }
        }
        Ok(())
    }
}
