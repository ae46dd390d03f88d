//! The log as a whole, through its face, on the real disk. The simulated one is the room `sim`.

mod encryption;
mod face;
mod kill;
mod producers;
mod reach;
mod shards;
