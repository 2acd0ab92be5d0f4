//! What is wrong with a spec that its types allow: every rule across fields, each with a pointer to the place.

use std::fmt::Display;

use super::input::check_inputs;
use super::{Input, JOIN, JobSpec, LEFT, OnBadRecord, RIGHT, StepSpec};
use crate::columns::{self, Column};
use crate::format::InputFormat;
use crate::limits;
use crate::order::SortKey;
use crate::problem::Problem;
use crate::program::{InputForm, Program};

impl JobSpec {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// An `invalid` problem whose pointer names the first wrong place.
    pub fn check(&self) -> Result<(), Problem> {
        check_name(&self.name)?;
        check_inputs(&self.inputs)?;
        self.input_format.check()?;
        if self.steps.is_empty() || self.steps.len() > limits::STEPS_PER_JOB {
            let detail = format!("1 to {} steps are allowed, here are {}", limits::STEPS_PER_JOB, self.steps.len());
            return Err(Problem::at("/steps", detail));
        }
        for (index, step) in self.steps.iter().enumerate() {
            step.check(&format!("/steps/{index}"))?;
            if step.order.is_some() && index > 0 {
                let detail = "only a first step is sorted: its split points are sampled from the job's inputs; sort the \
                              output in a job of its own";
                return Err(Problem::at(format!("/steps/{index}/order"), detail));
            }
            if !step.columns.is_empty() && index > 0 {
                let detail = "only a first step reads files, whose columns are known";
                return Err(Problem::at(format!("/steps/{index}/columns"), detail));
            }
        }
        self.check_format()?;
        self.check_order()?;
        self.check_columns()?;
        self.check_join()?;
        self.split.check()?;
        between("/priority", Some(self.priority), -limits::PRIORITY, limits::PRIORITY)?;
        between("/attempts", Some(self.attempts), 1, limits::ATTEMPTS_MAX)?;
        let (least, most) = (limits::PROGRESS_TIMEOUT_MIN_MS, limits::PROGRESS_TIMEOUT_MAX_MS);
        between("/progress_timeout_ms", Some(self.progress_timeout_ms), least, most)?;
        let (least, most) = (limits::SORT_BUDGET_MIN_BYTES, limits::SORT_BUDGET_MAX_BYTES);
        between("/sort_budget_bytes", Some(self.sort_budget_bytes), least, most)?;
        self.check_faults()?;
        self.check_shares()?;
        self.output.check()
    }

    /// Refuses what does not go with the format of the input.
    fn check_format(&self) -> Result<(), Problem> {
        if self.input_format.is_plain_lines() {
            return Ok(());
        }
        let word = self.input_format.word();
        if matches!(self.inputs.as_slice(), [Input::Generated(_)]) {
            return Err(Problem::at("/input_format", "a generated input has no files, and so no format"));
        }
        if self.split.lines.is_some() && !self.input_format.is_of_lines() {
            return Err(Problem::at("/split/lines", format!("`{word}` is not cut by lines; use `bytes`, or nothing")));
        }
        let (streaming, has_mapper) = match self.steps.first().map(StepSpec::program) {
            Some(Program::Command(command)) => (&command.streaming, command.mapper.is_some()),
            Some(Program::Wasm(wasm)) => (&wasm.streaming, wasm.mapper.is_some()),
            Some(Program::Native(_)) | None => return Ok(()),
        };
        if streaming.input != InputForm::Line {
            return Err(Problem::at(
                "/input_format",
                format!("`streaming.input` is for lines: `{word}` says it itself"),
            ));
        }
        if self.input_format.is_binary() && !has_mapper {
            return Err(Problem::at(
                "/steps/0",
                format!("without a mapper lines pass, and `{word}` has none: name one"),
            ));
        }
        Ok(())
    }

    /// Refuses an order that the records of the format do not have.
    fn check_order(&self) -> Result<(), Problem> {
        let Some(order) = self.steps.first().and_then(|step| step.order.as_deref()) else { return Ok(()) };
        let (format, word) = (&self.input_format, self.input_format.word());
        let refuse = |at: &str, detail: String| Err(Problem::at(format!("/steps/0/order{at}"), detail));
        match &order.key {
            _ if matches!(format, InputFormat::WholeFile(_)) => {
                refuse("", "each file is one record of `whole_file`: there is nothing to sort in it".to_owned())
            }
            _ if matches!(format, InputFormat::Parquet(_)) => refuse(
                "",
                "a sort of `parquet` is not built: write its rows as JSON lines first, and sort these".to_owned(),
            ),
            SortKey::Columns(_) if !format.is_json() => {
                let hint = "`ndjson` and rows of `csv` that are given as JSON have columns; use `fields`";
                refuse("/key/columns", format!("records of `{word}` have no columns here: {hint}"))
            }
            SortKey::Fields { .. } if format.is_json() => {
                let hint = "use `columns`, as in {\"columns\": [{\"number\": 2, \"numeric\": true}]}";
                refuse("/key/fields", format!("records of `{word}` are JSON and have no separator: {hint}"))
            }
            SortKey::Record | SortKey::Bytes(_) | SortKey::Fields { .. } | SortKey::Columns(_) => Ok(()),
        }
    }

    /// Returns the columns that the first step looks for, with the pointer to them.
    #[must_use]
    pub fn sought_columns(&self) -> Option<(&'static str, &[Column])> {
        let step = self.steps.first()?;
        match step.order.as_deref().map(|order| &order.key) {
            Some(SortKey::Columns(columns)) => Some(("/steps/0/order/key/columns", columns)),
            Some(SortKey::Record | SortKey::Bytes(_) | SortKey::Fields { .. }) | None => {
                (!step.columns.is_empty()).then_some(("/steps/0/columns", step.columns.as_slice()))
            }
        }
    }

