//! The log as a whole, through its face.

mod face;
