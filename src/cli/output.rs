//! The one place that prints: what a command returned as a table, as JSON, or as little as a script needs.
//!
//! The JSON of every command is one object with `"status": "success"` first (for `add` of several paths one
//! object a line); fields are added over time, never renamed or taken away:
//!
//! | command | fields |
//! |---|---|
//! | `add` | `cid`, `name`, `kind`, `size`, `new_bytes`, `shared_bytes`, `referenced_bytes`, `shared_most_with: {cid, name, bytes}`, `blocks`, `files`, `pin`, `profile`, `stored`, `notes`, `seconds` |
//! | `absorb` | `cid`, `referenced_bytes`, `copied_bytes`, `objects`, `notes`, `seconds` |
//! | `get` | `cid`, `output`, `kind`, `files`, `bytes`, `skipped_links`, `seconds`; nothing with `-o -` |
//! | `cat` | the file's bytes and nothing else |
//! | `ls` | `entries: [{cid, name, kind, size, profile, pinned, pins, created, last_used, damaged_bytes}]`, `damaged: [{kind, message, hint}]` |
//! | `ls TARGET` | `entries: [{name, kind, size, cid, link}]` |
//! | `stat` | `store`, `objects`, `pins`, `packs`, `blocks`, `content_bytes`, `pack_bytes`, `pack_disk_bytes`, `referenced_bytes`, `index_disk_bytes`, `cache: {hits, misses, evictions, entries, bytes, budget_bytes}` |
//! | `stat TARGET` | `cid`, `size`, `blocks`, `kind`, `pinned`, `codec`, `hash`, `pins`, `object`, `profile`, `extents`, `damaged_bytes`, `referenced_bytes` |
//! | `has` | `has`, `target`, `damaged_bytes` |
//! | `check` | `match`, `profile`, `cid`, `name`, `kind`, `size`, `files`, `computed: {profile: cid}`, `differences: [{path, difference, stored, found, offset}]` with `{kind, size, target}` or null for `stored` and `found`, `notes`, `seconds` |
//! | `rm` | `cid`, `unpinned`, `freeable_bytes`, `shared_bytes`, `pending_bytes`, `not_freeable_bytes`, `freed_bytes` (always 0: `gc` frees) |
//! | `gc` | `dry_run`, `objects: [{cid, name, reason, last_used, exclusive_bytes, shared_bytes}]` (`cid` is null for single blocks; `reason` is `removed`, `replaced`, `expired`, `unpinned` or `quota`), `freeable_bytes`, `freed_bytes`, `linked_bytes` (of those, what a snapshot by hard links has too), `unfinished_bytes`, `packs`, `ranges`, `pending: [{cid, name, bytes, holders: [{pid, command}]}]`, `not_freeable: [{reason, bytes}]` (`partial_pages`, `no_holes` or `hard_linked`), `unrooted_packs` and `unrooted_bytes` (packs that no root names, left alone until a repair), `spared` (objects without a pin that the grace time spares), `used_bytes`, `max_size` |
//! | `df` | `entries: [{cid, name, kind, size, pins, last_used, exclusive_bytes, shared_bytes, damaged_bytes}]`, `live_bytes`, `loose_bytes`, `remains_bytes` (of what a repair left), `pending_bytes`, `dead_bytes`, `not_freeable_bytes`, `unfinished_bytes`, `damaged_bytes`, `unrooted_packs` and `unrooted_bytes` as with `gc`, `unreadable_packs` and `unreadable_bytes` (packs that cannot be read), `overhead_bytes`, `disk_bytes`, `referenced_bytes`, `max_size` |
//! | `df TARGET…` | `targets`, `freeable_bytes`, `shared_bytes`, `pending_bytes`, `not_freeable_bytes` |
//! | `pin add`, `pin rm` | `name`, `cid`, `kind`, `created` |
//! | `pin ls` | `entries: [{name, cid, kind, created}]`, `damaged` as with `ls` |
//! | `pin sync` | `file`, `dry_run`, `entries: [{name, action, cid, was, error: {kind, message, hint}}]`, `changed`, `kept`, `failed`, `unlisted`, `notes`, `seconds`; `action` is `add`, `pin`, `move`, `keep`, `unpin` or `failed` |
//! | `sync` | `source`, `dry_run`, `objects: [{cid, name, kind, size, state, new_blocks, new_bytes, there_blocks, there_bytes, pins: [{name, change, was, error}], error: {kind, message, hint}}]`, `copied`, `there`, `failed`, `new_blocks`, `new_bytes`, `there_blocks`, `there_bytes`, `notes`, `seconds`; `state` is `copied`, `there` or `failed`, `change` is `set`, `kept`, `moved` or `failed` |
//! | `verify` | `blocks`, `of_blocks`, `bytes`, `objects`, `packs`, `findings: [{kind, affected: [{object, name, path}], block, file, offset, len, expected, found}]`, `cleared: [{block, file, offset}]`, `unused_damaged`, `recorded`, `complete`, `healed: [{block, by, from, affected, file, offset, len}]`, `left` as `findings`, `heal_error: {kind, message, hint}`, `notes`, `seconds` |
//! | `plan` | `tensors`, `bytes`, `device_map: {tensor: device}`, `devices: {name: {tensors, bytes, limit}}` |
//! | `load` | `tensors`, `bytes`, `zero_copy_bytes`, `copied_bytes`, `copies: {reason: bytes}`, `residency`, `populated_bytes`, `lazy_bytes`, `verified_bytes`, `seconds`, `stages: {resolve, headers, plan, execute}`, `shards`, `devices: {name: {tensors, bytes, limit, thread_seconds}}` |
//! | `dedup` | `a`, `b`: `{target, cid, object, kind, profile, files, tensors, content_bytes, shared_content_bytes, stored_bytes, only_bytes, totals: {same_name, other_name, partly, alone: {parts, bytes, shared_bytes}}}`, `shared_bytes`, `stored_bytes`, `by`, `parts: [{name, a, b: {bytes, shared_bytes, same_as}}]` |
//! | `repair` | `store`, `dry_run`, `repaired`, `left`, `needs_verify`, `findings: [{defect, path, what, expected, found, action, objects: [{cid, name, pins}], lacking: [cid], advice}]`, `restorable: [{cid, name, pins}]` |
//! | `init` | `store`, `profile` |
//! | `config get`, `config set` | `key`, `value`; `set` also `config` |
//! | `config show` | `config`, `entries: [{section, key, value, origin}]` |
//! | `config path` | `config`, `exists` |
//! | `doctor` | `store`, `looked_at`, `problems`, `notes`, `checks: [{name, status, found, advice, figures: {name: number}}]` |
//! | `completions` | `shell`, `script` |
//! | `demo` | `parts: [{part, …}]`, `seconds` |
//! | an error | `status: "error"`, `kind`, `message`, `hint`, `notes` |

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use clap::builder::styling::{AnsiColor, Style};
use ipfs_accelerate::Explain;
use serde::Serialize;

