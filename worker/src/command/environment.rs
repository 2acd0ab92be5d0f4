//! The environment of a program: a few variables of the worker, what Hadoop Streaming promises, and the job's own.
//!
//! Nothing else of the worker's environment: its join line may have come through it.

use std::collections::BTreeMap;
use std::path::Path;

use gristmill_common::program::Command;
use gristmill_common::{Fence, JobId, Stage, TaskName};

/// Variables that programs find as the worker has them.
const PASSED: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "JAVA_HOME",
    "SSL_CERT_FILE",
];
/// Where programs are looked for when the worker has no PATH.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One attempt, for those who ask for its names.
pub(super) struct Attempt<'a> {
    pub(super) job: JobId,
    pub(super) name: TaskName,
    pub(super) fence: Fence,
    pub(super) reduces: u32,
    pub(super) directory: &'a Path,
    /// What is read of which file, of a map of files: URL, first byte, length.
    pub(super) input: Option<(String, u64, u64)>,
}

/// Returns all variables; those of the job win.
pub(super) fn of(command: &Command, attempt: &Attempt<'_>) -> Vec<(String, String)> {
    let mut all = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else { continue };
        if PASSED.contains(&name.as_str()) || name.starts_with("LC_") {
            all.insert(name, value);
        }
    }
    all.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    all.insert("TMPDIR".to_owned(), attempt.directory.join(super::workplace::TMP).display().to_string());
    for (name, value) in &command.properties {
        all.insert(variable(name), value.clone());
    }
    all.extend(attempt.variables(command));
    all.extend(command.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    // A property may hold what no environment can.
    all.into_iter().filter(|(_, value)| !value.contains('\0')).collect()
}

/// A property's name, as an environment shows it.
fn variable(property: &str) -> String {
    property.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

impl Attempt<'_> {
    fn variables(&self, command: &Command) -> Vec<(String, String)> {
        let digits = self.job.hadoop_numbers();
        let (is_map, letter) = (self.name.stage == Stage::Map, if self.name.stage == Stage::Map { 'm' } else { 'r' });
        let job = format!("job_{digits}");
        let task = format!("task_{digits}_{letter}_{:06}", self.name.index);
        let attempt = format!("attempt_{digits}_{letter}_{:06}_{}", self.name.index, self.fence.0);
        let directory = self.directory.display().to_string();
        let names = |archives: bool| {
            let names = command.files.iter().filter(|file| file.archive == archives).map(|file| file.name.as_str());
            names.collect::<Vec<_>>()
        };
        let local = |archives: bool| {
            let names = names(archives);
            names.iter().map(|name| format!("{directory}/{name}")).collect::<Vec<_>>().join(",")
        };
        let mut all = vec![
            ("mapreduce_job_id", job.clone()),
            ("mapred_job_id", job),
            ("mapreduce_job_reduces", self.reduces.to_string()),
            ("mapreduce_task_id", task),
            ("mapreduce_task_attempt_id", attempt.clone()),
            ("mapred_task_id", attempt),
            ("mapreduce_task_ismap", is_map.to_string()),
            ("mapreduce_task_partition", self.name.index.to_string()),
            ("mapred_task_partition", self.name.index.to_string()),
            ("mapreduce_task_output_dir", directory.clone()),
            ("mapreduce_job_local_dir", directory.clone()),
            ("mapreduce_job_cache_files", names(false).join(",")),
            ("mapreduce_job_cache_archives", names(true).join(",")),
            ("mapreduce_job_cache_local_files", local(false)),
            ("mapreduce_job_cache_local_archives", local(true)),
        ];
        if !command.properties.contains_key("mapreduce.job.name") {
            all.push(("mapreduce_job_name", self.job.to_string()));
        }
        if let Some((file, start, length)) = &self.input {
            all.push(("mapreduce_map_input_file", file.clone()));
            all.push(("map_input_file", file.clone()));
            all.push(("mapreduce_map_input_start", start.to_string()));
            all.push(("mapreduce_map_input_length", length.to_string()));
        }
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
