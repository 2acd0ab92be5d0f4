//! The environment of a program: a few variables of the worker, what Hadoop Streaming promises, and the job's own.
//!
//! Nothing else of the worker's environment: its join line may have come through it.

use std::collections::BTreeMap;
use std::path::Path;

use gristmill_common::program::Command;
use gristmill_common::{Fence, JobId, Stage, TaskName};

use crate::program::{MapInput, MapTask, ReduceTask, TAG_VARIABLE};

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
    /// The tag of the input that it is of.
    pub(super) tag: Option<&'a str>,
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

impl<'a> Attempt<'a> {
    pub(super) fn of_map(task: &MapTask<'a>, directory: &'a Path) -> Self {
        let input = match &task.input {
            MapInput::Pieces { pieces, .. } => {
                let first = pieces.first();
                first.map(|piece| (piece.file.url.clone(), piece.start, piece.end - piece.start))
            }
            MapInput::Generated { .. } | MapInput::Part { .. } | MapInput::Fed { .. } => None,
        };
        let MapTask { job, name, fence, .. } = *task;
        Self { job, name, fence, reduces: task.step.reduces, directory, input, tag: task.input.tag() }
    }

    pub(super) fn of_reduce(task: &ReduceTask<'_>, directory: &'a Path) -> Self {
        let ReduceTask { job, name, fence, .. } = *task;
        Self { job, name, fence, reduces: task.step.reduces, directory, input: None, tag: None }
    }

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
        all.extend(self.tag.map(|tag| (TAG_VARIABLE, tag.to_owned())));
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::program::BundleFile;

    use super::*;

    fn environment(stage: Stage, input: Option<(String, u64, u64)>) -> BTreeMap<String, String> {
        let file = |name: &str, archive| BundleFile {
            name: name.to_owned(),
            sha256: gristmill_common::Digest::of(b""),
            archive,
        };
        let command = Command {
            files: vec![file("map.py", false), file("words.txt", false), file("model", true)],
            properties: [("my.own-property", "1"), ("mapreduce.job.name", "a job"), ("bad", "a\0b"), ("x.y", "first")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            env: [("x_y", "second"), ("HOME", "/mine")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Command::default()
        };
        let attempt = Attempt {
            job: JobId(uuid::Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
            name: TaskName { step: 0, stage, index: 12 },
            fence: Fence(345),
            reduces: 7,
            directory: Path::new("/job"),
            input,
            tag: Some("orders"),
        };
        of(&command, &attempt).into_iter().collect()
    }

    /// Whether a name is these words with `_` between them; a word of only `0` stands for that many digits or more.
    fn is_name(text: &str, words: &[&str]) -> bool {
        let found: Vec<&str> = text.split('_').collect();
        found.len() == words.len()
            && found.iter().zip(words).all(|(found, word)| match word.bytes().all(|byte| byte == b'0') {
                true => found.len() >= word.len() && found.bytes().all(|byte| byte.is_ascii_digit()),
                false => found == word,
            })
    }

    #[test]
    fn p19_a_map_finds_the_names_of_hadoop_and_the_old_ones() {
        let env = environment(Stage::Map, Some(("store://in.txt".to_owned(), 5, 60)));
        let expected = [
            ("mapreduce_job_name", "a job"),
            ("mapreduce_job_reduces", "7"),
            ("mapreduce_task_ismap", "true"),
            ("mapreduce_task_partition", "12"),
            ("mapred_task_partition", "12"),
            ("mapreduce_task_output_dir", "/job"),
            ("mapreduce_job_local_dir", "/job"),
            ("mapreduce_job_cache_files", "map.py,words.txt"),
            ("mapreduce_job_cache_archives", "model"),
            ("mapreduce_job_cache_local_files", "/job/map.py,/job/words.txt"),
            ("mapreduce_job_cache_local_archives", "/job/model"),
            ("mapreduce_map_input_file", "store://in.txt"),
            ("map_input_file", "store://in.txt"),
            ("mapreduce_map_input_start", "5"),
            ("mapreduce_map_input_length", "60"),
            ("gristmill_input_tag", "orders"),
            ("TMPDIR", "/job/tmp"),
        ];
        for (name, value) in expected {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(is_name(&env["mapreduce_job_id"], &["job", "0", "0000"]), "{env:?}");
        assert!(is_name(&env["mapreduce_task_id"], &["task", "0", "0000", "m", "000000"]), "{env:?}");
        let attempt = &env["mapreduce_task_attempt_id"];
        assert!(is_name(attempt, &["attempt", "0", "0000", "m", "000000", "345"]), "{env:?}");
        assert!(attempt.contains("_m_000012_345"));
        assert_eq!((&env["mapred_job_id"], &env["mapred_task_id"]), (&env["mapreduce_job_id"], attempt));
    }

    #[test]
    fn p19_a_reduce_has_no_input_file() {
        let env = environment(Stage::Reduce, None);
        assert_eq!(env["mapreduce_task_ismap"], "false");
        assert!(env["mapreduce_task_id"].contains("_r_000012"));
        assert!(!env.contains_key("mapreduce_map_input_file") && !env.contains_key("map_input_file"));
    }

    #[test]
    fn p19_properties_are_variables_the_job_s_own_win_and_nothing_else_comes_along() {
        let env = environment(Stage::Map, None);
        assert_eq!(
            (env["my_own_property"].as_str(), env["x_y"].as_str(), env["HOME"].as_str()),
            ("1", "second", "/mine")
        );
        assert!(!env.contains_key("bad"), "a value that no environment can hold");
        let known = |name: &str| {
            PASSED.contains(&name)
                || ["LC_", "mapred", "map_input", "my_own", "x_y", "gristmill_input_tag"]
                    .iter()
                    .any(|known| name.starts_with(known))
        };
        let unknown: Vec<_> = env.keys().filter(|name| *name != "TMPDIR" && !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
