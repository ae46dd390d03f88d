//! The product from outside: the real binary, killed, restarted, fed good and bad input, looked at through its own doors,
//! through other people's readers of the same files, and through a real browser.
//!
//! `make test` runs it; it needs what `scripts/install-test-tools.sh` installs and says so when something is missing.

#![allow(clippy::print_stderr, reason = "the long runs tell what they did")]

mod bad_input;
mod browser;
mod delivery;
mod demo;
mod faults;
mod flood;
mod import;
mod kill;
mod kinesis;
mod kinesis_door;
mod load;
mod maintenance;
mod now;
mod outside;
mod peers;
mod repository;
mod reshard;
mod restart;
mod server;
mod turn;
