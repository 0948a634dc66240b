//! All tests: one program, so that it is linked once. They need root and run beside each other.

mod architecture;
mod seed {
    mod walkthrough;
}
