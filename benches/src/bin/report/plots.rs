//! Plots, each of one table's own values.

use std::path::Path;

use anyhow::{Context, Result};
use benches::Spread;
use plotters::prelude::*;

use crate::Bench;

const SIZE: (u32, u32) = (860, 380);
const COLOURS: [RGBColor; 5] = [
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0x33, 0x33, 0x33),
    RGBColor(0xcc, 0x79, 0xa7),
];

/// Steps of an empirical distribution: how many percent of the values are at most this.
#[allow(clippy::cast_precision_loss)] // thousands
fn steps(values: &[f64], from: f64, to: f64) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let percent = |n: usize| 100.0 * n as f64 / sorted.len() as f64;
    let mut points = vec![(from, 0.0)];
    for (n, value) in sorted.iter().enumerate() {
        points.push((value.max(from), percent(n)));
        points.push((value.max(from), percent(n + 1)));
    }
    points.push((to, 100.0));
    points
}

/// Distributions beside each other, on a logarithmic scale.
fn distributions(path: &Path, title: &str, unit: &str, from: f64, lines: &[(String, &[f64])]) -> Result<()> {
    let most = lines.iter().flat_map(|(_, values)| values.iter().copied()).fold(10.0 * from, f64::max) * 1.2;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(38)
        .y_label_area_size(48)
        .build_cartesian_2d((from..most).log_scale(), 0.0..100.0)?;
    chart.configure_mesh().x_desc(unit).y_desc("% of attacks").light_line_style(WHITE).draw()?;
    for (n, (name, values)) in lines.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(steps(values, from, most), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present().context("write the plot")?;
    Ok(())
}

/// Calls let through by the loop of unlinks.
pub fn leak(bench: &Bench, path: &Path) -> Result<()> {
    let lines: Vec<(String, &[f64])> = bench
        .names("a loop in php-cli", |v| &v.column)
        .into_iter()
        .filter_map(|name| bench.cell("a loop in php-cli", "unlink", &name).map(|values| (name, values)))
        .collect();
    distributions(path, "A loop of 1,000 unlinks that are not allowed", "calls let through", 0.9, &lines)
}

/// From the call to the death.
pub fn latency(bench: &Bench, path: &Path) -> Result<()> {
    const COLUMN: &str = "its parent knows it dead";
    let lines: Vec<(String, &[f64])> = bench
        .names("from the call", |v| &v.row)
        .into_iter()
        .filter_map(|name| bench.cell("from the call", &name, COLUMN).map(|values| (name, values)))
        .collect();
    distributions(
        path,
        "From an unauthorized call until its parent knows the process dead",
        "µs",
        100.0,
        &lines,
    )
}

/// CPU of php-fpm for each request.
#[allow(clippy::cast_precision_loss)] // a dozen rows
pub fn app(bench: &Bench, path: &Path) -> Result<()> {
    const GROUP: &str = "DokuWiki, php-fpm";
    let rows = bench.names(GROUP, |v| &v.row);
    let bars: Vec<(String, Spread)> = rows
        .into_iter()
        .filter_map(|row| {
            bench
                .cell(GROUP, &row, "CPU per request")
                .map(|v| Spread::of(v.iter().copied()))
                .map(|s| (row, s))
        })
        .collect();
    let most = bars.iter().map(|(_, s)| s.high).fold(1.0, f64::max) * 1.1;
    let root = SVGBackend::new(path, (SIZE.0, 60 + 30 * bars.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let count = bars.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption("DokuWiki: CPU of php-fpm for each request, times bare (quartiles)", ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(250)
        .build_cartesian_2d(0.0..most, 0.0..count)?;
    chart.configure_mesh().disable_y_mesh().y_labels(0).light_line_style(WHITE).draw()?;
    for (n, (name, spread)) in bars.iter().enumerate() {
        let y = count - n as f64 - 0.5;
        let colour = COLOURS[1];
        chart.draw_series([Rectangle::new(
            [(0.0, y - 0.3), (spread.median, y + 0.3)],
            colour.mix(0.6).filled(),
        )])?;
        chart.draw_series([PathElement::new(
            vec![(spread.low, y), (spread.high, y)],
            BLACK.stroke_width(2),
        )])?;
        let at = chart.backend_coord(&(0.0, y));
        root.draw(&Text::new(name.clone(), (at.0 - 240, at.1 - 7), ("sans-serif", 14)))?;
    }
    root.present().context("write the plot")?;
    Ok(())
}
