//! Runs user code so that a panic becomes a result.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use gristmill_common::reason::bounded;

thread_local! {
    /// The message of the panic that user code on this thread ended with; `None` outside of user code.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Calls `code`; a panic in it is returned as its message and where it was raised.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(install);
    PANIC.with_borrow_mut(|message| *message = Some(String::new()));
    // What the code leaves behind is thrown away with the attempt.
    let result = panic::catch_unwind(AssertUnwindSafe(code));
    let message = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
    result.map_err(|_| bounded(message))
}

/// Threads that run user code keep their panic for the report; all others do as before.
fn install() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("a panic that is not a text");
        let at = info.location().map(|location| format!(" ({}:{})", location.file(), location.line()));
        let kept = PANIC.try_with(|message| match message.try_borrow_mut().as_deref_mut() {
            Ok(Some(message)) => {
                *message = format!("{text}{}", at.unwrap_or_default());
                true
            }
            _ => false,
        });
        if !kept.unwrap_or(false) {
            before(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_returned_with_its_message_and_place() {
        assert_eq!(guarded(|| 5), Ok(5));
        let message = guarded(|| panic!("bad {}", "grain")).expect_err("panics");
        assert!(message.starts_with("bad grain (") && message.contains("guard.rs:"), "{message}");
        assert_eq!(guarded(|| 6), Ok(6), "the next attempt is not affected");
    }
}