    /// Refuses columns that no record of the format has.
    fn check_columns(&self) -> Result<(), Problem> {
        let Some((at, columns)) = self.sought_columns() else { return Ok(()) };
        columns::check(columns, at)?;
        if !self.input_format.is_json() {
            let word = self.input_format.word();
            return Err(Problem::at(
                at,
                format!("records of `{word}` have no columns here: only what is given as JSON has"),
            ));
        }
        let name = columns.iter().find_map(|column| column.name.as_ref());
        if let (InputFormat::Csv(csv), Some(name)) = (&self.input_format, name)
            && !csv.header
        {
            let hint = "say that the first row names them (`\"header\": true`, --header), or give its number";
            return Err(Problem::at(at, format!("rows of csv without a header have no column `{name}`: {hint}")));
        }
        Ok(())
    }

    /// Refuses a join that has not both sides, or no fields: it would succeed with a result that is silently wrong.
    fn check_join(&self) -> Result<(), Problem> {
        let is_join = |step: &StepSpec| step.native.as_deref() == Some(JOIN);
        if let Some(later) = self.steps.iter().skip(1).position(is_join) {
            let at = format!("/steps/{}", later + 1);
            return Err(Problem::at(at, "only a first step is a join: what a step makes has no tag; join its output"));
        }
        if !self.steps.first().is_some_and(is_join) {
            return Ok(());
        }
        if self.input_format.is_json() || self.input_format.is_binary() {
            let word = self.input_format.word();
            let hint = "rows of `csv` and `parquet` have some with `\"rows\": \"tsv\"` (--rows tsv)";
            return Err(Problem::at("/input_format", format!("a join reads fields of lines, not `{word}`: {hint}")));
        }
        let tags: Vec<_> = self.inputs.iter().map(|input| input.url().and_then(|(_, tag)| tag)).collect();
        let stray = tags.iter().position(|tag| !matches!(*tag, Some(LEFT | RIGHT)));
        if let Some(index) = stray {
            let detail =
                format!("a join reads inputs tagged `{LEFT}` and `{RIGHT}`: {{\"url\": …, \"tag\": \"{LEFT}\"}}");
            return Err(Problem::at(format!("/inputs/{index}"), detail));
        }
        match [LEFT, RIGHT].into_iter().find(|side| !tags.contains(&Some(side))) {
            Some(side) => Err(Problem::at("/inputs", format!("no input of the join is tagged `{side}`"))),
            None => Ok(()),
        }
    }

    /// Refuses what the types can say and nothing does yet.
    fn check_faults(&self) -> Result<(), Problem> {
        if let OnBadRecord::Skip(most) = self.on_bad_record {
            between("/on_bad_record/skip", Some(most), 1, limits::SKIPS_MAX)?;
            if self.attempts < limits::ATTEMPTS_TO_SKIP {
                let (least, here) = (limits::ATTEMPTS_TO_SKIP, self.attempts);
                let detail = format!("to find and skip a bad record takes {least} attempts, {here} are allowed");
                return Err(Problem::at("/attempts", detail));
            }
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<(), Problem> {
        if let Some(user) = &self.user {
            check_word(user, "/user", "a user")?;
        }
        between("/max_running", self.max_running, 1, u32::MAX)?;
        let labels = &self.requires.labels;
        if labels.len() > limits::LABELS {
            let detail = format!("{} labels are allowed, here are {}", limits::LABELS, labels.len());
            return Err(Problem::at("/requires/labels", detail));
        }
        labels.iter().try_for_each(|(name, value)| {
            check_word(name, "/requires/labels", "a label's name")?;
            check_word(value, "/requires/labels", "a label's value")
        })
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let length = name.chars().count();
    if length == 0 || length > limits::JOB_NAME_CHARS || name.chars().any(char::is_control) {
        let most = limits::JOB_NAME_CHARS;
        return Err(Problem::at("/name", format!("a name is 1 to {most} characters, none of them control characters")));
    }
    Ok(())
}

/// Checks a user, a label or a tag.
pub(super) fn check_word(word: &str, at: &str, what: &str) -> Result<(), Problem> {
    if word.is_empty() || word.len() > limits::LABEL_BYTES || word.chars().any(char::is_control) {
        let most = limits::LABEL_BYTES;
        return Err(Problem::at(at, format!("{what} is 1 to {most} bytes, none of them control characters")));
    }
    Ok(())
}

/// Schemes that the design names but this version does not build are `unsupported`, others are `invalid`.
pub(super) fn not_built(at: &str, url: &str, detail: String) -> Problem {
    let planned = ["s3://", "gs://", "az://", "http://", "https://"];
    if planned.iter().any(|scheme| url.starts_with(scheme)) {
        let mut problem = Problem::new(crate::Code::Unsupported, format!("{detail}; this scheme is not built yet"));
        problem.pointer = Some(at.to_owned());
        return problem;
    }
    Problem::at(at, detail)
}

pub(super) fn between<T: PartialOrd + Display>(at: &str, value: Option<T>, least: T, most: T) -> Result<(), Problem> {
    match value {
        Some(value) if value < least || value > most => {
            Err(Problem::at(at, format!("{value} is not allowed: {least} to {most} is")))
        }
        _ => Ok(()),
    }
}
