//! The simulation: a machine that crashes, tears, fills and lies about the time, and what must hold on it all the same.
//! For development only; nothing that is shipped knows it.
//!
//! **In:** a life (a list of things that happen to a log) and the faults that meet it, both from a seed.
//! **Out:** the first promise that was broken, with what led there; and what of the faults and recoveries was hit.
//! **Holds:** the simulated disk and clock, and the model of what was promised.
//! **Never:** touches the real disk or clock, or reaches into a room past its public face.

pub mod clock;
pub mod disk;
pub mod hits;
pub mod life;
mod look;
pub mod model;
pub mod send;
pub mod speaker;
pub mod trace;
pub mod world;

pub use clock::SimClock;
pub use disk::{Crash, FailedSync, SimDisk};
pub use hits::Hits;
pub use model::Check;
pub use send::{Say, What};
pub use trace::Trace;
pub use world::{Disturbed, Put, World};
