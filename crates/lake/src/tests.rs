//! The table as a whole: crashes, faults, races, restarts.
