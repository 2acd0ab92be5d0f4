//! Job properties: old names, files of them, and typed looks at the few that mean something here.

use std::collections::BTreeMap;

/// Old names of properties that mean something here, and the names they have now.
const RENAMED: &[(&str, &str)] = &[
    ("mapred.reduce.tasks", "mapreduce.job.reduces"),
    ("mapred.job.name", "mapreduce.job.name"),
    ("mapred.job.priority", "mapreduce.job.priority"),
    ("mapred.map.max.attempts", "mapreduce.map.maxattempts"),
    ("mapred.reduce.max.attempts", "mapreduce.reduce.maxattempts"),
    ("mapred.task.timeout", "mapreduce.task.timeout"),
    ("mapred.max.split.size", "mapreduce.input.fileinputformat.split.maxsize"),
    ("mapred.min.split.size", "mapreduce.input.fileinputformat.split.minsize"),
    ("mapred.line.input.format.linespermap", "mapreduce.input.lineinputformat.linespermap"),
    ("mapred.input.dir", "mapreduce.input.fileinputformat.inputdir"),
    ("mapred.output.dir", "mapreduce.output.fileoutputformat.outputdir"),
    ("mapred.output.compress", "mapreduce.output.fileoutputformat.compress"),
    ("mapred.textoutputformat.separator", "mapreduce.output.textoutputformat.separator"),
    ("mapred.text.key.partitioner.options", "mapreduce.partition.keypartitioner.options"),
    ("mapred.text.key.comparator.options", "mapreduce.partition.keycomparator.options"),
    ("map.output.key.field.separator", "mapreduce.map.output.key.field.separator"),
    ("mapred.output.key.comparator.class", "mapreduce.job.output.key.comparator.class"),
    ("mapred.partitioner.class", "mapreduce.job.partitioner.class"),
    ("mapred.map.tasks.speculative.execution", "mapreduce.map.speculative"),
    ("mapred.reduce.tasks.speculative.execution", "mapreduce.reduce.speculative"),
    ("mapred.job.map.memory.mb", "mapreduce.map.memory.mb"),
    ("mapred.job.reduce.memory.mb", "mapreduce.reduce.memory.mb"),
    ("key.value.separator.in.input.line", "mapreduce.input.keyvaluelinerecordreader.key.value.separator"),
    ("stream.num.reduce.output.fields", "stream.num.reduce.output.key.fields"),
];

/// Properties of a job.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Takes properties; one under its old name has its new name too, as tasks in Hadoop see it.
    pub(super) fn new(given: BTreeMap<String, String>) -> Self {
        let mut all = given;
        for (old, new) in RENAMED {
            if let Some(value) = all.get(*old).cloned() {
                all.entry((*new).to_owned()).or_insert(value);
            }
        }
        Self(all)
    }

    /// Returns all of them, for the environment of tasks.
    pub(super) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Returns the text of one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the number that one is.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| format!("-D {name}={text}: a whole number is expected"))
    }

    /// Returns whether one is `true`, or `false`.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.text(name)?.trim() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

/// Reads a file of properties: `<property><name>…</name><value>…</value></property>`.
pub(super) fn read_conf(text: &str) -> BTreeMap<String, String> {
    let text = without_comments(text);
    let property = |block: &str| {
        let name = between(block, "<name>", "</name>")?.trim();
        let value = between(block, "<value>", "</value>").unwrap_or_default();
        Some((plain(name), plain(value)))
    };
    text.split("<property>").skip(1).filter_map(property).collect()
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some((before, comment)) = rest.split_once("<!--") {
        kept.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    kept + rest
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}

fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conf_file_is_read() {
        let text = "<?xml version=\"1.0\"?><configuration>\n<!-- <property><name>no</name></property> -->\n\
            <property><name> a.b </name><value>1 &lt; 2 &amp;&amp; 3</value><final>true</final></property>\n\
            <property><name>c</name></property></configuration>";
        let expected = [("a.b", "1 < 2 && 3"), ("c", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read_conf(text), BTreeMap::from(expected));
    }

    #[test]
    fn an_old_name_is_the_new_one_too_and_the_new_one_wins() {
        let given = [("mapred.reduce.tasks", "7"), ("mapred.task.timeout", "1"), ("mapreduce.task.timeout", "2")];
        let properties = Properties::new(given.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(properties.number("mapreduce.job.reduces"), Ok(Some(7)));
        assert_eq!(properties.number("mapreduce.task.timeout"), Ok(Some(2)));
        assert_eq!(properties.text("mapred.reduce.tasks"), Some("7"));
    }
}
