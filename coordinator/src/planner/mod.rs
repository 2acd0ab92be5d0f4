//! Turns a spec into a plan: lists and pins the inputs, cuts them into splits, fixes everything that shapes bytes.
//!
//! The plan depends on the spec and the inputs alone: no workers, no clock, no randomness, so planning again after a
//! crash gives the same bytes. It also looks at the output's name, so that a job does not run for hours to find it taken.
//! What blocks runs off the async threads.

mod columns;
mod cuts;
mod fusion;
mod headers;
mod inputs;
mod lines;
mod packed;
mod ranges;
mod replaced;
mod sample;
mod sampled;
mod zstd_frames;

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_common::format::InputFormat;
use gristmill_common::order::PlannedOrder;
use gristmill_common::output::{OutputCompression, OutputFormat};
use gristmill_common::plan::{PartForm, PinnedFile, Plan, PlanHead, PlanSummary, PlannedStep, Splits, Written};
use gristmill_common::program::Kind;
use gristmill_common::spec::{Generated, Input, OnBadRecord, StepSpec};
use gristmill_common::{Code, JobId, JobSpec, Problem, limits};
use gristmill_storage::{Location, Roots, StorageError};

use crate::commit::target::Target;
use crate::store::Store;

/// Makes a job's plan and writes its blob durably.
///
/// # Errors
/// A problem that says what is wrong, with a pointer into the spec where it is the spec's.
pub async fn plan(
    job: JobId,
    spec: &JobSpec,
    store: &Store,
    roots: &Roots,
) -> Result<(Arc<Plan>, PlanSummary), Problem> {
    check_output(job, spec, store, roots).await?;
    let (files, splits) = match spec.inputs.as_slice() {
        [Input::Generated(Generated { generate })] => (Vec::new(), generated(spec, *generate)?),
        inputs => {
            if spec.split.records.is_some() {
                return Err(Problem::at(
                    "/split/records",
                    "only a generated input is cut by records; use `bytes` here",
                ));
            }
            let files = inputs::pin_all(inputs, store, roots).await?;
            replaced::check(job, spec, &files, store, roots).await?;
            headers::check(spec, &files, store, roots).await?;
            let splits = cut(spec, &files, store, roots).await?;
            (files, splits)
        }
    };
    let covering = covering_roots(&files, roots);
    let mut plan = assemble(spec, files, splits)?;
    if let (Some(order), Some(step)) =
        (spec.steps.first().and_then(|step| step.order.as_deref()), plan.head.steps.first_mut())
    {
        let points =
            sample::points(order, &spec.input_format, step.reduces, &plan.head.files, &plan.splits, store, roots)
                .await?;
        step.order = Some(Box::new(PlannedOrder { order: order.clone(), points }));
    }
    let blob = plan.to_blob();
    let summary = plan.summary(&blob, covering);
    store.put_plan(job, blob).await.map_err(|error| error.problem())?;
    Ok((Arc::new(plan), summary))
}

async fn check_output(job: JobId, spec: &JobSpec, store: &Store, roots: &Roots) -> Result<(), Problem> {
    let Some(url) = spec.output.url.clone() else { return Ok(()) };
    let (store, roots, overwrite) = (store.clone(), roots.clone(), spec.output.overwrite);
    let is_outside = Location::parse_file(&url).is_ok_and(|path| roots.covering(&path).is_none());
    let check = move || {
        let target = Target::resolve(&url, job, &store, &roots)?;
        target.check_free(overwrite)?;
        target.check_writable()
    };
    let checked = tokio::task::spawn_blocking(check).await;
    let checked = checked.map_err(|error| Problem::new(Code::Internal, format!("checking the output: {error}")))?;
    checked.map_err(|error| {
        let problem = misplaced(&error, "/output/url".to_owned());
        let hint = "it is the coordinator that needs it, since it writes outputs; without one it keeps the result, for \
                    `gristmill output JOB` and the stdout of `submit`";
        if is_outside { Problem { detail: format!("{}; {hint}", problem.detail), ..problem } } else { problem }
    })
}

