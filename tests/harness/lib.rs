//! What the tests stand on: engines in enclosures of their own, commands typed into them, images, and the proof that
//! nothing is left.
//!
//! ```text
//! enclosure   PID 1, namespaces, links of one pretend machine           (bin/enclosed.rs is that PID 1)
//! engine      one engine under test in it: directories, label, cgroup prefix, environment
//! cli         a line typed at its shell, what came back, what was expected
//! terminal    the same on a pseudo-terminal
//! table       columns of `ps` by their headers
//! images      the images tests run, built once per machine from Debian's packages
//! image       an image made by a test: layers, config, archives
//! registry    docker-registry over a directory
//! fuse        a file system that hangs, fails and forgets when told to      (bin/fuse.rs serves it)
//! handmade    a registry whose every answer is the test's own
//! oracle      what is there, and that nothing of ours is
//! consistent  what is listed can be looked at and removed, and then nothing is left
//! wait        until a condition holds; the only sleep of the suite
//! rows        tables of options, and what comes of them
//! programs    where the programs under test are
//! ```

pub mod cli;
pub mod consistent;
pub mod enclosure;
pub mod engine;
pub mod fuse;
pub mod handmade;
pub mod image;
pub mod images;
pub mod oracle;
pub mod programs;
pub mod registry;
pub mod rows;
pub mod table;
pub mod terminal;
pub mod wait;

pub use cli::Run;
pub use engine::{Engine, Machine};
pub use wait::until;
