//! URLs to bytes: what inputs a URL names, what they were when a job was planned, and how outputs appear.
//!
//! `file://` goes through [`Roots`] and plain `std`: `object_store`'s local backend follows symbolic links wherever they
//! lead, refuses names that are not UTF-8, and knows no directory it must not leave. `store://` goes through
//! `object_store` ([`Objects`]), so that a bucket can take the place of the local directory. Buckets and web servers
//! as inputs are refused as unsupported. Nothing here reads a clock or decides what a job does.

mod beneath;
mod error;
mod inbox;
mod objects;
mod pattern;
mod pinned;
mod range;
mod roots;
mod staged;
mod store_path;
#[cfg(test)]
mod tests;
mod url;
mod walk;

pub use error::StorageError;
pub use inbox::Inbox;
pub use objects::{Bytes, ObjectFacts, ObjectStream, Objects};
pub use pattern::Pattern;
pub use pinned::{HEAD_BYTES, compression_of, open_pinned, pin};
pub use range::ByteRange;
pub use roots::Roots;
pub use staged::{Staged, rename_new, sync_directory};
pub use store_path::StorePath;
pub use url::{Location, file_url, glob_url};
pub use walk::list_files;
