//! The smoke test of the fuzz targets: each over its seeds, its regressions, and mutations of both, within a bound of time
//! and memory for each input. Coverage-guided runs are `cargo xtask fuzz`'s.
#![expect(clippy::expect_used, reason = "in a test a failed step is a failed test")]

mod documented;
mod smoke;
