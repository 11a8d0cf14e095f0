//! Charts as SVG, made on the server: bars that stand on each other, and lines.
//!
//! The drawing stretches to its place, so texts stand beside it, as HTML. Colours are classes, which the
//! style sheet has for light and dark; a line has a pattern of its own, besides. What a chart shows is
//! told in its description and, exactly, in a table.

use std::fmt::Write;

use askama::{Template, filters::HtmlSafe};

/// The drawing's own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 150.0;

/// A chart with its legend and its table.
#[derive(Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    /// By which the page knows it: a word.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// The number that matters most, with its unit.
    pub(crate) headline: String,
    /// What the chart shows, for whoever does not see it.
    pub(crate) told: String,
    /// What to say if there is nothing to show.
    pub(crate) empty: &'static str,
    pub(crate) series: Vec<Series>,
    /// The values at the left: of the top, the middle.
    pub(crate) scale: [String; 2],
    /// The times below: of the left, the middle, the right.
    pub(crate) times: [String; 3],
    /// What each series is called in the table, and its rows: a time, and the values.
    pub(crate) rows: Vec<(String, Vec<String>)>,
}

impl HtmlSafe for Chart {}

/// What a chart shows of one thing.
pub(crate) struct Series {
    pub(crate) name: String,
    /// Its colour's class.
    pub(crate) class: String,
    /// The sum or the mean, for the legend.
    pub(crate) total: String,
    /// Whether it is a line: otherwise bars.
    pub(crate) is_line: bool,
    /// The drawing of it.
    pub(crate) path: String,
}

impl Chart {
    /// Whether there is something to draw.
    fn is_quiet(&self) -> bool {
        self.series.iter().all(|series| series.path.is_empty())
    }
}

/// A value that is a little larger, and round: 1, 2 or 5 and noughts.
pub(super) fn rounded_up(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let scale = 10_f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| value <= step * scale);
    step.unwrap_or(10.0) * scale
}

/// Bars of one series, on top of those below it, which are made higher by it.
pub(super) fn bars(values: &[f64], below: &mut [f64], top: f64) -> String {
    let step = WIDTH / count(values.len());
    let mut path = String::new();
    for (i, (value, below)) in values.iter().zip(below).enumerate() {
        if *value <= 0.0 {
            continue;
        }
        let (x, y) = (count(i) * step + step * 0.1, height(*below + value, top));
        let (width, tall) = (step * 0.8, height(*below, top) - y);
        write!(path, "M{x:.1} {y:.1}h{width:.1}v{tall:.1}h-{width:.1}z").expect("a string takes all");
        *below += value;
    }
    path
}

/// A line through the values that there are; one that stands alone is a short stroke.
pub(super) fn line(values: &[Option<f64>], top: f64) -> String {
    let step = WIDTH / count(values.len());
    let mut path = String::new();
    let mut is_drawn = false;
    for (i, value) in values.iter().enumerate() {
        let Some(value) = value else {
            is_drawn = false;
            continue;
        };
        let (x, y) = (count(i) * step, height(*value, top));
        let begin = if is_drawn { 'L' } else { 'M' };
        write!(path, "{begin}{x:.1} {y:.1}H{:.1}", x + step).expect("a string takes all");
        is_drawn = true;
    }
    path
}

/// Where a value is, from above.
fn height(value: f64, top: f64) -> f64 {
    HEIGHT - (value / top).clamp(0.0, 1.0) * HEIGHT
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number() {
        for (value, top) in
            [(0.0, 1.0), (1.0, 1.0), (3.0, 5.0), (7.0, 10.0), (120.0, 200.0), (5001.0, 10_000.0)]
        {
            assert!((rounded_up(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn bars_stand_on_those_below_them() {
        let mut below = vec![0.0; 3];
        assert_eq!(
            bars(&[0.0, 5.0, 10.0], &mut below, 10.0),
            "M220.0 75.0h160.0v75.0h-160.0zM420.0 0.0h160.0v150.0h-160.0z"
        );
        assert_eq!(bars(&[0.0, 5.0, 0.0], &mut below, 10.0), "M220.0 0.0h160.0v75.0h-160.0z");
    }

    #[test]
    fn a_line_breaks_off_where_nothing_is_known() {
        assert_eq!(
            line(&[Some(0.0), Some(10.0), None, Some(5.0)], 10.0),
            "M0.0 150.0H150.0L150.0 0.0H300.0M450.0 75.0H600.0"
        );
        assert_eq!(line(&[None, None], 10.0), "");
    }
}
