//! The rooms of a crate: which of them may import which, and how much of a struct they may see.
//!
//! A room is a folder or a file directly below a crate's root. Cargo keeps the crates in their
//! order; nothing but this keeps the rooms of one crate in theirs. An import that runs against the
//! order today stands in a list of exceptions; an entry whose import is gone has to leave the list,
//! which therefore only shrinks.

use std::collections::BTreeSet;

use super::{Source, bare_code, is_test, refuse, sources};

/// The rooms of a crate (or of one room), lowest first. A room may import what stands in an
/// earlier row, and nothing of its own row but itself.
struct Floors {
    /// With a `/` at the end.
    folder: &'static str,
    /// How the code names the folder's module.
    module: &'static str,
    rows: &'static [&'static [&'static str]],
    /// File below `folder`, and the room it imports against the order.
    exceptions: &'static [(&'static str, &'static str)],
}

const BROKER: Floors = Floors {
    folder: "src/broker/",
    module: "crate::",
    rows: &[
        &["error", "authorizer", "metadata_cache", "refused_topics"],
        &["shared"],
        &["network"],
        &["replicas", "metadata_source"],
        &["fetch_session", "coordinators"],
        &["shard"],
        &["router", "checkpoints"],
        &["publisher"],
        &["handlers", "node"],
        &["lib", "tests"],
    ],
    exceptions: &[],
};

const STORAGE: Floors = Floors {
    folder: "src/storage/",
    module: "crate::",
    rows: &[
        &["names", "error", "wait", "observer", "text_lines", "background_rate"],
        &["index", "leader_epoch_cache", "local_offsets", "checked_segments"],
        &["producers", "log_dir"],
        &["segment"],
        &["shard", "journal"],
        &["log"],
        &["recovery", "read", "compaction"],
        &["scrub"],
        &["directories"],
        &["lib"],
        &["testing", "tests"],
    ],
    exceptions: &[
        ("index/transaction_index.rs", "log"),
        ("index/transaction_index.rs", "read"),
        ("index/transaction_index.rs", "segment"),
        ("log/seal.rs", "directories"),
        ("recovery/opening.rs", "directories"),
        ("shard/mod.rs", "log"),
    ],
};

const CONFIG: Floors = Floors {
    folder: "src/config/",
    module: "crate::",
    rows: &[
        &["error", "duration", "suggest"],
        &["setting", "properties"],
        &["address_limits", "listener", "table", "toml_file"],
        &["docs", "layers"],
        &["client_metrics", "dynamic", "topic_config", "weighty"],
        &["broker_config"],
        &["group_config", "settings"],
        &["describe"],
        &["lib"],
    ],
    exceptions: &[],
};

const CLIENT: Floors = Floors {
    folder: "src/client/",
    module: "crate::",
    rows: &[
        &["error", "partitioner", "pieces", "settings"],
        &["metadata", "retry", "versions"],
        &["connection"],
        &["client"],
        &["consumer", "producer"],
        &["admin"],
        &["lib", "connection_tests"],
    ],
    exceptions: &[],
};

const CLI: Floors = Floors {
    folder: "src/cli/",
    module: "crate::",
    rows: &[
        &["bootstrap", "exit", "line_queue", "lines", "disk_probe", "sizes", "times"],
        &["interrupts", "line_format", "logging", "output", "server_settings"],
        &["cluster", "completions", "consume", "doctor", "server", "storage"],
        &["topic"],
        &["produce"],
        &["args"],
        &["lib"],
    ],
    exceptions: &[],
};

const WIRE_GENERATOR: Floors = Floors {
    folder: "src/wire/generator/",
    module: "crate::",
    rows: &[
        &["names", "schema"],
        &["merge", "output"],
        &["emit"],
        &["generate"],
        &["conformance", "main"],
    ],
    exceptions: &[],
};

/// Handlers stand side by side; what several of them need is no handler.
const HANDLERS: Floors = Floors {
    folder: "src/broker/handlers/",
    module: "crate::handlers::",
    rows: &[&[
        "authorized_configs",
        "authorized_operations",
        "authorized_topics",
        "forwarded",
        "group_routing",
        "scatter",
    ]],
    exceptions: &[],
};

/// A struct shows at most so many cells to other files.
const VISIBLE_CELLS_MAX: usize = 2;

/// File, struct, and how many cells it shows today. The number may only fall.
const VISIBLE_CELLS: &[(&str, &str, usize)] =
    &[("src/storage/log/mod.rs", "Log", 6), ("src/storage/segment/mod.rs", "Segment", 21)];

impl Floors {
    fn room<'a>(&self, path: &'a str) -> Option<&'a str> {
        let below = path.strip_prefix(self.folder)?;
        let room = below.split('/').next()?;
        Some(room.trim_end_matches(".rs"))
    }

    fn floor(&self, room: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.contains(&room))
    }

    fn may_import(&self, from: &str, to: &str) -> bool {
        match (self.floor(from), self.floor(to)) {
            _ if from == to => true,
            (Some(from), Some(to)) => to < from,
            // Rooms that no row names stand side by side above all rows. Their `mod.rs`, which
            // holds a table of them, they may read.
            (None, Some(_)) => true,
            (None, None) => from == "mod" || to == "mod",
            (Some(_), None) => false,
        }
    }

    /// The imports against the order: file below the folder, and the room it names.
    fn against(&self, files: &[Source]) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for file in files {
            let Some(room) = self.room(&file.path).filter(|_| !is_test(&file.path)) else {
                continue;
            };
            let below = &file.path[self.folder.len()..];
            let named = self.named(below, &bare_code(file));
            let wrong = named.into_iter().filter(|named| !self.may_import(room, named));
            found.extend(wrong.map(|named| (below.to_owned(), named)));
        }
        found
    }

    /// The rooms that a file's code names.
    fn named(&self, below: &str, bare: &str) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        for (at, _) in bare.match_indices(self.module) {
            let rest = &bare[at + self.module.len()..];
            let end = word_end(rest);
            // `crate::{…}` and what the root itself exports go around the rooms.
            let is_room = rest[..end].starts_with(|c: char| c.is_lowercase());
            let around = if self.module == "crate::" { "lib" } else { "mod" };
            named.insert(if is_room { rest[..end].to_owned() } else { around.to_owned() });
        }
        // From a room's file up to the folder's own module it is one `super`, from a file in a
        // folder it is one for each folder more.
        let is_own_mod = below.ends_with("/mod.rs");
        let depth = below.matches('/').count() + usize::from(!is_own_mod);
        let up = "super::".repeat(depth.max(1));
        if bare.contains(&up) {
            named.insert(format!("({up})"));
        }
        named
    }

    fn complaints(&self, files: &[Source]) -> Vec<String> {
        let against = self.against(files);
        let is_excepted = |file: &str, room: &str| self.exceptions.contains(&(file, room));
        let mut complaints: Vec<String> = against
            .iter()
            .filter(|(file, room)| !is_excepted(file, room))
            .map(|(file, room)| format!("{}{file}: may not import `{room}`", self.folder))
            .collect();
        let is_gone = |exception: &&(&str, &str)| {
            !against.contains(&(exception.0.to_owned(), exception.1.to_owned()))
        };
        complaints.extend(self.exceptions.iter().filter(is_gone).map(|(file, room)| {
            format!("{}{file}: imports `{room}` no more; strike the exception", self.folder)
        }));
        complaints
    }
}

