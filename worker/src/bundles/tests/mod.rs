//! Archives that are what they should be, archives that are not, and the cache.

mod archives;
mod cache;
mod evil;
