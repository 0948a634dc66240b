//! All tests: one program, so that it is linked once. They need root and run beside each other.

mod architecture;
mod bad_input;
mod compat;
mod container {
    mod borrow;
    mod cp;
    mod exit_code;
    mod files;
    mod health;
    mod init;
    mod journal;
    mod limits;
    mod logs;
    mod options;
    mod process;
    mod remove;
    mod requires;
    mod restart;
    mod runtime;
    mod sdnotify;
    mod secret;
    mod stats;
    mod streams;
    mod terminal;
    mod update;
}
mod crash;
mod disk;
mod escape;
mod events;
mod fault {
    mod between;
    mod chaos;
    mod clock;
    mod deleted;
    mod grace;
    mod hung;
    mod killer;
    mod outside;
    mod pids;
    mod power;
    mod quick;
    mod races;
    mod records;
    mod report;
    mod room;
    mod scale;
    mod scenario;
    mod sessions;
    mod successors;
}
mod image {
    mod busy;
    mod history;
    mod load;
    mod policy;
    mod progress;
    mod pull;
    mod save;
}
mod network {
    mod bridge;
    mod connect;
    mod ports;
}
mod pod {
    mod lifecycle;
    mod options;
    mod order;
    mod output;
    mod sharing;
    mod status;
}
mod prune;
mod seed {
    mod walkthrough;
}
mod system {
    mod check;
    mod hostile;
    mod upgrade;
}
mod volume {
    mod mounting;
    #[allow(clippy::module_inception, reason = "the noun itself")]
    mod volume;
}
