//! `completion`: what makes a shell complete this command's words.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use gristmill_sdk::app::exit::Exit;

/// Arguments of `completion`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  gristmill completion bash > ~/.local/share/bash-completion/completions/gristmill
  gristmill completion zsh > \"${fpath[1]}/_gristmill\"
  gristmill completion fish > ~/.config/fish/completions/gristmill.fish")]
pub(crate) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run<C: CommandFactory>(args: &CompletionArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "gristmill", &mut script);
    crate::view::say(&String::from_utf8(script)?);
    Ok(Exit::Ok)
}
