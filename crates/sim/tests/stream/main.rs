//! What the stream promises, on a simulated machine.

#![allow(clippy::print_stderr, reason = "the long runs tell what they did")]

mod crash;
mod reshard;
