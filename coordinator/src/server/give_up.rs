//! The end of a commit that waits: for a coordinator in the process of one job, whose journal ends with it. A coordinator that stays
//! tries again until it works.

use std::sync::Arc;

use gristmill_common::{JobId, JobSpec, Problem};

use super::Running;
use crate::commit;
use crate::scheduler::Scheduler;

impl Running {
    /// Gives up a commit that did not work yet, for want of room or since a name is taken, and takes away what it left
    /// beside the output. Returns why it waited; `None` if it does not, and goes on. Nothing is committed here any more then.
    ///
    /// # Errors
    /// If the job cannot be asked for, or what is left cannot be taken away.
    pub async fn give_up_commit(&self, job: JobId) -> Result<Option<String>, Problem> {
        if self.stuck_commit(job).await?.is_none() {
            return Ok(None);
        }
        // An attempt that is under way may yet work, and must not write into what is taken away.
        let mut commits = self.surroundings.commits.write().await;
        let Some((why, spec)) = self.stuck_commit(job).await? else { return Ok(None) };
        *commits = false;
        let abandoned = commit::abandon(job, &spec, &self.surroundings.store, &self.surroundings.roots).await;
        abandoned.map_err(|error| error.problem())?;
        Ok(Some(why))
    }

    /// Says why a commit waits, and of what job.
    async fn stuck_commit(&self, job: JobId) -> Result<Option<(String, Arc<JobSpec>)>, Problem> {
        let ask = move |scheduler: &Scheduler, _| {
            let why = scheduler.stuck_commit(job)?;
            Some((why, scheduler.spec(job)?))
        };
        self.driver.handle.query(ask).await
    }
}
