//! A plot as text that browsers draw: cost on a plain scale, size on a logarithmic one, so that O(log n) is a straight line.

use std::fmt::Write as _;

/// Points of one colour.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) colour: &'static str,
    /// Size, and microseconds.
    pub(crate) points: Vec<(usize, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

pub(crate) fn svg(title: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let most = points().map(|(_, cost)| *cost).fold(0.0, f64::max);
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        .into_iter()
        .find(|step| most / step <= 8.0)
        .unwrap_or(1000.0);
    let top = (most / step).ceil() * step;
    let (least, greatest) = (
        points().map(|(size, _)| *size).min().unwrap_or(1),
        points().map(|(size, _)| *size).max().unwrap_or(10),
    );
    let log = |size: usize| (size as f64).log10();
    let x = |size: usize| {
        LEFT + (WIDTH - LEFT - RIGHT) * (log(size) - log(least)) / (log(greatest) - log(least)).max(0.001)
    };
    let y = |cost: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * cost / top;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    for i in 0..=(top / step).round() as u32 {
        let (cost, right) = (f64::from(i) * step, WIDTH - RIGHT);
        let at = y(cost);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>"
        );
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{cost}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let mut sizes: Vec<usize> = points().map(|(size, _)| *size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let name = if size >= 1000 { format!("{} k", size / 1000) } else { size.to_string() };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            x(size),
            HEIGHT - BOTTOM + 18.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">entries in the log before (logarithmic)</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    );
    for (row, Series { name, colour, points }) in series.iter().enumerate() {
        let path: Vec<String> =
            points.iter().map(|(size, cost)| format!("{:.1},{:.1}", x(*size), y(*cost))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for point in &path {
            let (x, y) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
            LEFT + 12.0,
            TOP + 14.0 + 16.0 * row as f64
        );
    }
    out.push_str("</svg>\n");
    out
}
