//! From a run's figures to what people read: a table for the terminal, a page, a plot. Nothing here measures, and the same
//! figures give the same bytes.

pub mod aws;
pub mod markdown;
pub mod svg;
pub mod text;
pub mod tls;

/// A page with this section, which stands between its two marks: in the place of the old one, or at the end.
#[must_use]
pub(crate) fn with_section(old: &str, (begin, end): (&str, &str), section: &str) -> String {
    let place = old.find(begin).and_then(|start| {
        let length = old[start..].find(end)?;
        Some((&old[..start], &old[start + length + end.len()..]))
    });
    match place {
        Some((before, after)) => format!("{before}{section}{after}"),
        None => format!("{}\n\n{section}", old.trim_end()),
    }
}

/// Microseconds or calls with three significant figures or more, thousands set apart.
#[must_use]
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 => format!("{value:.2}"),
        medium if medium < 99.95 => format!("{value:.1}"),
        _ => thousands(value.round() as i64),
    }
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// A ratio; one below 1 never reads as 1.
#[must_use]
pub(crate) fn ratio(value: f64) -> String {
    match value {
        behind if behind < 1.0 => format!("{:.2}", (behind * 100.0).floor() / 100.0),
        near if near < 99.5 => format!("{near:.2}"),
        far => thousands(far.round() as i64),
    }
}

/// A peer's name in prose.
#[must_use]
pub(crate) fn prose(peer: &str) -> &str {
    match peer {
        crate::figures::OURS => "ours",
        crate::figures::SOFTHSM => "SoftHSM2",
        crate::figures::P11KIT => "p11-kit",
        other => other,
    }
}

#[cfg(test)]
pub(crate) mod example {
    //! A small run, as JSON: what `--json` writes is what `--render` reads.

    use crate::figures::Report;

    const RUN: &str = r#"{
        "about": [["date", "2026-01-02 03:04 UTC"], ["processors", "2 x Example"]],
        "peers": ["hsmd", "raw", "softhsm2", "p11kit"],
        "cells": ["t1", "t8"],
        "remarks": ["hsmd: 10000 of 10000 objects created by 32 threads in 2.0 s"],
        "entries": [
            {"row":"sign-p256","cell":"t1","peer":"hsmd","figures":{"per_second":25000,"p50":40,"p99":60,"cpu":30,"calls":7500,"errors":0,"failed_attaches":0,"rounds":[25000]}},
            {"row":"sign-p256","cell":"t1","peer":"raw","figures":{"per_second":40000,"p50":20,"p99":25,"cpu":21,"calls":12000,"errors":0,"failed_attaches":0,"rounds":[40000]}},
            {"row":"sign-p256","cell":"t1","peer":"softhsm2","figures":{"per_second":20000,"p50":45,"p99":70,"cpu":46,"calls":6000,"errors":0,"failed_attaches":0,"rounds":[20000]}},
            {"row":"sign-p256","cell":"t1","peer":"p11kit","error":"CKR_MECHANISM_INVALID"},
            {"row":"sign-p256","cell":"t8","peer":"hsmd","figures":{"per_second":29990,"p50":150,"p99":300,"cpu":37,"calls":9000,"errors":2,"failed_attaches":0,"rounds":[29990]}},
            {"row":"sign-p256","cell":"t8","peer":"softhsm2","figures":{"per_second":30000,"p50":49,"p99":4677,"cpu":53,"calls":9900,"errors":0,"failed_attaches":3,"rounds":[30000]}},
            {"row":"find-10","cell":"t1","peer":"hsmd","figures":{"per_second":70000,"p50":14,"p99":20,"cpu":14,"calls":21000,"errors":0,"failed_attaches":0,"rounds":[70000]}},
            {"row":"find-10","cell":"t1","peer":"softhsm2","figures":{"per_second":350,"p50":2800,"p99":3000,"cpu":2800,"calls":105,"errors":0,"failed_attaches":0,"rounds":[350]}}
        ]
    }"#;

    pub(crate) fn run() -> Report {
        serde_json::from_str(RUN).expect("an example that parses")
    }
}

#[cfg(test)]
mod tests {
    use super::{number, ratio};

    #[test]
    fn numbers_are_short_and_a_ratio_below_one_stays_below() {
        let shown: Vec<_> = [0.253, 12.34, 329.4, 1_453.8, -3.1].map(number).into();
        assert_eq!(shown, ["0.25", "12.3", "329", "1,454", "-3.10"]);
        let shown: Vec<_> = [0.999, 1.0, 12.345, 1234.5].map(ratio).into();
        assert_eq!(shown, ["0.99", "1.00", "12.35", "1,235"]);
    }
}
