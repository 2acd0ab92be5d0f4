//! Parts that were won and are gone or damaged in the store: their tasks run again.
//!
//! The rule: a part may be lost for as long as somebody needs it. That is the job's commit, or a step behind the one that
//! made it. A commit that has made nothing visible goes back: the job runs again, and `CommitStarted` follows a second
//! time. While it commits it still cannot be cancelled. What later steps have won stays won: bytes do not depend on
//! attempts. Maps whose outputs are gone too are found as always, by the reduces that cannot read them or by their holder.

use gristmill_common::api::JobFailure;
use gristmill_common::reason::bounded;
use gristmill_common::{Code, Fence, JobId, Problem, Reason, TaskName, TaskRange, limits};

use super::command::Reply;
use super::job::Life;
use super::report::times;
use super::{Scheduler, no_such_job};

impl Scheduler {
    pub(super) fn lose_parts(&mut self, job: JobId, step: u16, parts: &[(u32, Fence)], why: &str) -> Reply {
        let Some(found) = self.durable.jobs.get(&job) else { return Reply::Refused(no_such_job(job)) };
        let (is_needed, is_committing) = match &found.life {
            Life::Committing(steps) => (usize::from(step) + 1 == steps.len(), true),
            Life::Running(_) => {
                (found.current_step().is_some_and(|(current, _)| step.saturating_add(1) >= current), false)
            }
            Life::Planning | Life::Succeeded { .. } | Life::Failed { .. } | Life::Cancelled { .. } => (false, false),
        };
        let Some(at) = found.step(step).filter(|_| is_needed) else {
            return Reply::Refused(Problem::new(Code::Conflict, format!("nothing of job {job} needs these parts now")));
        };
        let stage = at.last_stage();
        let won = |(index, fence): &&(u32, Fence)| {
            at.tasks(stage).win(*index).is_some_and(|win| win.fence_of(*index) == *fence)
        };
        let lost: Vec<(u32, Fence)> = parts.iter().filter(won).copied().collect();
        if lost.is_empty() {
            return Reply::Refused(Problem::new(Code::Conflict, "other attempts have made these parts, or will"));
        }
        if is_committing {
            self.soft.forget_job(job);
        }
        for (index, fence) in lost {
            self.reopen(job, (step, stage), TaskRange::one(index), format!("its part is lost: {why}"));
            let task = TaskName { step, stage, index };
            let lost = self.trouble((job, task)).lost_outputs;
            if lost >= limits::LOST_OUTPUTS {
                let reason = Reason::LostOutput { map: task, fence, message: bounded(why.to_owned()) };
                let message = format!(
                    "the part that {task} made was lost {}, the last time: {why}; see to the disk of the coordinator",
                    times(lost)
                );
                self.fail_job(job, JobFailure { task: Some(task), reason: Some(reason), message });
                break;
            }
        }
        Reply::Done
    }
}
