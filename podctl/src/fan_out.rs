//! One command, many targets: all names are resolved before anything is done, then the acts run beside each other, and
//! what came of them is printed in the order of the arguments: successes first, then errors.

use std::{collections::HashMap, rc::Rc, sync::Mutex};

use futures::{StreamExt, stream};
use proto::{ENGINE_ERROR, Id};
use tokio::sync::OnceCell;

use crate::{
    dial::{Engine, Shim},
    error::{Failure, Outcome},
    output,
};

/// Acts that run at once.
const AT_ONCE: usize = 16;

/// The shims a command talks to: one connection per pod, made when it is needed.
#[derive(Debug)]
pub struct Shims<'a> {
    engine: &'a Engine,
    known: Mutex<HashMap<Id, Rc<OnceCell<Shim>>>>,
}

impl<'a> Shims<'a> {
    /// None yet.
    pub fn new(engine: &'a Engine) -> Shims<'a> {
        Shims { engine, known: Mutex::default() }
    }

    /// Where they are.
    pub fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// The shim of `pod`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn of(&self, pod: &Id) -> Result<Shim, Failure> {
        let cell = match self.known.lock() {
            Ok(mut known) => known.entry(pod.clone()).or_default().clone(),
            Err(_) => Rc::default(),
        };
        cell.get_or_try_init(|| self.engine.pod(pod)).await.cloned()
    }
}

/// Runs `act` on every target, a bounded number at once; the results are in the order of the targets.
pub async fn each<T, R>(targets: Vec<T>, act: impl AsyncFn(T) -> R) -> Vec<R> {
    stream::iter(targets).map(|target| act(target)).buffered(AT_ONCE).collect().await
}

/// Runs `act` on every target, all at once; the result of the one that is done first. `None` without targets.
pub async fn first<T, R>(targets: Vec<T>, act: impl AsyncFn(T) -> R) -> Option<R> {
    targets.into_iter().map(|target| act(target)).collect::<stream::FuturesUnordered<_>>().next().await
}

/// Prints the lines of what succeeded, then fails with what did not. `code` gives the exit code of a failure; 1 (there
/// is no such thing) outranks 2 (it is in use), and both the engine's 125.
///
/// # Errors
/// The failures together.
pub fn report(results: Vec<Result<Option<String>, Failure>>, code: impl Fn(&Failure) -> i32) -> Outcome {
    let mut lines = String::new();
    let mut failed: Option<Failure> = None;
    for result in results {
        match result {
            Ok(line) => {
                if let Some(line) = line {
                    lines.push_str(&output::escape::line(&line));
                    lines.push('\n');
                }
            }
            Err(mut failure) => {
                failure.code = code(&failure);
                match &mut failed {
                    None => failed = Some(failure),
                    Some(first) => {
                        first.code = worse(first.code, failure.code);
                        first.join(failure);
                    }
                }
            }
        }
    }
    if !lines.is_empty() {
        output::print(&lines)?;
    }
    failed.map_or(Ok(0), Err)
}

fn worse(one: i32, other: i32) -> i32 {
    [1, 2].into_iter().find(|code| one == *code || other == *code).unwrap_or(ENGINE_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let failures = |codes: &[i32]| {
            let results =
                codes.iter().map(|code| Err(Failure { code: *code, ..Failure::invalid(code.to_string()) })).collect();
            report(results, |failure| failure.code).expect_err("failed")
        };
        let failure = failures(&[125, 2, 1]);
        assert_eq!((failure.code, failure.messages.len()), (1, 3));
        assert_eq!(failures(&[125, 2]).code, 2);
        assert_eq!(failures(&[125]).code, 125);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn results_keep_the_order_of_the_arguments() {
        let results = each(vec![30u64, 1, 20], async |delay| {
            tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
            delay
        })
        .await;
        assert_eq!(results, [30, 1, 20]);
    }
}
