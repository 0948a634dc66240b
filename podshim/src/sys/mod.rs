//! Every unsafe block of podshim, each with the invariant it relies on.
