//! Where settings come from: a file, and over it the environment. Here they become one table in which every value
//! still knows its origin, and from that table the typed shapes are read. What a value may be is none of its concern.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::strict;

/// The environment's variables with this prefix are keys.
const PREFIX: &str = "SANDBOXD_";
/// Looked at in this order where no file is named; the first that exists is taken.
const USUAL_FILES: [&str; 2] = ["config.toml", "/etc/sandboxd/config.toml"];

/// File and environment in one table, and what is wrong with it so far.
pub(super) struct Layers {
    table: Table,
    file: Option<PathBuf>,
    /// By the path of the key that each one sets.
    variables: BTreeMap<String, Variable>,
    violations: Vec<String>,
}

struct Variable {
    name: String,
    raw: String,
}

impl Layers {
    /// `named` must exist; the usual files need not.
    pub(super) fn gather<'a>(
        named: Option<&Path>,
        environment: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut layers =
            Self { table: Table::new(), file: None, variables: BTreeMap::new(), violations: Vec::new() };
        let usual = || USUAL_FILES.map(Path::new).into_iter().find(|path| path.exists());
        if let Some(path) = named.or_else(usual) {
            layers.file = Some(path.to_owned());
            match read_file(path) {
                Ok(table) => layers.table = table,
                Err(violation) => layers.violations.push(format!("{}: {violation}", path.display())),
            }
        }
        let mut variables: Vec<_> = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        variables.sort_unstable();
        for (name, raw) in variables {
            layers.overlay(name, raw);
        }
        layers
    }

    fn overlay(&mut self, name: &str, raw: &str) {
        let lower = name.trim_start_matches(PREFIX).to_lowercase();
        let mut keys: Vec<_> = lower.split("__").collect();
        let Some(last) = keys.pop().filter(|last| !last.is_empty()) else {
            self.violations.push(format!("{name}: names no key"));
            return;
        };
        let value = raw.parse().unwrap_or_else(|_| Value::String(raw.to_owned()));
        let mut path = Vec::new();
        let mut table = &mut self.table;
        for key in keys {
            let key = spelling(table, key);
            path.push(key.clone());
            let below = table.entry(key).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(below) = below else {
                self.violations.push(format!("{name}: {} is no table", path.join(".")));
                return;
            };
            table = below;
        }
        let last = spelling(table, last);
        path.push(last.clone());
        table.insert(last, value);
        self.variables.insert(path.join("."), Variable { name: name.to_owned(), raw: raw.to_owned() });
    }

    /// The file, for people; `None` when there is none.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Notes one violation of the key at `path`, under the name of whatever set it.
    pub(super) fn complain(&mut self, path: &str, message: &str) {
        let covers = |key: &str| {
            path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let below = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        let names = |test: &dyn Fn(&str) -> bool| -> Vec<&str> {
            let chosen = self.variables.iter().filter(|(key, _)| test(key));
            chosen.map(|(_, variable)| variable.name.as_str()).collect()
        };
        let mut variables = names(&covers);
        if variables.is_empty() {
            variables = names(&below);
        }
        let mut lines: Vec<_> = variables.iter().map(|name| format!("{name}: {message}")).collect();
        if lines.is_empty() {
            lines.push(match &self.file {
                Some(file) => format!("{}: {path}: {message}", file.display()),
                None => format!("{path}: {message}"),
            });
        }
        self.violations.append(&mut lines);
    }

    pub(super) fn into_violations(self) -> Vec<String> {
        self.violations
    }

    pub(super) fn root<T: DeserializeOwned + Default>(&mut self) -> T {
        self.read(self.table.clone(), "")
    }

    /// Reads a table that stands at `prefix`. What does not fit is noted and left out, and the rest is read again, so
    /// that one reading finds everything that is wrong.
    pub(super) fn read<T: DeserializeOwned + Default>(&mut self, mut table: Table, prefix: &str) -> T {
        loop {
            let misfit = match strict::read(Value::Table(table.clone())).value {
                Ok(value) => return value,
                Err(misfit) => misfit,
            };
            let path = match (prefix, misfit.path()) {
                ("", path) => path,
                (prefix, path) if path.is_empty() => prefix.to_owned(),
                (prefix, path) => format!("{prefix}.{path}"),
            };
            let keys = misfit.keys();
            let Some(place) = place(&mut table, &keys) else {
                self.complain(&path, &plain(misfit.error.message()));
                return T::default();
            };
            // A value such as 0660 or true may be meant as the string that it was in the environment.
            match self.variables.get(&path) {
                Some(variable) if !place.is_str() => *place = Value::String(variable.raw.clone()),
                _ => {
                    self.complain(&path, &plain(misfit.error.message()));
                    remove(&mut table, &keys);
                }
            }
        }
    }
}

fn read_file(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", before.matches('\n').count() + 1, error.message())
    })
}

/// The key as the file spells it, which may have hyphens where a variable's name can't.
fn spelling(table: &Table, key: &str) -> String {
    let same = |known: &&String| known.replace('-', "_").eq_ignore_ascii_case(key);
    table.keys().find(same).cloned().unwrap_or_else(|| key.to_owned())
}

fn place<'a>(table: &'a mut Table, keys: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get_mut(*first)?, |value, key| value.get_mut(*key))
}

fn remove(table: &mut Table, keys: &[&str]) {
    match keys {
        [] => {}
        [key] => drop(table.remove(*key)),
        [key, rest @ ..] => {
            if let Some(Value::Table(below)) = table.get_mut(*key) {
                remove(below, rest);
            }
        }
    }
}

/// The words of TOML instead of Rust's.
fn plain(message: &str) -> String {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let what = what.replace("unknown field", "no such key").replace("invalid type: ", "is not allowed: ");
    match expected {
        "" => what,
        "i64" => format!("{what}, expected an integer"),
        "an object" | "a map" => format!("{what}, expected a table"),
        other => format!("{what}, expected {other}"),
    }
}