use super::error::CliError;
use super::room::Room;
use super::text::{harmless, message};

/// What a command has to say.
pub(crate) struct Output {
    json: String,
    views: Vec<View>,
    quiet: Vec<String>,
    notes: Vec<Note>,
    no: bool,
    stopped: bool,
}

/// A part of what people see.
pub(crate) enum View {
    Line(String),
    /// Labels and values, a pair a line.
    Fields(Vec<(&'static str, String)>),
    Table(Table),
    /// Text that is printed as it is.
    Text(String),
}

pub(crate) struct Table {
    /// Names of the columns; those that begin with `>` are aligned to the right.
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
    /// Said in place of a table without rows.
    pub(crate) empty: &'static str,
}

/// Something for standard error that does not stop the command.
pub(crate) enum Note {
    Note(String),
    Warning(String),
}

/// An error of one of several things, which does not stop the command.
#[derive(Serialize)]
pub(crate) struct Fault {
    kind: &'static str,
    message: String,
    hint: Option<String>,
}

impl Fault {
    pub(crate) fn of(e: &dyn Explain) -> Self {
        Self {
            kind: e.kind(),
            message: e.to_string(),
            hint: e.hint(),
        }
    }

    /// The error and what to do, in a line.
    pub(crate) fn warning(e: &dyn Explain) -> String {
        match e.hint() {
            Some(hint) => format!("{e}; {hint}"),
            None => e.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Success<'a, T> {
    status: &'static str,
    #[serde(flatten)]
    fields: &'a T,
}

#[derive(Serialize)]
struct Failure<'a> {
    status: &'static str,
    kind: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
    notes: &'a [String],
}

impl Output {
    /// An output whose JSON has these fields.
    pub(crate) fn new(fields: &impl Serialize) -> Self {
        let success = Success {
            status: "success",
            fields,
        };
        Self {
            // Plain structures with text for keys always serialize.
            json: serde_json::to_string(&success).unwrap_or_default(),
            ..Self::nothing()
        }
    }

    /// For a command that wrote content.
    pub(crate) fn nothing() -> Self {
        Self {
            json: String::new(),
            views: Vec::new(),
            quiet: Vec::new(),
            notes: Vec::new(),
            no: false,
            stopped: false,
        }
    }

    #[must_use]
    pub(crate) fn line(self, text: impl Into<String>) -> Self {
        self.view(View::Line(text.into()))
    }

    #[must_use]
    pub(crate) fn view(mut self, view: View) -> Self {
        self.views.push(view);
        self
    }

    /// A line of the quiet form.
    #[must_use]
    pub(crate) fn quiet(mut self, text: impl Into<String>) -> Self {
        self.quiet.push(text.into());
        self
    }

    #[must_use]
    pub(crate) fn note(mut self, note: Note) -> Self {
        self.notes.push(note);
        self
    }

    /// Notes that stand in the JSON as well.
    #[must_use]
    pub(crate) fn notes(self, notes: Vec<String>) -> Self {
        notes.into_iter().map(Note::Note).fold(self, Self::note)
    }

    /// The answer is no: exit code 1.
    #[must_use]
    pub(crate) fn no(mut self, no: bool) -> Self {
        self.no = no;
        self
    }

    /// It did not come to its end: status `stopped` and exit code 2, unless the answer is known to be no.
    #[must_use]
    pub(crate) fn stopped(mut self, stopped: bool) -> Self {
        self.stopped = stopped;
        if stopped {
            let (success, stopped) = (r#""status":"success""#, r#""status":"stopped""#);
            self.json = self.json.replacen(success, stopped, 1);
        }
        self
    }

    pub(crate) fn code(&self) -> u8 {
        match (self.no, self.stopped) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    People,
    Json,
    Quiet,
}

pub(crate) struct Printer {
    mode: Mode,
    is_quiet: bool,
    /// Once content is on standard output, JSON would be read as a part of it.
    content: Cell<bool>,
    room: Room,
}

/// Whether colours are wanted on a stream that is, or is not, a terminal.
pub(crate) fn wants_colour(is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    is_terminal && !is_set("NO_COLOR") && !is_dumb
}

fn paint(text: &str, style: Style, colour: bool) -> String {
    match colour {
        true => format!("{style}{text}{style:#}"),
        false => text.to_owned(),
    }
}

impl Printer {
    pub(crate) fn new(json: bool, is_quiet: bool) -> Self {
        let mode = match (json, is_quiet) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Quiet,
            (false, false) => Mode::People,
        };
        Self {
            mode,
            is_quiet,
            content: Cell::new(false),
            room: Room::default(),
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Standard output for the content of a file.
    pub(crate) fn content(&self) -> Result<File, CliError> {
        self.content.set(true);
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        Ok(File::from(stdout.map_err(CliError::stdout)?))
    }

    /// Prints an output.
    ///
    /// # Errors
    /// [`CliError::ClosedPipe`] when nobody reads it.
    pub(crate) fn print(&self, output: &Output) -> Result<(), CliError> {
        for note in &output.notes {
            self.note(note);
        }
        let mut text = String::new();
        match self.mode {
            Mode::Json if output.json.is_empty() => {}
            Mode::Json => text = format!("{}\n", output.json),
            Mode::Quiet => output.quiet.iter().for_each(|line| {
                text.push_str(&harmless(line));
                text.push('\n');
            }),
            Mode::People => {
                let colour = wants_colour(io::stdout().is_terminal());
                for view in &output.views {
                    render(view, colour, &mut text);
                }
            }
        }
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(CliError::stdout)
    }

    fn note(&self, note: &Note) {
        match note {
            Note::Note(_) if self.is_quiet => {}
            Note::Note(text) => say("note:", AnsiColor::Cyan.on_default(), text),
            Note::Warning(text) => say("warning:", AnsiColor::Yellow.on_default().bold(), text),
        }
    }

    /// The line on standard error, the hint and what made way below it, and the object on standard output.
    pub(crate) fn error(&self, error: &CliError) {
        let (message, hint) = (error.to_string(), error.hint());
        let notes = self.room.say();
        say_error(&message, hint.as_deref());
        for note in &notes {
            self.note(&Note::Note(note.clone()));
        }
        if self.mode == Mode::Json && !self.content.get() {
            print_json_error(error.kind(), &message, hint.as_deref(), &notes);
        }
    }
}

/// An error and what to do, a line each on standard error.
pub(crate) fn say_error(message: &str, hint: Option<&str>) {
    say("error:", AnsiColor::Red.on_default().bold(), message);
    if let Some(hint) = hint {
        say("hint:", AnsiColor::Cyan.on_default(), hint);
    }
}

/// The error object on standard output.
pub(crate) fn print_json_error(kind: &str, message: &str, hint: Option<&str>, notes: &[String]) {
    let failure = Failure {
        status: "error",
        kind,
        message,
        hint,
        notes,
    };
    let json = serde_json::to_string(&failure).unwrap_or_default();
    // There is nobody left to tell if this fails; the line on standard error was written.
    let _ = writeln!(io::stdout().lock(), "{json}");
}

fn say(label: &str, style: Style, text: &str) {
    let colour = wants_colour(io::stderr().is_terminal());
    let _ = writeln!(
        io::stderr().lock(),
        "{} {}",
        paint(label, style, colour),
        message(text)
    );
}

fn render(view: &View, colour: bool, text: &mut String) {
    match view {
        View::Line(line) => {
            text.push_str(&harmless(line));
            text.push('\n');
        }
        View::Text(whole) => text.push_str(whole),
        View::Fields(fields) => {
            let width = fields
                .iter()
                .map(|(label, _)| label.len())
                .max()
                .unwrap_or(0);
            for (label, value) in fields {
                let label = paint(&format!("{label:<width$}"), Style::new().bold(), colour);
                text.push_str(&format!("{label}  {}\n", harmless(value)));
            }
        }
        View::Table(table) if table.rows.is_empty() => {
            text.push_str(table.empty);
            text.push('\n');
        }
        View::Table(table) => render_table(table, colour, text),
    }
}

fn render_table(table: &Table, colour: bool, text: &mut String) {
    let is_right = |column: usize| table.columns[column].starts_with('>');
    let heads: Vec<String> = table
        .columns
        .iter()
        .map(|name| name.trim_start_matches('>').to_owned())
        .collect();
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.iter().map(|cell| harmless(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&heads])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &width))| match is_right(i) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    text.push_str(&paint(&line(&heads), Style::new().bold(), colour));
    text.push('\n');
    for row in &rows {
        text.push_str(&line(row));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_stands_in_them() {
        let table = Table {
            columns: &["NAME", ">SIZE"],
            rows: vec![
                vec!["größe".into(), "1 B".into()],
                vec!["a\n".into(), "10.0 MiB".into()],
            ],
            empty: "nothing",
        };
        let mut text = String::new();
        render_table(&table, false, &mut text);
        assert_eq!(text, "NAME       SIZE\ngröße       1 B\na\\n    10.0 MiB\n");
    }

    #[test]
    fn status_comes_first_and_fields_keep_their_order() {
        #[derive(Serialize)]
        struct Fields {
            zebra: u8,
            ant: u8,
        }
        let output = Output::new(&Fields { zebra: 1, ant: 2 });
        assert_eq!(output.json, r#"{"status":"success","zebra":1,"ant":2}"#);
        let stopped = output.stopped(true);
        assert_eq!(stopped.json, r#"{"status":"stopped","zebra":1,"ant":2}"#);
        assert_eq!((stopped.code(), stopped.no(true).code()), (2, 1));
    }
}
