//! Draws latency against load as an SVG: a line for each server, both axes logarithmic.

use std::fmt::Write as _;

/// One server's line.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Load (ticks delivered in a second) and latency (milliseconds), in any order; what is not above 0 is left out.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;

/// Told apart in print and by most eyes.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// The whole picture. Points are joined in order of their load.
pub fn draw(title: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|one| one.points.iter().copied()).filter(is_drawn);
    let load = Axis::over(all().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let latency = Axis::over(all().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for decade in load.decades() {
        let x = load.place(decade);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 18.0,
            short(decade)
        );
    }
    for decade in latency.decades() {
        let y = latency.place(decade);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            short(decade)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">ticks delivered in a second</text>\n\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">p99 latency, ms</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 12.0,
        f64::midpoint(TOP, HEIGHT - BOTTOM)
    );
    for (number, (one, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let mut points: Vec<(f64, f64)> = one.points.iter().copied().filter(is_drawn).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut path = String::new();
        for (index, point) in points.iter().enumerate() {
            let (x, y) = (load.place(point.0), latency.place(point.1));
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if points.len() > 1 {
            let _ =
                writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        }
        let y = (0..number).fold(TOP + 12.0, |y, _| y + 18.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>",
            WIDTH - RIGHT + 12.0,
            escaped(&one.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn is_drawn(point: &(f64, f64)) -> bool {
    let (load, latency) = *point;
    load.is_finite() && latency.is_finite() && load > 0.0 && latency > 0.0
}

/// One logarithmic axis: whole decades around the values, from one pixel to another.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { from: 0.0, to: 1.0, start, end };
        }
        let from = low.log10().floor();
        Self { from, to: high.log10().ceil().max(from + 1.0), start, end }
    }

    fn place(&self, value: f64) -> f64 {
        self.start + (self.end - self.start) * (value.log10() - self.from) / (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        let (mut at, to) = (self.from, self.to);
        std::iter::from_fn(move || {
            let value = (at <= to + 0.5).then(|| 10_f64.powf(at));
            at += 1.0;
            value
        })
    }
}

/// `10k`, `1M`, `0.1`.
fn short(value: f64) -> String {
    match value {
        _ if value >= 999_999.0 => format!("{:.0}M", value / 1e6),
        _ if value >= 999.0 => format!("{:.0}k", value / 1e3),
        _ if value >= 0.99 => format!("{value:.0}"),
        _ => format!("{value:.3}").trim_end_matches('0').to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_on_whole_decades_and_grow_to_the_right_and_up() {
        let series = [Series { name: "a".into(), points: vec![(1_000.0, 1.0), (90_000.0, 50.0)] }];
        let load = Axis::over(series[0].points.iter().map(|point| point.0), 0.0, 100.0);
        assert!((load.place(1_000.0) - 0.0).abs() < 1e-9 && (load.place(100_000.0) - 100.0).abs() < 1e-9);
        assert!((load.place(10_000.0) - 50.0).abs() < 1e-9);
        let latency = Axis::over([1.0, 50.0].into_iter(), 100.0, 0.0);
        assert!(latency.place(50.0) < latency.place(1.0));
        assert_eq!(load.decades().map(short).collect::<Vec<_>>(), ["1k", "10k", "100k"]);
    }

    #[test]
    fn names_are_escaped_lines_are_in_order_of_load_and_what_cannot_be_drawn_is_left_out() {
        let points = vec![(2e5, 9.0), (1e5, 3.0), (0.0, 1.0), (f64::NAN, 1.0)];
        let svg = draw("<load>", &[Series { name: "a & b".into(), points }, Series::default()]);
        assert!(svg.contains("&lt;load&gt;") && svg.contains("a &amp; b"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let line = svg.split("<path d=\"M").last().unwrap().split('"').next().unwrap();
        let xs: Vec<f64> =
            line.split('L').map(|point| point.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(xs.len() == 2 && xs[0] < xs[1], "{line}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }

    #[test]
    fn nothing_to_draw_is_still_a_picture() {
        assert!(draw("empty", &[]).ends_with("</svg>\n"));
    }
}
