//! Java classes that option values name, and what they are here. Any other class is refused: nothing could run it.

/// A class that means something here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    IdentityMapper,
    IdentityReducer,
    TextInput,
    KeyValueInput,
    NLineInput,
    TextOutput,
    HashPartitioner,
    FieldPartitioner,
    FieldComparator,
    BytesComparator,
}

/// Finds the class of an option's value; packages are optional, as for the classes of Hadoop Streaming.
pub(super) fn find(name: &str) -> Option<Class> {
    let (package, simple) = name.rsplit_once('.').unwrap_or(("", name));
    if !package.is_empty() && !package.starts_with("org.apache.hadoop.") {
        return None;
    }
    Some(match simple {
        "IdentityMapper" | "Mapper" => Class::IdentityMapper,
        "IdentityReducer" | "Reducer" => Class::IdentityReducer,
        "TextInputFormat" | "AutoInputFormat" => Class::TextInput,
        "KeyValueTextInputFormat" => Class::KeyValueInput,
        "NLineInputFormat" => Class::NLineInput,
        "TextOutputFormat" => Class::TextOutput,
        "HashPartitioner" => Class::HashPartitioner,
        "KeyFieldBasedPartitioner" => Class::FieldPartitioner,
        "KeyFieldBasedComparator" => Class::FieldComparator,
        "Comparator" | "Text$Comparator" => Class::BytesComparator,
        _ => return None,
    })
}

/// Says whether a command is the name of a Java class and not of a program: `org.apache.….Name`.
pub(super) fn is_java(command: &str) -> bool {
    let is_name = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
    let parts: Vec<_> = command.split('.').collect();
    parts.len() > 2
        && !command.contains([' ', '/'])
        && parts.iter().all(|part| is_name(part))
        && parts.last().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Refuses a class that an option names.
pub(super) fn unknown(option: &str, name: &str, known: &str) -> String {
    format!("-{option} {name}: no Java class can be loaded here; known are {known}")
}
