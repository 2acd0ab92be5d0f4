//! Where attempts find what they read: parts of the step before, and map outputs wherever they are.

use gristmill_common::plan::feeding;
use gristmill_common::wire::{Location, OutputRef, OutputsAnswer, output_name};
use gristmill_common::{Fence, GrantName, Reason, Stage, TaskName, WorkerId};

use super::Directory;
use super::attempts::Tried;
use crate::scheduler::Bug;
use crate::simulation::work::{NOTHING, value_of};
use crate::simulation::world::World;

/// What came of looking for a map output.
struct Looked {
    value: Result<u64, Reason>,
    /// Another worker was asked for it.
    was_served: bool,
}

impl World {
    /// Reads a part of the step before; fails with the attempt that won it if what it wrote is gone.
    pub(super) fn read_part(&self, grant: &GrantName, task: u32) -> Result<u64, Option<Fence>> {
        let scheduler = self.coordinator.scheduler.as_ref().ok_or(None)?;
        let step = grant.step - 1;
        let (fence, output) = scheduler.part(grant.job, step, task).ok_or(None)?;
        let plan = self.plan_of(grant.job).ok_or(None)?;
        let stage = if plan.reduces[usize::from(step)] == 0 { Stage::Map } else { Stage::Reduce };
        let value = match output.at {
            Location::Nothing => Some(NOTHING),
            Location::Inline(text) => Some(value_of(&text)),
            Location::Store => self.store.get(&output_name(grant.job, step, stage, task, fence)).copied(),
            Location::Worker(_) => None,
        };
        value.ok_or(Some(fence))
    }

    /// What a worker fetches from another one that serves its outputs, if that one answers.
    fn served_by(&self, holder: WorkerId, reader: usize) -> Option<&Directory> {
        let serving = self.workers.iter().find(|worker| worker.id == holder && worker.machine.serves)?;
        let answers = serving.is_up && serving.paused_until <= self.now && !serving.machine.is_walled;
        (answers && self.workers[reader].machine.serves).then(|| self.directories.get(&holder)).flatten()
    }

    /// Reads every map output of the step, from where the coordinator says it is.
    pub(super) fn read_maps(&mut self, index: usize, grant: &GrantName) -> Result<Vec<u64>, Tried> {
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Err(Tried::Later) };
        let Ok(table) = scheduler.outputs(grant) else { return Err(Tried::GiveBack) };
        let fused = self.plan_of(grant.job).is_some_and(|plan| plan.fused[usize::from(grant.step)]);
        let (from, made) = feeding(grant.step, fused);
        let mut values = vec![NOTHING; self.maps_before(grant) as usize];
        let mut arrived = Vec::new();
        let mut was_served = false;
        for output in &table.outputs {
            let map = TaskName { step: from, stage: made, index: output.map };
            let looked = self.look_for(index, grant, map, output);
            was_served |= looked.was_served;
            let is_file = !matches!(output.at.first(), Some(Location::Inline(_)));
            if is_file && looked.value.is_ok() && !self.healed && self.random.chance(self.options.damage) {
                return Err(Tried::failed(lost(map, output, "damaged")));
            }
            let value = looked.value.map_err(Tried::failed)?;
            values[output.map as usize] = value;
            arrived.push((output.fence, value));
        }
        if was_served {
            self.seen("fetched from its worker");
        }
        if fused {
            self.seen("fused outputs read");
        }
        if self.options.bug == Some(Bug::ArrivalOrderMerge) {
            mix_up(&mut values, &table, arrived);
        }
        Ok(values)
    }

    /// How many outputs feed the reduces of the grant's step.
    fn maps_before(&self, grant: &GrantName) -> u32 {
        self.plan_of(grant.job).map_or(0, |plan| {
            let before =
                usize::from(grant.step).checked_sub(1).map(|step| plan.reduces[..=step].iter().rev().find(|r| **r > 0));
            before.flatten().copied().unwrap_or(plan.maps)
        })
    }

    fn look_for(&self, index: usize, grant: &GrantName, map: TaskName, output: &OutputRef) -> Looked {
        let worker = &self.workers[index];
        let file = output_name(grant.job, map.step, map.stage, output.map, output.fence);
        let mut value = Err(Reason::Unreachable { map, fence: output.fence });
        let mut was_served = false;
        for at in &output.at {
            match at {
                Location::Nothing => value = Ok(NOTHING),
                Location::Inline(text) => value = Ok(value_of(text)),
                Location::Store => {
                    value = self.store.get(&file).copied().ok_or_else(|| lost(map, output, "not in the store"));
                }
                Location::Worker(holder) => {
                    let shared = self.directories.get(holder).filter(|there| there.disk == worker.machine.disk);
                    let served = if shared.is_none() { self.served_by(*holder, index) } else { None };
                    was_served |= served.is_some();
                    match shared.or(served).map(|directory| directory.files.get(&file)) {
                        Some(Some(found)) => value = Ok(*found),
                        Some(None) => value = Err(lost(map, output, "no such file")),
                        None if *holder == worker.id => value = Err(lost(map, output, "the directory is gone")),
                        None => {}
                    }
                }
            }
            if value.is_ok() {
                break;
            }
        }
        Looked { value, was_served }
    }
}

fn lost(map: TaskName, output: &OutputRef, message: &str) -> Reason {
    Reason::LostOutput { map, fence: output.fence, message: message.to_owned() }
}

/// The planted bug: values in the order in which they came.
fn mix_up(values: &mut [u64], table: &OutputsAnswer, mut arrived: Vec<(Fence, u64)>) {
    arrived.sort_unstable();
    let mut next = arrived.into_iter();
    table.outputs.iter().for_each(|output| {
        values[output.map as usize] = next.next().map_or(NOTHING, |(_, value)| value);
    });
}
