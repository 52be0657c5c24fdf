//! What was measured: a table, a JSON file and a chart.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// What a figure is, and what it should be.
#[derive(Clone, PartialEq)]
pub struct Metric {
    /// As it is in the table.
    pub name: String,
    /// Of the values.
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// What it must reach on the static binary.
    pub goal: Option<f64>,
}

/// One metric's values, one list for each plugin.
pub struct Row {
    /// What.
    pub metric: Metric,
    /// For each plugin, a value for each round; what failed is left out.
    pub values: Vec<Vec<f64>>,
    /// For each plugin, the last failure.
    pub failures: Vec<Option<String>>,
}

impl Row {
    fn median(&self, plugin: usize) -> Option<f64> {
        median(&self.values[plugin])
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value that this share of them does not exceed; between two of them as far as the share lies between (so that the median of two
/// is the middle of them).
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|it| !it.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = last as f64 * share;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    Some(below + (above - below) * place.fract())
}

/// Three digits that matter.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The head of the table.
pub fn head(plugins: &[String]) -> String {
    let mut line = format!("{:44} {:>7}", "figure", "goal");
    for plugin in plugins {
        let _ = write!(line, "  {:>8} ({:>7} {:>7})", plugin, "min", "max");
    }
    if plugins.len() == 2 {
        let _ = write!(line, "  {:>6}", "ratio");
    }
    line
}

/// A line of the table.
pub fn line(row: &Row) -> String {
    let Metric {
        name, unit, goal, ..
    } = &row.metric;
    let goal_text = goal.map_or_else(String::new, digits);
    let mut line = format!("{:44} {goal_text:>7}", format!("{name}, {unit}"));
    for plugin in 0..row.values.len() {
        let cell = match row.median(plugin) {
            Some(middle) => {
                let values = &row.values[plugin];
                let least = quantile(values, 0.0).unwrap_or(f64::NAN);
                let most = quantile(values, 1.0).unwrap_or(f64::NAN);
                let (least, most) = (digits(least), digits(most));
                format!("{:>8} ({least:>7} {most:>7})", digits(middle))
            }
            None => format!("{:>26}", "-"),
        };
        let _ = write!(line, "  {cell}");
    }
    if let (2, Some(first), Some(second)) = (row.values.len(), row.median(0), second(row)) {
        // Above 1: the first is that much better.
        let ratio = if row.metric.more_is_better {
            first / second
        } else {
            second / first
        };
        // Nothing to nothing says nothing.
        if ratio.is_finite() {
            let _ = write!(line, "  {:>5}x", digits(ratio));
        }
    }
    if let (Some(goal), Some(value)) = (goal, row.median(0)) {
        let is_met = if row.metric.more_is_better {
            value >= *goal
        } else {
            value <= *goal
        };
        line.push_str(if is_met { "  met" } else { "  MISSED" });
    }
    for (number, failure) in row.failures.iter().enumerate() {
        if let Some(failure) = failure {
            let _ = write!(line, "  [{}: {failure}]", ["ours", "other"][number.min(1)]);
        }
    }
    line
}

fn second(row: &Row) -> Option<f64> {
    row.values.get(1).and_then(|values| median(values))
}

/// How much of what the machine allows a plugin reaches: each pair names a figure of a plugin and one of the bare client.
pub fn shares(pairs: &[(String, String)], rows: &[Row]) -> Vec<(String, f64)> {
    let find = |name: &String| rows.iter().find(|row| row.metric.name == *name)?.median(0);
    let share = |(figure, bare): &(String, String)| {
        let share = find(figure)? / find(bare)?;
        Some((format!("{figure}, of {bare}"), share))
    };
    pairs.iter().filter_map(share).collect()
}

/// Where it was measured: figures of different machines, or of a busy one, do not compare.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{model}, {cores} cores, kernel {}, load before {load}",
        kernel.trim()
    )
}

/// Everything, for programs.
pub fn to_json(plugins: &[String], rows: &[Row], machine: &str, shares: &[(String, f64)]) -> Value {
    let rows = rows.iter().map(|row| {
        let Metric {
            name,
            unit,
            more_is_better,
            goal,
        } = &row.metric;
        json!({
            "name": name,
            "unit": unit,
            "more_is_better": more_is_better,
            "goal": goal,
            "medians": row.values.iter().map(|values| median(values)).collect::<Vec<_>>(),
            "values": row.values,
            "failures": row.failures,
        })
    });
    let shares: serde_json::Map<_, _> = shares
        .iter()
        .map(|(name, share)| (name.clone(), json!(share)))
        .collect();
    json!({
        "machine": machine,
        "plugins": plugins,
        "figures": rows.collect::<Vec<_>>(),
        "shares": shares,
    })
}

const BAR: f64 = 12.0;
const WIDTH: f64 = 760.0;
const LABELS: f64 = 330.0;

/// A chart: for each figure a bar for each plugin, the longest as long as there is room, and a mark where the goal is.
pub fn to_svg(plugins: &[String], rows: &[Row]) -> String {
    let colours = ["#2563eb", "#9ca3af"];
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| row.median(0).is_some() && row.metric.goal.is_some())
        .collect();
    let step = BAR * (plugins.len() as f64) + 10.0;
    let height = 34.0 + step * (rows.len() as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, plugin) in plugins.iter().enumerate() {
        let x = 10.0 + 120.0 * number as f64;
        let colour = colours[number.min(1)];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"8\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"17\">{}</text>",
            x + 14.0,
            escaped(plugin)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{WIDTH}\" y=\"17\" text-anchor=\"end\" dx=\"-10\" fill=\"#dc2626\">| goal</text>"
    );
    for (index, row) in rows.iter().enumerate() {
        let top = 28.0 + step * index as f64;
        let medians: Vec<Option<f64>> = (0..plugins.len()).map(|it| row.median(it)).collect();
        let most = medians.iter().copied().flatten().chain(row.metric.goal);
        let most = most.fold(f64::MIN_POSITIVE, f64::max);
        let room = WIDTH - LABELS - 70.0;
        let sense = if row.metric.more_is_better {
            "more is better"
        } else {
            "less is better"
        };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}, {} ({sense})</text>",
            LABELS - 8.0,
            top + BAR - 2.0,
            escaped(&row.metric.name),
            row.metric.unit
        );
        for (number, value) in medians.iter().enumerate() {
            let Some(value) = value else { continue };
            let y = top + BAR * number as f64;
            let width = (value / most * room).max(1.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                BAR - 2.0,
                colours[number.min(1)],
                LABELS + width + 4.0,
                y + BAR - 3.0,
                digits(*value)
            );
        }
        if let Some(goal) = row.metric.goal {
            let x = LABELS + goal / most * room;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{}\" width=\"1.5\" height=\"{}\" fill=\"#dc2626\"/>",
                top - 2.0,
                BAR * (plugins.len() as f64) + 2.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Writes both files; an error is told.
pub fn write(folder: &Path, json: &Value, svg: &str) {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(folder.join("whole.json"), format!("{json:#}\n")))
        .and_then(|()| std::fs::write(folder.join("whole.svg"), svg));
    match written {
        Ok(()) => println!("\n{0}/whole.json and {0}/whole.svg", folder.display()),
        Err(error) => println!("\n{}: {error}", folder.display()),
    }
}
