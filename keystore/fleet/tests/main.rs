//! The fleet core under a seeded simulator: many seeds, planted mistakes that the checker must find, and one scenario for each row
//! of the table in docs/fleet.md.

mod levels;
mod scenarios;
mod seeds;
mod sim;
