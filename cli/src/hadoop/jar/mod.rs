//! `hadoop jar …streaming.jar …`: a job of Hadoop Streaming, watched to its end. The jar is never opened.
//!
//! options → properties → draft (all that needs no coordinator) → bundles and uploads → submit → watch.

mod classes;
mod draft;
mod narrator;
mod options;
mod properties;
mod ship;
mod watch;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gristmill_client::{Client, retry};
use gristmill_common::api::JobView;
use gristmill_sdk::app::exit::{Exit, sentence};
use gristmill_sdk::app::upload::{self, Uploads};

use self::draft::Draft;
use self::narrator::Narrator;
use self::options::Options;
use self::properties::Properties;
use super::place::user;
use super::{say, tree};

/// How long a submit is tried while the coordinator is out of reach: a restart of it is a non-event.
const PATIENCE: Duration = Duration::from_secs(30);

const USAGE: &str = "\
Usage: hadoop jar hadoop-streaming.jar [options]
  -input PATH[,PATH…]  -output DIR  -mapper CMD  [-combiner CMD]  [-reducer CMD|aggregate|NONE]
  -file FILE  -files FILE[#NAME],…  -archives FILE[#NAME],…  -cacheFile URI#NAME  -cacheArchive URI#NAME
  -D NAME=VALUE  -jobconf NAME=VALUE  -conf FILE  -cmdenv NAME=VALUE  -numReduceTasks N
  -inputformat TextInputFormat|KeyValueTextInputFormat|NLineInputFormat  -outputformat TextOutputFormat
  -partitioner HashPartitioner|KeyFieldBasedPartitioner  -io text  -background  -verbose
docs/hadoop.md has the properties that mean something.";

/// Runs one job.
pub(super) async fn run(args: &[String], connect: impl FnOnce() -> Result<Client>) -> Result<Exit> {
    let narrator = Narrator::default();
    let Some((jar, args)) = args.split_first() else {
        say(USAGE);
        return Ok(Exit::Error);
    };
    let name = Path::new(jar).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.ends_with(".jar") || !name.contains("streaming") {
        say(&format!(
            "Not a valid JAR: {jar}: only Hadoop Streaming is built, a jar named …streaming….jar (which is not opened)"
        ));
        return Ok(Exit::Error);
    }
    match job(args, connect, narrator).await {
        Ok(exit) => Ok(exit),
        Err(error) => {
            Narrator::default().error(&format!("Error Launching job : {}", sentence(&error)));
            Ok(Exit::of_error(&error))
        }
    }
}

async fn job(args: &[String], connect: impl FnOnce() -> Result<Client>, narrator: Narrator) -> Result<Exit> {
    let options = Options::parse(args).map_err(anyhow::Error::msg)?;
    if options.help {
        say(USAGE);
        return Ok(Exit::Ok);
    }
    let properties = properties(&options)?;
    let draft = draft::draft(&options, &properties, &user()).map_err(anyhow::Error::msg)?;
    for warning in &draft.warnings {
        narrator.warn("streaming.StreamJob", warning);
    }
    let client = connect()?;
    let mut uploads = Uploads::new(&client, false);
    let job = match submit(&client, &draft, &mut uploads).await {
        Ok(job) => job,
        Err(error) => {
            uploads.take_back().await;
            return Err(error);
        }
    };
    narrator.submitted(&job);
    if options.background {
        narrator.info("streaming.StreamJob", &format!("Job is running in background. gristmill job wait {}", job.id));
        return Ok(Exit::Ok);
    }
    let watched = watch::to_the_end(&client, &job, narrator, &draft.output).await?;
    if watched != Exit::Interrupted {
        uploads.take_back().await;
    }
    Ok(watched)
}

/// Collects the properties of files and options; options win.
fn properties(options: &Options) -> Result<Properties> {
    let mut all = std::collections::BTreeMap::new();
    for file in &options.conf_files {
        let path = file.strip_prefix("file://").unwrap_or(file);
        let text = std::fs::read_to_string(path).with_context(|| format!("-conf {file}: cannot read it"))?;
        all.extend(properties::read_conf(&text));
    }
    all.extend(options.properties.clone());
    Ok(Properties::new(all))
}

async fn submit(client: &Client, draft: &Draft, uploads: &mut Uploads<'_>) -> Result<JobView> {
    if tree::look(client, &draft.output).await?.is_some() {
        bail!("Output directory {} already exists", draft.output.qualified());
    }
    let mut spec = draft.spec.clone();
    spec.inputs = ship::inputs(client, &draft.inputs, uploads).await?;
    let files = ship::bundles(client, &draft.shipped).await?;
    for command in spec.steps.iter_mut().filter_map(|step| step.command.as_mut()) {
        command.files.clone_from(&files);
    }
    let key = upload::fresh_key();
    Ok(retry::idempotent(PATIENCE, || client.submit(&spec, &key, None)).await?)
}
