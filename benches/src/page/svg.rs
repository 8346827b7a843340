//! The plot: a bar for each row and number of callers, ours to the reference on a logarithmic axis. Bars to the right of
//! the line at 1 are rows that we win; those to the left are red.

use std::fmt::Write;

use super::{prose, ratio};
use crate::figures::Report;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 900.0;
const TOP: f64 = 64.0;
const BAR: f64 = 8.0;
const GAP: f64 = 7.0;
/// One colour for each number of callers.
const COLOURS: [&str; 6] = ["#12406f", "#2f76b5", "#7fb2dd", "#4f9d6b", "#8a6fb0", "#b08f4f"];
const BEHIND: &str = "#c8322b";

/// The plot as a file of SVG 1.1. A run without ratios gives an empty one.
#[must_use]
pub fn plot(report: &Report) -> String {
    let peer = report.reference().unwrap_or_default();
    let rows: Vec<(&str, Vec<(usize, f64)>)> = report
        .rows()
        .map(|row| {
            let cells = report.cells.iter().enumerate();
            let ratios = cells.filter_map(|(index, cell)| Some((index, report.ratio(row.name, cell, peer)?)));
            (
                row.name,
                ratios.filter(|(_, value)| value.is_finite() && *value > 0.0).collect(),
            )
        })
        .filter(|(_, ratios): &(_, Vec<_>)| !ratios.is_empty())
        .collect();
    let axis = Axis::around(
        rows.iter()
            .flat_map(|(_, ratios)| ratios.iter().map(|(_, value)| *value)),
    );
    let bars: usize = rows.iter().map(|(_, ratios)| ratios.len()).sum();
    let bottom = TOP + BAR * bars as f64 + GAP * rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        height = bottom + 12.0
    );
    let reference = escaped(report.reference().map_or("the other", prose));
    _ = writeln!(
        svg,
        "<text x=\"12\" y=\"20\" font-size=\"14\">Calls per second, ours to {reference} (red: we are behind)</text>"
    );
    legend(&mut svg, report);
    axis.draw(&mut svg, bottom);
    let mut y = TOP + GAP / 2.0;
    for (name, ratios) in &rows {
        let middle = y + BAR * ratios.len() as f64 / 2.0 + 4.0;
        _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            escaped(name)
        );
        for (cell, value) in ratios {
            bar(&mut svg, &axis, y, *cell, *value);
            y += BAR;
        }
        y += GAP;
    }
    let one = axis.x(1.0);
    _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"{TOP}\" x2=\"{one:.1}\" y2=\"{bottom}\" stroke=\"#000000\"/>\n</svg>"
    );
    svg
}

fn legend(svg: &mut String, report: &Report) {
    let mut x = LEFT;
    for (index, cell) in report.cells.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"30\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"39\">{}</text>",
            x + 14.0,
            escaped(cell)
        );
        x += 60.0;
    }
}

fn bar(svg: &mut String, axis: &Axis, y: f64, cell: usize, value: f64) {
    let (one, end) = (axis.x(1.0), axis.x(value));
    let (from, width) = (one.min(end), (end - one).abs().max(0.5));
    let colour = if value < 1.0 {
        BEHIND
    } else {
        COLOURS[cell % COLOURS.len()]
    };
    let (x, anchor) = if value < 1.0 {
        (end - 3.0, "end")
    } else {
        (end + 3.0, "start")
    };
    _ = writeln!(
        svg,
        "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
         <text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"8\" text-anchor=\"{anchor}\">{}</text>",
        BAR - 1.0,
        y + BAR - 1.5,
        ratio(value)
    );
}

/// Whole decades around all values and 1.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>) -> Self {
        values.fold(Self { low: -1, high: 1 }, |axis, value| Self {
            low: axis.low.min(value.log10().floor() as i32),
            high: axis.high.max(value.log10().ceil() as i32),
        })
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        LEFT + share * (RIGHT - LEFT)
    }

    fn draw(&self, svg: &mut String, bottom: f64) {
        for decade in self.low..=self.high {
            let x = self.x(10_f64.powi(decade));
            let label = if decade < 0 {
                format!("{:.*}", decade.unsigned_abs() as usize, 10_f64.powi(decade))
            } else {
                format!("{:.0}", 10_f64.powi(decade))
            };
            _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                TOP - 5.0
            );
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{BEHIND, COLOURS, plot};
    use crate::page::example;

    #[test]
    fn each_ratio_is_a_bar_and_a_lost_one_is_red_and_left_of_one() {
        let svg = plot(&example::run());
        let bars: Vec<&str> = svg.lines().filter(|line| line.contains("font-size=\"8\"")).collect();
        assert_eq!(bars.len(), 3, "{svg}");
        assert!(
            bars[0].contains(COLOURS[0]) && bars[0].contains(">1.25<"),
            "{}",
            bars[0]
        );
        assert!(
            bars[1].contains(BEHIND) && bars[1].contains("text-anchor=\"end\""),
            "{}",
            bars[1]
        );
        assert!(bars[2].contains(">200<"), "{}", bars[2]);
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        // The axis covers the farthest bar: decades from 0.1 to 1000.
        assert!(svg.contains(">0.1</text>") && svg.contains(">1000</text>"), "{svg}");
    }

    #[test]
    fn a_run_without_a_peer_gives_a_plot_without_bars() {
        let mut run = example::run();
        run.peers.truncate(2);
        assert!(!plot(&run).contains("font-size=\"8\""));
    }
}
