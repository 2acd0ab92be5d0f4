//! Grants for people who run a task once more on their own machine: they read what its attempts read and change nothing.

use gristmill_common::api::ReplayView;
use gristmill_common::spec::Executable;
use gristmill_common::{Code, GrantName, JobId, Problem, TaskName};

use super::{Scheduler, no_such_job};

impl Scheduler {
    /// Makes the token under which a task's input can be read.
    ///
    /// # Errors
    /// `not_found` for a job or task that does not exist, `conflict` when its inputs are not kept any more.
    pub fn replay(&self, id: JobId, task: TaskName) -> Result<ReplayView, Problem> {
        let job = self.durable.jobs.get(&id).ok_or_else(|| no_such_job(id))?;
        let step = job.kept_step(task.step).ok_or_else(|| {
            let detail = format!("job {id} is {}: what its tasks read is not kept", job.state().word());
            Problem::new(Code::Conflict, detail)
        })?;
        if task.index >= step.tasks(task.stage).count {
            let mut detail = format!("job {id} has no task {task}");
            if let Some(before) =
                task.step.checked_sub(1).filter(|_| step.fused && task.stage == gristmill_common::Stage::Map)
            {
                detail.push_str(&format!(
                    ": the reduces of step {before} run the maps of its step, s{before}-r{}",
                    task.index
                ));
            }
            return Err(Problem::new(Code::NotFound, detail));
        }
        let pinned = match job.spec.steps.get(usize::from(task.step)).and_then(|step| step.executable) {
            Some(Executable::Pinned(digest)) => Some(digest),
            Some(Executable::Any) => None,
            None => step.executable,
        };
        let grant = GrantName::to_read(id, task, step.generation);
        Ok(ReplayView { job: id, task, token: self.secret.sign(&grant), executable: pinned })
    }
}
