//! How a command finds its coordinator: flags, environment, or the coordinator that runs on this machine.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use gristmill_client::endpoint_file::{self, EndpointFile};
use gristmill_client::{Client, ClientError, Endpoint};

/// Where the coordinator is and what proves the right to use it.
#[derive(Args, Clone, Debug, Default)]
pub struct Connect {
    /// URL of the coordinator, with `#CERTIFICATE-HASH` behind it when its certificate is self-signed
    /// [default: the one on this machine, http://127.0.0.1:4750]
    #[arg(long, env = "GRISTMILL_URL", value_name = "URL", global = true)]
    pub url: Option<String>,

    /// Client token [default: the one that the coordinator on this machine left for its user]
    #[arg(long, env = "GRISTMILL_TOKEN", value_name = "TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,

    /// File that holds the client token
    #[arg(long, env = "GRISTMILL_TOKEN_FILE", value_name = "FILE", conflicts_with = "token", global = true)]
    pub token_file: Option<PathBuf>,
}

impl Connect {
    /// Makes a client.
    ///
    /// # Errors
    /// If the URL is wrong or no token can be found.
    pub fn client(&self) -> Result<Client> {
        let url = self.url.as_deref().unwrap_or("http://127.0.0.1:4750");
        let mut endpoint: Endpoint = url.parse()?;
        if let Some(token) = self.given_token()? {
            endpoint.token = Some(token);
        } else if endpoint.token.is_none() {
            let others = endpoint_file::own_directory().map(|directory| EndpointFile::all(&directory));
            endpoint = on_this_machine(&endpoint)?.ok_or_else(|| ClientError::Unreachable {
                url: endpoint.address(),
                cause: none_there(&others.unwrap_or_default()),
            })?;
        }
        Ok(Client::new(endpoint)?)
    }

    fn given_token(&self) -> Result<Option<String>> {
        if let Some(token) = &self.token {
            return Ok(Some(token.trim().to_owned()));
        }
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// Says what to do where no coordinator of this user is, given those that are elsewhere on this machine.
fn none_there(others: &[EndpointFile]) -> String {
    let how = "--url URL or GRISTMILL_URL";
    let elsewhere = match others {
        [] => format!("start one with `gristmill coordinator`, or name one elsewhere with {how}"),
        [other, ..] => {
            let urls: Vec<&str> = others.iter().map(|other| other.url.as_str()).collect();
            format!("there is {}: name it with `--url {}` or GRISTMILL_URL={}", urls.join(", "), other.url, other.url)
        }
    };
    let token = "another user's needs --token too: it is in client.token of its data directory";
    format!("no coordinator of this user runs there ({elsewhere}; {token})")
}

/// Finds the token that a coordinator on this machine left for its user.
fn on_this_machine(endpoint: &Endpoint) -> Result<Option<Endpoint>> {
    let Some(directory) = endpoint_file::own_directory().filter(|_| endpoint.is_loopback()) else { return Ok(None) };
    let file = EndpointFile::read(&directory, endpoint.port())
        .with_context(|| format!("cannot read the coordinator's file in {}", directory.display()))?;
    Ok(file.map(EndpointFile::endpoint).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_on_another_port_is_named() {
        assert!(none_there(&[]).contains("`gristmill coordinator`") && none_there(&[]).contains("GRISTMILL_URL"));
        let other = EndpointFile { url: "http://127.0.0.1:4799".into(), token: String::new(), pin: None, pid: 1 };
        let said = none_there(&[other]);
        assert!(said.contains("`--url http://127.0.0.1:4799`") && !said.contains("start one"), "{said}");
    }
}