/// Where the name that `text` begins with ends.
fn word_end(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// The cells that each struct of a file shows.
fn visible_cells(source: &Source) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut current: Option<(String, usize)> = None;
    for line in source.text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim_end();
        let declared = line.split_once("struct ").filter(|(before, _)| {
            let before = before.trim();
            before.is_empty() || before.starts_with("pub")
        });
        if let Some((_, rest)) = declared.filter(|_| line.ends_with('{')) {
            let end = word_end(rest);
            current = Some((rest[..end].to_owned(), 0));
        } else if line.trim() == "}" {
            found.extend(current.take());
        } else if let Some((_, cells)) = &mut current {
            let is_visible = line.trim().starts_with("pub");
            *cells += usize::from(is_visible && line.contains("Cell<"));
        }
    }
    found
}

fn open_structs(files: &[Source], exceptions: &[(&str, &str, usize)]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for file in files {
        for (name, cells) in visible_cells(file) {
            let place = (file.path.as_str(), name.as_str());
            let excepted = exceptions.iter().find(|(path, named, _)| (*path, *named) == place);
            let cells_max = excepted.map_or(VISIBLE_CELLS_MAX, |(.., cells)| *cells);
            if cells > cells_max {
                let path = &file.path;
                complaints.push(format!("{path}: {name} shows {cells} cells, not {cells_max}"));
            }
            if let Some((path, named, _)) = excepted.filter(|_| cells > VISIBLE_CELLS_MAX) {
                used.insert((*path, *named));
            }
        }
    }
    let gone = exceptions.iter().filter(|(path, name, _)| !used.contains(&(*path, *name)));
    complaints.extend(gone.map(|(path, name, _)| format!("{path}: strike {name}'s exception")));
    complaints
}

