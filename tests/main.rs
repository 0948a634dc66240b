//! All tests: one program, so that it is linked once. They need root and run beside each other.

mod architecture;
mod container {
    mod exit_code;
    mod files;
    mod limits;
    mod process;
    mod remove;
    mod runtime;
    mod streams;
    mod terminal;
}
mod seed {
    mod walkthrough;
}
