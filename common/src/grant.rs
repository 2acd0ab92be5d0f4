//! Attempt tokens: the right to one grant's attempts and to nothing else.
//!
//! A token is the grant's name and an HMAC of it under the cluster's secret, so the coordinator can check a report whose
//! grant it no longer remembers. The text is `g1.JOB.STEP.STAGE.FIRST.COUNT.FENCE.GENERATION.MAC`, 256-bit MAC in hex.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::digest::{hex, unhex};
use crate::ids::{Fence, Generation, JobId, Stage, TaskName};
use crate::range::{FenceRange, TaskRange};

/// Names a grant: a range of tasks of one stage with their fences, task `first + i` under fence `first_fence + i`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GrantName {
    /// The job.
    pub job: JobId,
    /// Index of the step.
    pub step: u16,
    /// Half of the step.
    pub stage: Stage,
    /// The tasks.
    pub tasks: TaskRange,
    /// Fence of the first task.
    pub first_fence: Fence,
    /// Generation of the step's map outputs when a reduce was granted; 0 for maps.
    pub generation: Generation,
}

impl GrantName {
    /// Returns the fences of the grant.
    #[must_use]
    pub fn fences(&self) -> FenceRange {
        FenceRange { first: self.first_fence, count: self.tasks.count }
    }

    /// Returns the fence of a task of this grant, `None` for another task.
    #[must_use]
    pub fn fence_of(&self, index: u32) -> Option<Fence> {
        self.tasks.contains(index).then(|| self.first_fence.plus(u64::from(index - self.tasks.first)))
    }

    /// Makes a grant that only reads what attempts of this task read: no attempt has fence 0, which is before every epoch, so
    /// that no report or output is taken under it.
    #[must_use]
    pub fn to_read(job: JobId, task: TaskName, generation: Generation) -> Self {
        let TaskName { step, stage, index } = task;
        Self { job, step, stage, tasks: TaskRange::one(index), first_fence: Fence(0), generation }
    }

    /// Says whether the grant only reads.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.first_fence == Fence(0)
    }

    /// Returns the full name of a task of the grant's stage.
    #[must_use]
    pub fn task(&self, index: u32) -> TaskName {
        TaskName { step: self.step, stage: self.stage, index }
    }
}

impl fmt::Display for GrantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job, step, stage, tasks, first_fence, generation } = self;
        let (letter, first, count) = (stage.letter(), tasks.first, tasks.count);
        write!(f, "g1.{job}.{step}.{letter}.{first}.{count}.{}.{}", first_fence.0, generation.0)
    }
}

/// The key under which a cluster signs its grants. Never printed.
#[derive(Clone)]
pub struct TokenSecret([u8; 32]);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

impl TokenSecret {
    /// Takes 32 random bytes as the key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(text.as_bytes());
        mac
    }

    /// Makes the token of a grant.
    #[must_use]
    pub fn sign(&self, grant: &GrantName) -> String {
        let name = grant.to_string();
        let mac = hex(&self.mac(&name).finalize().into_bytes());
        format!("{name}.{mac}")
    }

    /// Reads a token and returns its grant, or `None` if this cluster did not make it. Compares in constant time.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<GrantName> {
        let (name, mac) = token.rsplit_once('.')?;
        let grant = read(name)?;
        self.mac(name).verify(&unhex::<32>(mac)?.into()).ok()?;
        Some(grant)
    }
}

/// Reads the grant's name out of a token without checking the token; for the side that holds it.
#[must_use]
pub fn name_of(token: &str) -> Option<GrantName> {
    read(token.rsplit_once('.')?.0)
}

fn read(name: &str) -> Option<GrantName> {
    let mut fields = name.split('.');
    let mut next = || fields.next();
    if next()? != "g1" {
        return None;
    }
    let grant = GrantName {
        job: next()?.parse().ok()?,
        step: next()?.parse().ok()?,
        stage: match next()? {
            "m" => Stage::Map,
            "r" => Stage::Reduce,
            _ => return None,
        },
        tasks: TaskRange { first: next()?.parse().ok()?, count: next()?.parse().ok()? },
        first_fence: Fence(next()?.parse().ok()?),
        generation: Generation(next()?.parse().ok()?),
    };
    let whole = next().is_none() && grant.tasks.count > 0 && grant.tasks.first.checked_add(grant.tasks.count).is_some();
    whole.then_some(grant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> GrantName {
        GrantName {
            job: JobId(uuid::Uuid::from_u128(7)),
            step: 1,
            stage: Stage::Reduce,
            tasks: TaskRange { first: 10, count: 5 },
            first_fence: Fence(1000),
            generation: Generation(2),
        }
    }

    #[test]
    fn a_token_names_its_grant_and_no_other() {
        let secret = TokenSecret::new([1; 32]);
        let token = secret.sign(&grant());
        assert_eq!(secret.verify(&token), Some(grant()));
        assert_eq!(name_of(&token), Some(grant()));
        assert_eq!(TokenSecret::new([2; 32]).verify(&token), None);
        assert_eq!(secret.verify(&token.replace(".10.5.", ".10.6.")), None);
        for text in ["", ".", "g1", "g2.x", &token[1..], &token[..token.len() - 1]] {
            assert_eq!(secret.verify(text), None, "{text}");
        }
    }

    #[test]
    fn fences_follow_tasks() {
        assert_eq!(grant().fence_of(12), Some(Fence(1002)));
        assert_eq!(grant().fence_of(15), None);
    }
}
