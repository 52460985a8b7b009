//! The report as a picture: a row for each kind of load, a panel for each measure, bars by number of clients.
//!
//! Written as SVG by hand: rectangles, lines and text. A bar is the median of the rounds, its whisker the range, the number above
//! a pair the median ratio.

use super::phase::Load;
use super::ratio::{Measure, median};
use super::report::{Cell, Report, kind};
use std::fmt::Write as _;

const MEASURES: [(Measure, &str, f64); 3] = [
    (Measure::Throughput, "requests/s", 1.0),
    (Measure::P99, "p99, ms", 1e-3),
    (Measure::ServerCpu, "server CPU, µs/request", 1.0),
];
const OURS: &str = "#0f766e";
const THEIRS: &str = "#a8b3c2";
const PANEL: (f64, f64) = (330.0, 210.0);
const MARGIN: f64 = 28.0;
/// For the title and the legend.
const HEAD: f64 = 64.0;
/// For a row's title.
const ROW_HEAD: f64 = 26.0;
/// For the numbers beside the axes of a panel.
const AXIS: (f64, f64) = (44.0, 36.0);

/// One picture of all loads.
pub fn svg(report: &Report) -> String {
    let rows = rows(&report.cells);
    let width = MARGIN + MEASURES.len() as f64 * (PANEL.0 + MARGIN);
    let row_height = ROW_HEAD + PANEL.1 + MARGIN;
    let height = HEAD + rows.len() as f64 * row_height + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"11\" fill=\"#334155\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    head(&mut svg, report);
    for (number, cells) in rows.iter().enumerate() {
        let top = HEAD + number as f64 * row_height;
        let title = escape(&kind(&cells[0].load));
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{:.0}\" font-size=\"13\" font-weight=\"600\">{title}</text>",
            top + 13.0
        );
        for (column, (measure, unit, factor)) in MEASURES.into_iter().enumerate() {
            let left = MARGIN + column as f64 * (PANEL.0 + MARGIN);
            Panel { left, top: top + ROW_HEAD, measure, unit, factor }.draw(&mut svg, cells);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Cells that differ in the number of clients only belong together.
fn rows(cells: &[Cell]) -> Vec<Vec<&Cell>> {
    let same = |a: &Load, b: &Load| Load { clients: 0, ..a.clone() } == Load { clients: 0, ..b.clone() };
    let mut rows: Vec<Vec<&Cell>> = Vec::new();
    for cell in cells {
        match rows.iter_mut().find(|row| same(&row[0].load, &cell.load)) {
            Some(row) => row.push(cell),
            None => rows.push(vec![cell]),
        }
    }
    rows
}

fn head(svg: &mut String, report: &Report) {
    let against = report.theirs.as_ref().map(|theirs| format!(" beside {theirs}")).unwrap_or_default();
    let title = escape(&format!("{}{against}", report.ours));
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"32\" font-size=\"18\" font-weight=\"600\" fill=\"#0f172a\">{title}</text>"
    );
    let mut x = MARGIN;
    for (color, name) in [(OURS, Some(&report.ours)), (THEIRS, report.theirs.as_ref())] {
        let Some(name) = name else { continue };
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.0}\" y=\"42\" width=\"10\" height=\"10\" rx=\"2\" fill=\"{color}\"/>\
             <text x=\"{:.0}\" y=\"51\">{}</text>",
            x + 15.0,
            escape(name)
        );
        x += 40.0 + 6.5 * name.chars().count() as f64;
    }
}

struct Panel {
    left: f64,
    top: f64,
    measure: Measure,
    unit: &'static str,
    /// From the measure's unit to that of the axis.
    factor: f64,
}