#[test]
fn rooms_import_downwards() {
    let files = sources("rs");
    let floors = [BROKER, HANDLERS, STORAGE, CONFIG, CLIENT, CLI, WIRE_GENERATOR];
    refuse(floors.iter().flat_map(|floors| floors.complaints(&files)));
}

#[test]
fn structs_show_few_cells() {
    let mut files = sources("rs");
    files.retain(|file| file.path.starts_with("src/") && !is_test(&file.path));
    refuse(open_structs(&files, VISIBLE_CELLS).into_iter());
}

/// Each rule finds its bad example, and lets a good one pass.
#[test]
fn the_rules_bite() {
    let floors = |exceptions| Floors {
        folder: "src/a/",
        module: "crate::",
        rows: &[&["ground"], &["left", "right"], &["top"], &["lib"]],
        exceptions,
    };
    let check = |exceptions, path: &str, text: &str| {
        floors(exceptions).complaints(&[Source { path: path.into(), text: text.into() }]).len()
    };
    assert_eq!(check(&[], "src/a/top.rs", "use crate::ground::A;\nuse crate::left;"), 0);
    assert_eq!(check(&[], "src/a/left/b.rs", "use crate::left::c;\nuse super::d;"), 0);
    assert_eq!(check(&[], "src/a/left/mod.rs", "use crate::ground;"), 0);
    assert_eq!(check(&[], "src/a/left/b.rs", "use crate::right::c;"), 1, "side by side");
    assert_eq!(check(&[], "src/a/left/b.rs", "fn a(b: &crate::top::C) {}"), 1, "upwards");
    assert_eq!(check(&[], "src/a/left/b.rs", "use crate::{ground, top};"), 1, "all at once");
    assert_eq!(check(&[], "src/a/left/b.rs", "use crate::Top;"), 1, "by the root's own name");
    assert_eq!(check(&[], "src/a/left/b.rs", "use super::super::top;"), 1, "out of the window");
    assert_eq!(check(&[], "src/a/left/mod.rs", "use super::top;"), 1);
    assert_eq!(check(&[], "src/a/left/tests/b.rs", "use crate::top;"), 0, "a test sees all");
    assert_eq!(check(&[], "src/a/left/b.rs", "//! [`crate::top`]\nmod tests {\ncrate::top;"), 0);
    assert_eq!(check(&[("left/b.rs", "top")], "src/a/left/b.rs", "use crate::top::T;"), 0);
    assert_eq!(check(&[("left/b.rs", "top")], "src/a/left/b.rs", "use crate::ground::T;"), 1);

    let handler = |path: &str, text: &str| {
        HANDLERS.complaints(&[Source { path: path.into(), text: text.into() }]).len()
    };
    assert_eq!(handler("src/broker/handlers/fetch/mod.rs", "use crate::handlers::scatter;"), 0);
    assert_eq!(handler("src/broker/handlers/fetch/mod.rs", "use crate::handlers::produce;"), 1);

    let shown = "pub(crate) struct A<T> {\n  pub a: Cell<u8>,\n  pub(crate) b: RefCell<u8>,\n  \
                 pub c: Rc<OnceCell<T>>, // kept\n  d: Cell<u8>,\n}\n";
    let file = |text: &str| [Source { path: "src/a/b.rs".into(), text: text.into() }];
    assert_eq!(visible_cells(&file(shown)[0]), [("A".to_owned(), 3)]);
    assert_eq!(open_structs(&file(shown), &[]).len(), 1);
    assert_eq!(open_structs(&file(shown), &[("src/a/b.rs", "A", 3)]).len(), 0);
    assert_eq!(open_structs(&file("struct A {\n}\n"), &[("src/a/b.rs", "A", 3)]).len(), 1);
    assert_eq!(open_structs(&file(&shown.replace("pub c", "c")), &[]).len(), 0);
}
