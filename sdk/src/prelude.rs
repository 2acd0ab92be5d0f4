//! What a job's source file needs: `use gristmill_sdk::prelude::*;`.

pub use std::process::ExitCode;

pub use anyhow::Result;

pub use crate::app::App;
pub use crate::codec::{Grouped, Key, Text, Value};
pub use crate::typed::{BlockMapper, Combiner, Emit, Job, Lines, Mapper, Max, Min, Reducer, Start, Sum, Values};
