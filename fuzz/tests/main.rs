//! The smoke test of the fuzz targets: each over its seeds, its regressions, and mutations of both, within a bound of time
//! and memory for each input. Coverage-guided runs are `cargo xtask fuzz`'s.

mod documented;
mod smoke;
