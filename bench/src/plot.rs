//! Curves as SVG: panels with logarithmic axes, two a row.
//!
//! Owns: scales, ticks, colours. Not: which curves. Holds: pure; whatever a name holds, the file is well formed; a
//! point that has no place on a logarithmic axis (zero, below, no number) is left out.

use std::fmt::Write as _;

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is of.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// Whether it is computed rather than measured.
    pub dashed: bool,
}

/// Curves on the same axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// Below it.
    pub x: String,
    /// Beside it.
    pub y: String,
    /// Its curves.
    pub series: Vec<Series>,
}

const COLUMNS: usize = 2;
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 340.0;
const TITLE_HEIGHT: f64 = 40.0;
/// Room beside the axes: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (70.0, 20.0, 30.0, 45.0);
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555"];

/// All panels in one drawing.
pub fn svg(title: &str, panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, TITLE_HEIGHT + HEIGHT * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let _ = writeln!(out, "<text x=\"10\" y=\"24\" font-size=\"13\">{}</text>", escaped(title));
    for (number, panel) in panels.iter().enumerate() {
        let (x, y) = (WIDTH * (number % COLUMNS) as f64, TITLE_HEIGHT + HEIGHT * (number / COLUMNS) as f64);
        let _ = writeln!(out, "<g transform=\"translate({x},{y})\">");
        draw(&mut out, panel);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

/// Text that can stand between tags and in attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // XML 1.0 has no control characters but these, not even escaped.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A logarithmic axis from a power of ten to a power of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        if !least.is_finite() || most <= 0.0 {
            return None;
        }
        // Powers of ten that a float holds are few.
        let low = least.log10().floor() as i32;
        Some(Self { low, high: (most.log10().ceil() as i32).max(low + 1), from, to })
    }

    fn place(self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    fn ticks(self) -> impl Iterator<Item = (f64, String)> {
        (self.low..=self.high).map(move |power| (self.place(10_f64.powi(power)), tick(power)))
    }
}

fn tick(power: i32) -> String {
    match power {
        0..=3 => format!("{}", 10_f64.powi(power)),
        -2..=-1 => format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power)),
        _ => format!("1e{power}"),
    }
}

fn drawable(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite() && *x > 0.0 && *y > 0.0)
}

fn draw(out: &mut String, panel: &Panel) {
    let (left, right, top, bottom) = MARGINS;
    let all = || panel.series.iter().flat_map(|series| drawable(&series.points));
    let _ = writeln!(out, "<text x=\"{left}\" y=\"18\" font-size=\"13\">{}</text>", escaped(&panel.title));
    let across = Axis::over(all().map(|(x, _)| x), left, WIDTH - right);
    let up = Axis::over(all().map(|(_, y)| y), HEIGHT - bottom, top);
    let (Some(across), Some(up)) = (across, up) else { return };
    for (x, name) in across.ticks() {
        let _ = writeln!(out, "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"#dddddd\"/>", up.from, up.to);
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>", up.from + 15.0);
    }
    for (y, name) in up.ticks() {
        let _ = writeln!(out, "<path d=\"M{:.1} {y:.1}H{:.1}\" stroke=\"#dddddd\"/>", across.from, across.to);
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", across.from - 5.0, y + 4.0);
    }
    let (middle_x, middle_y) = ((across.from + across.to) / 2.0, (up.from + up.to) / 2.0);
    let _ = writeln!(out, "<text x=\"{middle_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", up.from + 32.0, escaped(&panel.x));
    let _ =
        writeln!(out, "<text transform=\"translate(16,{middle_y:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>", escaped(&panel.y));
    for (number, series) in panel.series.iter().enumerate() {
        let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or("#000000");
        let places: Vec<(f64, f64)> = drawable(&series.points).map(|(x, y)| (across.place(x), up.place(y))).collect();
        let dashes = if series.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>", path.join(" "));
        for (x, y) in &places {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let at = up.to + 14.0 + 14.0 * number as f64;
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{at:.1}\" fill=\"{colour}\">{}</text>", across.from + 8.0, escaped(&series.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>) -> Panel {
        let series = vec![Series { name: "a < b & \"c\"".to_owned(), points, dashed: true }];
        Panel { title: "t".to_owned(), x: "x".to_owned(), y: "y".to_owned(), series }
    }

    #[test]
    fn whatever_stands_in_a_name_is_text() {
        assert_eq!(escaped("<a href='x'>&\"\u{1}"), "&lt;a href=&apos;x&apos;&gt;&amp;&quot;\u{fffd}");
        let drawing = svg("</svg>", &[panel(vec![(1.0, 1.0), (10.0, 5.0)])]);
        assert_eq!(drawing.matches("</svg>").count(), 1);
        assert!(drawing.contains("a &lt; b &amp; &quot;c&quot;"));
        assert_eq!(drawing.matches("<g ").count(), drawing.matches("</g>").count());
    }

    #[test]
    fn axes_reach_from_power_to_power() {
        let axis = Axis::over([4_096.0, 67_108_864.0].into_iter(), 0.0, 50.0).unwrap();
        assert_eq!((axis.low, axis.high), (3, 8));
        assert!((axis.place(1e3) - 0.0).abs() < 1e-9 && (axis.place(1e8) - 50.0).abs() < 1e-9);
        let one = Axis::over([100.0].into_iter(), 0.0, 1.0).unwrap();
        assert_eq!((one.low, one.high), (2, 3), "an axis of one value has a length all the same");
        assert_eq!(Axis::over(std::iter::empty(), 0.0, 1.0), None);
        let names: Vec<String> = [-3, -2, -1, 0, 3, 4].map(tick).into();
        assert_eq!(names, ["1e-3", "0.01", "0.1", "1", "1000", "1e4"]);
    }

    #[test]
    fn points_without_a_place_are_left_out() {
        let drawing = svg("", &[panel(vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY), (10.0, 10.0), (100.0, 20.0)])]);
        assert_eq!(drawing.matches("<circle").count(), 2);
        assert!(!drawing.contains("NaN") && !drawing.contains("inf"));
        let empty = svg("", &[panel(Vec::new())]);
        assert!(!empty.contains("<polyline") && empty.ends_with("</svg>\n"));
    }
}
