//! All tests: one program, so that it is linked once. They need root and run beside each other.

mod architecture;
mod bad_input;
mod container {
    mod exit_code;
    mod files;
    mod limits;
    mod logs;
    mod process;
    mod remove;
    mod restart;
    mod runtime;
    mod stats;
    mod streams;
    mod terminal;
}
mod crash;
mod image {
    mod load;
    mod pull;
}
mod network {
    mod bridge;
    mod ports;
}
mod pod {
    mod lifecycle;
    mod order;
    mod output;
    mod sharing;
    mod status;
}
mod seed {
    mod walkthrough;
}
mod volume {
    #[allow(clippy::module_inception, reason = "the noun has one file so far")]
    mod volume;
}
