//! Paths with wildcards: `*`, `?`, `[a-z]` inside a name, `**` for any depth of directories.
//!
//! A file is named by a pattern when the pattern matches it or a directory above it, so a directory names all files
//! beneath it. Names that start with `_` or `.` are taken only where the pattern spells that character. Matching walks
//! the set of places in the pattern that a path can have reached: one pass, no backtracking, no file twice.

/// A path of names, some of them with wildcards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Whether it ends in `/` and so can only name directories.
    directory: bool,
}

/// One name of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Segment {
    /// Exactly these bytes.
    Literal(Vec<u8>),
    /// What the wildcards match; `spelled` is its first character where that is not a wildcard.
    Glob { pattern: glob::Pattern, spelled: Option<char> },
    /// `**`: no directory, or any depth of them.
    AnyDepth,
}

/// The places in a pattern that a path has reached: indices of the segments that may match next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places(Vec<usize>);

const MATCHING: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl Pattern {
    pub(crate) fn new(mut segments: Vec<Segment>, directory: bool) -> Self {
        segments.dedup_by(|next, last| *next == Segment::AnyDepth && *last == Segment::AnyDepth);
        Self { segments, directory }
    }

    /// Returns the names in front of the first wildcard.
    #[must_use]
    pub fn literal_prefix(&self) -> Vec<&[u8]> {
        self.segments
            .iter()
            .map_while(|segment| match segment {
                Segment::Literal(name) => Some(name.as_slice()),
                Segment::Glob { .. } | Segment::AnyDepth => None,
            })
            .collect()
    }

    /// Says whether there is no wildcard in it.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// Says whether it ends in `/`.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// Says whether it names the file with this path, given as its names.
    #[must_use]
    pub fn names<'a>(&self, path: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut names = path.into_iter().peekable();
        let mut places = self.start();
        while let Some(name) = names.next() {
            let next = self.enter(&places, name);
            if names.peek().is_none() {
                return self.takes_file(&places, &next);
            }
            places = next;
        }
        false
    }

    /// Returns the places after the literal prefix, where a walk starts.
    pub(crate) fn after_prefix(&self) -> Places {
        self.closed(vec![self.literal_prefix().len()])
    }

    fn start(&self) -> Places {
        self.closed(vec![0])
    }

    /// Returns the places after entering `name`; empty when nothing beneath can match.
    pub(crate) fn enter(&self, places: &Places, name: &[u8]) -> Places {
        let hidden = matches!(name.first(), Some(b'_' | b'.'));
        let mut next = Vec::with_capacity(places.0.len());
        for &place in &places.0 {
            match self.segments.get(place) {
                None if !hidden => next.push(place),
                Some(Segment::AnyDepth) if !hidden => next.push(place),
                Some(Segment::Literal(literal)) if literal == name => next.push(place + 1),
                Some(Segment::Glob { pattern, spelled }) if glob_takes(pattern, *spelled, name, hidden) => {
                    next.push(place + 1);
                }
                None | Some(_) => {}
            }
        }
        self.closed(next)
    }

    /// Says whether a file that was entered from `before` to `after` is named.
    pub(crate) fn takes_file(&self, before: &Places, after: &Places) -> bool {
        let end = self.segments.len();
        after.0.contains(&end) && (!self.directory || before.0.contains(&end))
    }

    /// `**` may stand for no directory at all: the place after it is reached with it.
    fn closed(&self, mut places: Vec<usize>) -> Places {
        let mut at = 0;
        while let Some(&place) = places.get(at) {
            if self.segments.get(place) == Some(&Segment::AnyDepth) {
                places.push(place + 1);
            }
            at += 1;
        }
        places.sort_unstable();
        places.dedup();
        Places(places)
    }
}

/// A name that is not UTF-8 is matched as it prints, so that `*` takes it too.
fn glob_takes(pattern: &glob::Pattern, spelled: Option<char>, name: &[u8], hidden: bool) -> bool {
    if hidden && spelled.map(u32::from) != name.first().map(|byte| u32::from(*byte)) {
        return false;
    }
    pattern.matches_with(&String::from_utf8_lossy(name), MATCHING)
}

impl Places {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
