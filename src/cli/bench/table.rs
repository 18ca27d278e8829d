//! What was measured, for people and for machines.

use std::time::Duration;

use serde_json::{Value, json};

use super::measure::{PARTS, Row, percentile};

/// The daemon's own, where it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub idle: Option<u64>,
    pub after: Option<u64>,
}

const PERCENTS: [usize; 3] = [50, 95, 99];

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn percentiles(samples: &mut [Duration]) -> [f64; PERCENTS.len()] {
    PERCENTS.map(|percent| ms(percentile(samples, percent)))
}

/// Own p50 to the floor's, and own rate to the floor's.
fn ratios(row: &mut Row) -> Option<(f64, f64)> {
    let (p50, rate) = row.floor?;
    let own = percentile(&mut row.samples.whole, 50);
    Some((own.as_secs_f64() / p50.as_secs_f64(), row.samples.rate() / rate))
}

pub(super) fn json(rows: &mut [Row], memory: Memory) -> Value {
    let summary = |samples: &mut [Duration]| {
        let [p50, p95, p99] = percentiles(samples);
        json!({ "p50_ms": p50, "p95_ms": p95, "p99_ms": p99 })
    };
    let row = |row: &mut Row| {
        let ratios = ratios(row);
        let samples = &mut row.samples;
        let parts: serde_json::Map<_, _> = PARTS
            .iter()
            .zip(&mut samples.parts)
            .filter(|(_, part)| !part.is_empty())
            .map(|(name, part)| ((*name).to_owned(), summary(part)))
            .collect();
        json!({
            "work": row.work, "runtime": row.runtime, "concurrency": row.concurrency, "who": row.who.name(),
            "runs": samples.whole.len(), "errors": samples.errors, "first_error": samples.first_error,
            "whole": summary(&mut samples.whole), "parts": parts, "runs_per_second": samples.rate(),
            "p50_to_floor": ratios.map(|ratios| ratios.0), "rate_to_floor": ratios.map(|ratios| ratios.1),
        })
    };
    let rows: Vec<_> = rows.iter_mut().map(row).collect();
    json!({ "rows": rows, "rss_idle_bytes": memory.idle, "rss_after_bytes": memory.after })
}

pub(super) fn print(rows: &mut [Row], memory: Memory) {
    let mut last = String::new();
    for row in rows.iter_mut() {
        let title = format!("{} on {}, {} at once", row.work, row.runtime, row.concurrency);
        if title != last {
            println!("\n{title}");
            println!(
                "  {:<18} {:>8} {:>8} {:>8} {:>9} {:>7} {:>7}   {:>27}   errors",
                "ms", "p50", "p95", "p99", "runs/s", "x time", "x rate", "queue sandbox compile run"
            );
            last = title;
        }
        print_row(row);
    }
    let mib = |bytes: Option<u64>| bytes.map(|bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)));
    if let (Some(idle), Some(after)) = (mib(memory.idle), mib(memory.after)) {
        println!("\ndaemon: {idle} MiB resident before, {after} MiB after");
    }
}

fn print_row(row: &mut Row) {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let ratios = ratios(row);
    let [p50, p95, p99] = percentiles(&mut row.samples.whole);
    let part = |part: &mut Vec<Duration>| format!("{:.2}", ms(percentile(part, 50)));
    let parts = match row.samples.parts.iter().all(Vec::is_empty) {
        true => String::new(),
        false => row.samples.parts.iter_mut().map(part).collect::<Vec<_>>().join(" "),
    };
    println!(
        "  {:<18} {p50:>8.2} {p95:>8.2} {p99:>8.2} {:>9.1} {:>7} {:>7}   {parts:>27}   {}",
        row.who.name(),
        row.samples.rate(),
        ratio(ratios.map(|ratios| ratios.0)),
        ratio(ratios.map(|ratios| ratios.1)),
        row.samples.errors,
    );
    if let Some(error) = &row.samples.first_error {
        println!("    {error}");
    }
}
