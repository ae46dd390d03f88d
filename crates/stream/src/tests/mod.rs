//! The log as a whole, through its face.

mod crash;
mod disk;
mod face;
mod model;
