//! A shell in an engine's enclosure that runs lines and tells how long they took.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use harness::Engine;

/// The shell. `p` in its lines is the engine's program with its global flags.
#[derive(Debug)]
pub struct Shell {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    /// Opens one.
    ///
    /// # Panics
    /// When there is no bash.
    pub fn open(engine: &Engine) -> Shell {
        let mut command = engine.command("bash");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("bash");
        let input = process.stdin.take().expect("stdin");
        let output = BufReader::new(process.stdout.take().expect("stdout"));
        let mut shell = Shell { process, input, output };
        shell.say(&format!("p() {{ {} \"$@\"; }}", engine.words().join(" ")));
        shell
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the shell reads");
    }

    /// Runs a line that must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&mut self, line: &str) {
        if !line.is_empty() {
            self.time(line);
        }
    }

    /// Runs a line that must succeed; how many seconds it took.
    ///
    /// # Panics
    /// When it fails.
    pub fn time(&mut self, line: &str) -> f64 {
        self.say(&format!(
            "b=$EPOCHREALTIME; {{ {line}; }} > /dev/null 2> $TMPDIR/complaint < /dev/null; c=$? e=$EPOCHREALTIME; echo $b $e $c"
        ));
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the shell answers");
        let numbers: Vec<f64> = answer.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [begin, end, 0.0] => end - begin,
            _ => {
                self.say("cat $TMPDIR/complaint; echo");
                let mut complaint = String::new();
                let _the_answer_is_enough = self.output.read_line(&mut complaint);
                panic!("{line}: ends with {answer}{complaint}")
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ended_already = writeln!(self.input, "rm -f $TMPDIR/all $TMPDIR/complaint; exit");
        let _reaped = self.process.wait();
    }
}
