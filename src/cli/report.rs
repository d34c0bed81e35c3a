//! `modspace tree`: the spaces, modules, origins and sizes of a run.

use serde::Serialize;

use super::{
    args::TreeOptions,
    run::{complain, start},
};
use crate::{Runtime, Space};

#[derive(Serialize)]
struct SpaceRow {
    name: String,
    id: u64,
    generation: u64,
    modules: Vec<ModuleRow>,
    children: Vec<SpaceRow>,
}

#[derive(Serialize)]
struct ModuleRow {
    name: String,
    state: &'static str,
    origin: Option<String>,
    /// The ancestor it was taken from.
    taken_from: Option<String>,
    /// Bytes of the source file; null for what has none.
    source_bytes: Option<u64>,
    /// Milliseconds, the module's own imports included.
    load_ms: f64,
    importers: Vec<String>,
}

pub(super) fn tree(options: &TreeOptions) -> u8 {
    let mut report = None;
    let status = start(&options.run, |runtime| report = row(&runtime.root(), runtime));
    let status = match status {
        Ok(status) => status,
        Err(error) => return complain(&error),
    };
    let Some(report) = report else { return status };
    let mut text = String::new();
    if options.json {
        text = serde_json::to_string_pretty(&report).unwrap_or_else(|error| error.to_string());
        text.push('\n');
    } else {
        draw(&mut text, &report, "", "");
    }
    super::print(&text).max(status)
}

fn row(space: &Space, runtime: &Runtime) -> Option<SpaceRow> {
    let modules = space.modules().ok()?.into_iter().map(|(name, record)| ModuleRow {
        name,
        state: record.state.as_str(),
        taken_from: record.from.and_then(|id| runtime.space(id)?.name().ok()),
        source_bytes: record.origin.as_ref().and_then(|origin| std::fs::metadata(origin).ok()).map(|file| file.len()),
        origin: record.origin,
        load_ms: record.load_time.as_secs_f64() * 1e3,
        importers: record.importers.into_iter().map(|importer| importer.module).collect(),
    });
    Some(SpaceRow {
        name: space.name().ok()?,
        id: space.id().as_u64(),
        generation: space.generation_number().ok()?,
        modules: modules.collect(),
        children: space.children().iter().filter_map(|child| row(child, runtime)).collect(),
    })
}

fn draw(text: &mut String, space: &SpaceRow, first: &str, rest: &str) {
    let own = space.modules.iter().filter(|module| module.taken_from.is_none());
    let bytes: u64 = own.clone().filter_map(|module| module.source_bytes).sum();
    *text += &format!(
        "{first}{} ({} modules, {} of them its own, {} of source)\n",
        space.name,
        space.modules.len(),
        own.count(),
        size(bytes)
    );
    let total = space.modules.len() + space.children.len();
    for (index, module) in space.modules.iter().enumerate() {
        let branch = if index + 1 == total { "└── " } else { "├── " };
        let from = match (&module.taken_from, &module.origin) {
            (Some(space), _) => format!("from {space}"),
            (None, Some(origin)) => origin.clone(),
            (None, None) => "namespace".to_owned(),
        };
        let size = module.source_bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
        let state = if module.state == "ready" { String::new() } else { format!(" [{}]", module.state) };
        *text += &format!("{rest}{branch}{}{state}  {from}{size}\n", module.name);
    }
    for (index, child) in space.children.iter().enumerate() {
        let last = index + 1 == space.children.len();
        let (branch, stem) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        draw(text, child, &format!("{rest}{branch}"), &format!("{rest}{stem}"));
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
