//! `hadoop`: the command line of Hadoop, for scripts that were written for it.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;
use gristmill_sdk::app::exit::Exit;

use crate::hadoop;

/// Arguments of `hadoop`: Hadoop's own, read by nobody before.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct HadoopArgs {
    /// `version`, `fs -ls …`, `jar hadoop-streaming.jar …`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<OsString>,
}

/// Does what the arguments say.
pub(crate) async fn run(args: &HadoopArgs) -> Result<Exit> {
    hadoop::run(&args.args).await
}
