//! Which steps run their maps in the reduce tasks of the step before (decision 0018).
//!
//! The spec alone decides it: the bytes are the same either way, but tasks, counters and what is kept are not, and a plan that
//! is made again after a crash has to be the same.

use gristmill_common::JobSpec;
use gristmill_common::spec::OnBadRecord;

/// Says whether a step of the spec is fused with the one before it.
pub(super) fn is_fused(spec: &JobSpec, index: usize) -> bool {
    let Some(before) = index.checked_sub(1).and_then(|before| spec.steps.get(before)) else { return false };
    let Some(step) = spec.steps.get(index) else { return false };
    // A worker that runs programs of a kind runs all of them, or has them all compiled in. One task has one executable.
    let is_of_one_worker = step.program().kind() == before.program().kind() && step.executable == before.executable;
    // What is left out is found by running a task again over parts of what it reads, which has to lie still for that.
    let leaves_out = spec.on_bad_record != OnBadRecord::Fail;
    step.fuse && step.reduce && before.reduce && is_of_one_worker && !leaves_out
}

#[cfg(test)]
mod tests {
    use gristmill_common::spec::{Executable, StepSpec};
    use gristmill_common::{Digest, JobSpec};

    use super::*;

    fn fused(change: impl FnOnce(&mut JobSpec)) -> Vec<bool> {
        let mut spec = JobSpec::new("job", Vec::new(), vec![StepSpec::native("a"), StepSpec::native("b")]);
        change(&mut spec);
        (0..spec.steps.len()).map(|index| is_fused(&spec, index)).collect()
    }

    #[test]
    fn a_reduce_and_the_map_behind_it_are_fused_where_one_worker_runs_both() {
        assert_eq!(fused(|_| ()), [false, true]);
        assert_eq!(fused(|spec| spec.steps.push(StepSpec::native("c"))), [false, true, true]);
        assert_eq!(fused(|spec| spec.steps[1].fuse = false), [false, false]);
        assert_eq!(fused(|spec| spec.steps[0].reduce = false), [false, false], "there is no reduce");
        assert_eq!(fused(|spec| spec.steps[1].reduce = false), [false, false], "its lines are the output");
        assert_eq!(fused(|spec| spec.on_bad_record = OnBadRecord::Skip(1)), [false, false]);
        let pinned = Some(Executable::Pinned(Digest::of(b"one")));
        assert_eq!(fused(|spec| spec.steps[1].executable = pinned), [false, false]);
        assert_eq!(fused(|spec| spec.steps.iter_mut().for_each(|step| step.executable = pinned)), [false, true]);
        let command = StepSpec::command(gristmill_common::program::Command::default());
        assert_eq!(fused(|spec| spec.steps[0] = command.clone()), [false, false]);
        assert_eq!(fused(|spec| spec.steps = vec![command; 2]), [false, true]);
    }
}