/// Makes the problem with a place of the spec: what is not there is a mistake in it, other codes stay what they are.
fn misplaced(error: &StorageError, pointer: String) -> Problem {
    let code = match error.code() {
        Code::NotFound => Code::Invalid,
        code => code,
    };
    Problem { pointer: Some(pointer), ..Problem::new(code, error.to_string()) }
}

fn generated(spec: &JobSpec, records: u64) -> Result<Splits, Problem> {
    if spec.split.bytes.is_some() {
        return Err(Problem::at("/split/bytes", "a generated input has no bytes; use `records` here"));
    }
    if spec.split.lines.is_some() {
        return Err(Problem::at("/split/lines", "a generated input has no lines; use `records` here"));
    }
    let each = spec.split.records.unwrap_or_else(|| records.div_ceil(limits::SPLITS_OF_SMALL_INPUT)).max(1);
    check_tasks(records.div_ceil(each), "/split/records", "give more records to a split")?;
    Ok(Splits::Generated { records, each })
}

async fn cut(spec: &JobSpec, files: &[PinnedFile], store: &Store, roots: &Roots) -> Result<Splits, Problem> {
    if let Some(lines) = spec.split.lines {
        let splits = lines::cut(files, lines, store, roots).await?;
        check_tasks(splits.len() as u64, "/split/lines", "give more lines to a split")?;
        return Ok(Splits::Files(splits));
    }
    if let InputFormat::WholeFile(_) = spec.input_format {
        let splits = cuts::each(files);
        check_tasks(splits.len() as u64, "/inputs", "each file is a task: give fewer files")?;
        return Ok(Splits::Files(splits));
    }
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let count = cuts::count(total, spec.split.bytes);
    let pointer = if spec.split.bytes.is_some() { "/split/bytes" } else { "/inputs" };
    check_tasks(count, pointer, "give more bytes to a split")?;
    let whole = spec.input_format.uncut().is_some();
    // A damaged archive is left out whole: one task has to have seen all of it.
    let edges = if let InputFormat::Parquet(parquet) = &spec.input_format {
        columns::find(files, parquet, spec.sought_columns(), store, roots).await?
    } else if whole || spec.on_bad_record != OnBadRecord::Fail {
        BTreeMap::new()
    } else {
        let found = packed::find(files, cuts::wanted(files, count), &spec.input_format, store, roots).await;
        found.map_err(|error| misplaced(&error, "/inputs".to_owned()))?
    };
    let splits = cuts::cut(files, count, whole, &edges);
    let is_command = spec.steps.first().is_some_and(|step| step.program().kind() == Kind::Command);
    let splits = if is_command { cuts::apart(splits) } else { cuts::by_tag(splits, files) };
    check_tasks(splits.len() as u64, pointer, "give more bytes to a split")?;
    Ok(Splits::Files(splits))
}

fn check_tasks(tasks: u64, pointer: &str, advice: &str) -> Result<(), Problem> {
    if tasks <= limits::TASKS_PER_JOB {
        return Ok(());
    }
    let detail = format!("{tasks} tasks are more than the {} that a job may have: {advice}", limits::TASKS_PER_JOB);
    Err(Problem::at(pointer, detail))
}

