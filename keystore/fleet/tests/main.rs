//! The fleet core under a seeded simulator.
