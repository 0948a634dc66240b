//! A stack of steps back: failure runs it from the top, success forgets it.

use std::fmt;

/// Steps back, pushed as the steps forward are made.
#[derive(Default)]
pub(super) struct Undo(Vec<Box<dyn FnOnce() + Send>>);

impl Undo {
    /// After a step forward: how to go back.
    pub(super) fn push(&mut self, step: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(step));
    }

    /// All went well: nothing is to be undone.
    pub(super) fn forget(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some(step) = self.0.pop() {
            step();
        }
    }
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps back", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::Undo;

    #[test]
    fn steps_are_undone_in_reverse_and_not_after_success() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let step = |n: i32| {
            let log = log.clone();
            move || log.lock().expect("log").push(n)
        };
        let mut undo = Undo::default();
        undo.push(step(1));
        undo.push(step(2));
        drop(undo);
        let mut undo = Undo::default();
        undo.push(step(3));
        undo.forget();
        assert_eq!(*log.lock().expect("log"), [2, 1]);
    }
}