fn assemble(spec: &JobSpec, files: Vec<PinnedFile>, splits: Splits) -> Result<Plan, Problem> {
    let too_many = || Problem::at("/steps", "more map tasks than can be counted");
    let mut maps = u32::try_from(splits.count()).map_err(|_| too_many())?;
    let mut steps = Vec::with_capacity(spec.steps.len());
    for (index, step) in spec.steps.iter().enumerate() {
        let fused = fusion::is_fused(spec, index);
        let planned = PlannedStep {
            native: step.native.clone(),
            command: step.command.clone(),
            wasm: step.wasm.clone(),
            args: step.args.clone(),
            maps: if fused { 0 } else { maps },
            reduces: reduces(step, &files),
            combine: step.combine,
            sort_budget_bytes: spec.sort_budget_bytes,
            fan_in: limits::FAN_IN,
            order: None,
            input_format: if steps.is_empty() { spec.input_format.clone() } else { InputFormat::default() },
            part_form: if steps.len() + 1 == spec.steps.len() { form_of_parts(spec, step) } else { PartForm::Run },
            written: None,
            fused,
        };
        maps = planned.parts();
        steps.push(planned);
    }
    if let Some(last) = steps.last_mut() {
        last.written = written(spec, last)?;
    }
    let tasks = steps.iter().map(|step| u64::from(step.maps) + u64::from(step.reduces)).sum();
    check_tasks(tasks, "/steps", "use fewer partitions, larger splits or fewer steps")?;
    let head = PlanHead { files, steps, progress_timeout_ms: spec.progress_timeout_ms };
    Ok(Plan { version: Plan::VERSION, head, splits })
}

/// Parts of a last step are finished files where nobody will merge them by key: in a directory, and one behind the other.
fn form_of_parts(spec: &JobSpec, last: &StepSpec) -> PartForm {
    let is_ordered = last.reduces() <= 1 || last.order.is_some();
    match &spec.output.url {
        Some(url) if url.ends_with('/') || is_ordered => PartForm::File,
        _ => PartForm::Run,
    }
}

/// What the lines of the last step become. What is packed, or has more in it than rows, is made by the task that makes the rows:
/// such files cannot be merged by key.
fn written(spec: &JobSpec, last: &PlannedStep) -> Result<Option<Box<Written>>, Problem> {
    let written = Written { format: spec.output.format.clone(), compression: spec.output.compression };
    if written == Written::default() {
        return Ok(None);
    }
    let is_packed = written.compression != OutputCompression::None;
    let pointer = if is_packed { "/output/compression" } else { "/output/format" };
    let advice = "give a directory (`-o DIR/`) or one partition (`--partitions 1`)";
    if (is_packed || written.has_frame()) && last.part_form == PartForm::Run {
        let what = match &written.format {
            _ if is_packed => "a packed output",
            OutputFormat::Parquet(_) => "Parquet",
            OutputFormat::Text(_) | OutputFormat::Ndjson(_) | OutputFormat::Csv(_) => "an output with a header",
        };
        let detail = if spec.output.url.is_some() {
            format!("{what} is not made of parts that are merged by key, line by line, into one file: {advice}")
        } else {
            format!(
                "{what} has to have files: give a directory (`-o DIR/`), or a file of one partition (`-o FILE --partitions 1`)"
            )
        };
        return Err(Problem::at(pointer, detail));
    }
    let is_one_file = spec.output.url.as_ref().is_some_and(|url| !url.ends_with('/'));
    if is_one_file && written.has_frame() && last.parts() > 1 {
        let detail =
            format!("{} parts one behind the other are no file with a header and no Parquet file", last.parts());
        return Err(Problem::at(pointer, format!("{detail}; {advice}")));
    }
    Ok(Some(Box::new(written)))
}

/// The parts of a sort follow from its input: each is merged by one task.
fn reduces(step: &StepSpec, files: &[PinnedFile]) -> u32 {
    if step.order.is_none() || step.partitions.is_some() {
        return step.reduces();
    }
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let parts = bytes.div_ceil(limits::SORT_PART_BYTES).min(limits::SORT_PARTS);
    (parts as u32).max(limits::DEFAULT_PARTITIONS)
}

/// Returns the allowed directories that the files are in: what a worker must be allowed to read.
fn covering_roots(files: &[PinnedFile], roots: &Roots) -> Vec<String> {
    let mut covering: Vec<String> = files
        .iter()
        .filter(|file| file.url.starts_with("file:"))
        .filter_map(|file| {
            roots.covering(&Location::parse_file(&file.url).ok()?).map(|root| root.display().to_string())
        })
        .collect();
    covering.sort_unstable();
    covering.dedup();
    covering
}

#[cfg(test)]
mod tests;
