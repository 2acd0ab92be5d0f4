//! Who may do what: the scopes of routes and the tokens that open them.
//!
//! Tokens are kept as hashes and compared in constant time. The right to a route is decided here and nowhere else; what a
//! grant's token may touch beyond that is up to the handler, which is given the grant.

use gristmill_common::{Code, Digest, GrantName, Problem, TokenSecret};
use subtle::ConstantTimeEq as _;

/// Which token opens a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Anyone who reaches the port.
    Public,
    /// The client token: submit, read, administer.
    Client,
    /// The worker token: poll.
    Worker,
    /// The token of a grant.
    Attempt,
}

/// What a request proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// Nothing.
    Anyone,
    /// It has the client token.
    Client,
    /// It has the worker token.
    Worker,
    /// It has the token of this grant.
    Attempt(GrantName),
}

/// What is needed to check tokens.
#[derive(Clone, Debug)]
pub struct Keys {
    client: Digest,
    worker: Digest,
    grants: TokenSecret,
}

impl Keys {
    /// Takes the tokens and keeps their hashes.
    #[must_use]
    pub fn new(client_token: &str, worker_token: &str, grants: TokenSecret) -> Self {
        let hash = |token: &str| Digest::of(token.as_bytes());
        Self { client: hash(client_token), worker: hash(worker_token), grants }
    }

    /// Checks that the token opens routes of this scope.
    ///
    /// # Errors
    /// `unauthorized` for no token or one that is not known, `forbidden` for one that opens other routes only.
    pub fn check(&self, scope: Scope, token: Option<&str>) -> Result<Identity, Problem> {
        if scope == Scope::Public {
            return Ok(Identity::Anyone);
        }
        let Some(token) = token else {
            let detail = format!("send the {} as `Authorization: Bearer TOKEN`", name(scope));
            return Err(Problem::new(Code::Unauthorized, detail));
        };
        let found = self.identify(token).ok_or_else(|| {
            Problem::new(
                Code::Unauthorized,
                "the token is not one of this coordinator; it may belong to another data directory",
            )
        })?;
        match (scope, found) {
            (Scope::Client, Identity::Client)
            | (Scope::Worker, Identity::Worker)
            | (Scope::Attempt, Identity::Attempt(_)) => Ok(found),
            _ => Err(Problem::new(Code::Forbidden, format!("this needs the {}", name(scope)))),
        }
    }

    fn identify(&self, token: &str) -> Option<Identity> {
        let hash = Digest::of(token.as_bytes());
        // Both are compared, so that the time does not tell which one was nearer.
        let (client, worker) = (hash.0.ct_eq(&self.client.0), hash.0.ct_eq(&self.worker.0));
        if client.into() {
            return Some(Identity::Client);
        }
        if worker.into() {
            return Some(Identity::Worker);
        }
        self.grants.verify(token).map(Identity::Attempt)
    }
}

fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Public => "no token",
        Scope::Client => "client token",
        Scope::Worker => "worker token",
        Scope::Attempt => "token of a grant",
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{Fence, Generation, JobId, Stage, TaskRange};

    use super::*;

    #[test]
    fn each_token_opens_its_scope_and_no_other() {
        let secret = TokenSecret::new([7; 32]);
        let keys = Keys::new("c", "w", secret.clone());
        let grant = GrantName {
            job: JobId(uuid::Uuid::from_u128(1)),
            step: 0,
            stage: Stage::Map,
            tasks: TaskRange::one(3),
            first_fence: Fence(9),
            generation: Generation(0),
        };
        let attempt = secret.sign(&grant);
        let tokens = [(Scope::Client, "c"), (Scope::Worker, "w"), (Scope::Attempt, attempt.as_str())];
        for (opened, token) in tokens {
            for scope in [Scope::Client, Scope::Worker, Scope::Attempt] {
                let code = keys.check(scope, Some(token)).map_err(|problem| problem.code).err();
                assert_eq!(code, (scope != opened).then_some(Code::Forbidden), "{token} on {scope:?}");
            }
        }
        for token in [None, Some(""), Some("C"), Some("cc"), Some(&attempt[..attempt.len() - 1])] {
            for scope in [Scope::Client, Scope::Worker, Scope::Attempt] {
                let problem = keys.check(scope, token).expect_err("not known");
                assert_eq!(problem.code, Code::Unauthorized, "{token:?} on {scope:?}");
            }
        }
        assert_eq!(keys.check(Scope::Attempt, Some(&attempt)), Ok(Identity::Attempt(grant)));
        assert_eq!(keys.check(Scope::Public, None), Ok(Identity::Anyone));
        assert!(!format!("{keys:?}").contains("\"c\""));
    }
}
