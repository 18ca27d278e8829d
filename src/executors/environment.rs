//! The one place that says which environment a program starts with. Nothing is inherited from the daemon.

use sandboxd_contract::{TMP_DIR, WORK_DIR};

/// What every phase of every language finds, before the executor's own variables and the request's.
///
/// `HOME` is the working directory: it exists, the program owns it, and `~` means what a person at a prompt would
/// expect. `LANG` is UTF-8 without the customs of any country, so that text works and sorting stays put.
const BASE: [(&str, &str); 4] = [("PATH", PATH), ("HOME", WORK_DIR), ("LANG", LANG), ("TMPDIR", TMP_DIR)];
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
pub(crate) const LANG: &str = "C.UTF-8";

/// The base environment with `layers` over it: the last layer that names a variable decides its value, and no name
/// occurs twice.
pub(super) fn layered(layers: &[&[(String, String)]]) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> =
        BASE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (name, value) in layers.iter().copied().flatten() {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => env.push((name.clone(), value.clone())),
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_and_nothing_occurs_twice() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let env = layered(&[&[pair("A", "1"), pair("LANG", "C")], &[pair("A", "2"), pair("B", "3")]]);
        assert_eq!(
            env,
            [
                pair("PATH", "/usr/local/bin:/usr/bin:/bin"),
                pair("HOME", "/box/work"),
                pair("LANG", "C"),
                pair("TMPDIR", "/box/tmp"),
                pair("A", "2"),
                pair("B", "3"),
            ]
        );
    }
}
