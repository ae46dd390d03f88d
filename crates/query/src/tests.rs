//! The engine over a real lake in a temporary folder.
