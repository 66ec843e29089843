//! Standard output, as text or JSON.

use std::io::{self, BufWriter, Stdout, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::exit::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document, or one per line for `consume` and `storage dump`.
    Json,
}

/// Where a command's results go.
pub(crate) struct Output {
    format: Format,
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Output {
        Output { format, stdout: BufWriter::with_capacity(64 << 10, io::stdout()) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The raw stream, for what is already formatted; flush it.
    pub(crate) fn stream(&mut self) -> &mut impl Write {
        &mut self.stdout
    }

    /// Prints a result: `value` as JSON, or what `text` makes of it.
    pub(crate) fn print<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut self.stdout, value).map_err(io::Error::from)?;
                self.stdout.write_all(b"\n")?;
            }
            Format::Text => {
                let text = text(value);
                let text = text.trim_end();
                if !text.is_empty() {
                    writeln!(self.stdout, "{text}")?;
                }
            }
        }
        self.flush()
    }

    /// Prints one of many results: a line of JSON, or what `text` makes of it.
    pub(crate) fn print_line<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut self.stdout, value).map_err(io::Error::from)?;
                self.stdout.write_all(b"\n")?;
            }
            Format::Text => writeln!(self.stdout, "{}", text(value))?,
        }
        Ok(())
    }

    /// Whether whoever read standard output has closed its end. A command that writes seldom
    /// asks this, so as not to outlive its reader.
    pub(crate) fn is_abandoned(&self) -> bool {
        let mut fds = [PollFd::new(self.stdout.get_ref(), PollFlags::empty())];
        let polled = poll(&mut fds, Some(&Timespec::default()));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }
}

/// A table without lines, so that it can be read by people and cut by programs.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Numbers that a list shows, or a dash.
pub(crate) fn join(numbers: &[i32]) -> String {
    match numbers {
        [] => "-".into(),
        numbers => numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(","),
    }
}
