//! W10: seconds as a function of the input's size, fitted by `a + b n`.

use anyhow::Result;

use crate::bench::{Bench, size};
use crate::contender::{Contender, Equal};
use crate::report::{Report, Row};

/// Up to 16 GiB, or `--size`, of English text in steps of four.
pub(crate) fn words(bench: &Bench) -> Result<Report> {
    let most = bench.args.size.unwrap_or(16 << 30);
    let sizes: Vec<u64> = (0..4).rev().map(|step| most >> (2 * step)).collect();
    let mut rows: Vec<Row> = Vec::new();
    for bytes in &sizes {
        let input = bench.data.english(*bytes)?;
        let arguments = ["word-count".as_ref(), input.as_os_str()];
        let contender = Contender::gristmill(&size(*bytes), bench, Equal::Lines, &arguments);
        let mut report = bench.rounds("W10", &size(*bytes), &[contender])?;
        for row in &mut report.rows {
            row.note = format!("{:.3} s/GiB", row.wall() / (*bytes as f64 / f64::from(1 << 30)));
            // Outputs of different inputs differ.
            row.output = None;
        }
        rows.extend(report.rows);
    }
    let (a, b) = fit(sizes.iter().map(|&bytes| bytes as f64 / f64::from(1 << 30)).zip(rows.iter().map(Row::wall)));
    let input = format!("English text; fitted: {a:.3} s + {b:.3} s/GiB");
    Ok(Report { workload: "W10".to_owned(), input, rows })
}

/// The line of least squares of relative errors: each point weighs as much as any other.
fn fit(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in points {
        let weight = 1.0 / (y * y);
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    let slope = (w * wxy - wx * wy) / (w * wxx - wx * wx);
    ((wy - slope * wx) / w, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_a_line_give_the_line() {
        let (a, b) = fit([0.25_f64, 1.0, 4.0, 16.0].into_iter().map(|x| (x, 0.5 + 2.0 * x)));
        assert!((a - 0.5).abs() < 1e-9 && (b - 2.0).abs() < 1e-9, "{a} {b}");
    }
}