impl Panel {
    fn draw(&self, svg: &mut String, cells: &[&Cell]) {
        let sides = cells.iter().flat_map(|cell| [&cell.ours, &cell.theirs]);
        let values: Vec<_> = sides.flat_map(|phases| self.values(phases)).collect();
        let (step, top_value) = scale(values.into_iter().fold(0.0, f64::max));
        let (plot_left, plot_bottom) = (self.left + AXIS.0, self.top + PANEL.1 - AXIS.1);
        let (plot_width, plot_height) = (PANEL.0 - AXIS.0, PANEL.1 - AXIS.1 - 22.0);
        let y = |value: f64| plot_bottom - value / top_value * plot_height;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"#64748b\">{}</text>",
            self.left,
            self.top + 4.0,
            self.unit
        );
        let mut tick = 0.0;
        while tick <= top_value * 1.001 {
            let (right, at) = (plot_left + plot_width, y(tick));
            let _ = writeln!(
                svg,
                "<line x1=\"{plot_left:.1}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e2e8f0\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#94a3b8\">{}</text>",
                plot_left - 6.0,
                at + 4.0,
                short(tick)
            );
            tick += step;
        }
        let group = plot_width / cells.len() as f64;
        for (number, cell) in cells.iter().enumerate() {
            let middle = plot_left + (number as f64 + 0.5) * group;
            let width = (group * 0.3).min(34.0);
            let sides = [(OURS, &cell.ours), (THEIRS, &cell.theirs)];
            let sides: Vec<_> = sides.iter().filter(|(_, phases)| !phases.is_empty()).collect();
            let mut highest = plot_bottom;
            for (place, (color, phases)) in sides.iter().enumerate() {
                let values = self.values(phases);
                let Some(value) = median(&values) else { continue };
                let left = middle + (place as f64 - sides.len() as f64 / 2.0) * (width + 2.0) + 1.0;
                bar(svg, left, width, y(value), plot_bottom, color);
                let (low, high) = values.iter().fold((f64::MAX, 0.0), |(a, b), v| (v.min(a), v.max(b)));
                whisker(svg, left + width / 2.0, y(low), y(high));
                highest = f64::min(highest, y(high));
            }
            if let Some(ratio) = cell.ratio(self.measure) {
                let _ = writeln!(
                    svg,
                    "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"600\" fill=\"{OURS}\">{:.2}x</text>",
                    highest - 5.0,
                    ratio.median
                );
            }
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                plot_bottom + 15.0,
                cell.load.clients
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#94a3b8\">clients</text>",
            plot_left + plot_width / 2.0,
            plot_bottom + 30.0
        );
    }

    fn values(&self, phases: &[super::phase::Phase]) -> Vec<f64> {
        let valid = phases.iter().filter(|phase| phase.void.is_none());
        valid.map(|phase| self.measure.value(phase) * self.factor).collect()
    }
}

fn bar(svg: &mut String, left: f64, width: f64, top: f64, bottom: f64, color: &str) {
    let height = (bottom - top).max(0.5);
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{color}\"/>"
    );
}

fn whisker(svg: &mut String, x: f64, low: f64, high: f64) {
    let _ = writeln!(
        svg,
        "<path d=\"M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h6M{:.1} {high:.1}h6\" stroke=\"#0f172a\" stroke-width=\"1\" fill=\"none\"/>",
        x - 3.0,
        x - 3.0
    );
}

/// The step between lines and the value of the highest: 1, 2 or 5 times a power of ten, with room for the ratio.
fn scale(highest: f64) -> (f64, f64) {
    let wanted = (highest * 1.12 / 4.0).max(1e-6);
    let power = 10f64.powf(wanted.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= wanted * 0.999);
    let step = step.unwrap_or(power * 10.0);
    (step, (highest * 1.12 / step).ceil().max(1.0) * step)
}

fn short(value: f64) -> String {
    match value {
        thousands if thousands >= 1e3 => format!("{}k", (thousands / 100.0).round() / 10.0),
        // Steps of 0.2 add up to 0.6000000000000001.
        other => format!("{}", (other * 1e4).round() / 1e4),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_above_the_highest_value_and_steps_evenly() {
        assert_eq!(scale(30_000.0), (10_000.0, 40_000.0));
        assert_eq!(scale(7.0), (2.0, 8.0));
        assert_eq!(scale(0.0).1, scale(0.0).0);
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([0.0, 0.2 * 3.0, 500.0, 12_500.0].map(short), ["0", "0.6", "500", "12.5k"]);
    }
}
