//! docs/limits.md says what the code says: every value there is compared with the constant or the setting named beside it.

use schedia_e2e::paths::workspace;

/// Rows that name a constant, at least: a page that names none proves nothing.
const CONSTANTS_MIN: usize = 30;

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The cells of every row of every table of a page.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let row = |line: &'_ str| line.starts_with('|') && !line.starts_with("|---");
    page.lines()
        .filter(move |line| row(line))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// What a person wrote: a number and perhaps a unit; bytes stay bytes, times become milliseconds.
fn written(text: &str) -> Option<u128> {
    let mut words = text.split_whitespace();
    let number: u128 = words.next()?.replace(',', "").parse().ok()?;
    let unit = match words.next() {
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        Some("s") => 1_000,
        Some("bytes" | "ms") | None => 1,
        Some(_) => return None,
    };
    Some(number * unit)
}

/// The value of an expression as constants have it: a number, a shift, a product, a Duration; in bytes or milliseconds.
fn evaluated(text: &str) -> Option<u128> {
    let text = text.trim();
    for (begin, unit) in [("Duration::from_secs(", 1_000), ("Duration::from_millis(", 1)] {
        if let Some(inner) = text.strip_prefix(begin) {
            return Some(evaluated(inner.strip_suffix(')')?)? * unit);
        }
    }
    if let Some((left, right)) = text.split_once("<<") {
        return Some(evaluated(left)? << evaluated(right)?);
    }
    if let Some((left, right)) = text.split_once('*') {
        return Some(evaluated(left)? * evaluated(right)?);
    }
    text.replace('_', "").parse().ok()
}

/// The value of a constant in a source file; one in KiB, in bytes.
fn constant(source: &str, name: &str) -> Option<u128> {
    let begin = source.find(&format!("const {name}: "))?;
    let (_, rest) = source[begin..].split_once('=')?;
    let unit = if name.contains("_KIB") { 1 << 10 } else { 1 };
    Some(evaluated(rest.split_once(';')?.0)? * unit)
}

/// Default and range of a setting, as `config.rs` checks them: `…("--name", given, DEFAULT, FROM..=TO)`, or with
/// `given.unwrap_or(DEFAULT)`.
fn setting(source: &str, name: &str) -> Option<(u128, u128, u128)> {
    let call = source.split(&format!("(\"{name}\", ")).nth(1)?;
    let call = call.split(")?").next()?;
    let (before, range) = call.rsplit_once(", ")?;
    let (from, to) = range.split_once("..=")?;
    let default = match before.split_once("unwrap_or(") {
        Some((_, default)) => default.strip_suffix(')')?,
        None => before.rsplit_once(", ")?.1,
    };
    Some((evaluated(default)?, evaluated(from)?, evaluated(to)?))
}

#[test]
fn every_limit_of_the_page_is_that_of_the_code() {
    let (page, mut compared, mut wrong) = (read("docs/limits.md"), 0, Vec::new());
    for row in rows(&page) {
        let [what, limit, place, _] = row[..] else { continue };
        let Some((name, path)) = place.split_once("` in `") else { continue };
        let (name, path) = (name.trim_matches('`'), path.trim_matches('`'));
        let (here, there) = (written(limit), constant(&read(path), name));
        if here.is_none() || here != there {
            wrong.push(format!("{what}: {limit} ({here:?}), but {name} of {path} is {there:?}"));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "docs/limits.md:\n{}", wrong.join("\n"));
    assert!(compared >= CONSTANTS_MIN, "only {compared} constants are named: has the page lost its form?");
}

#[test]
fn every_setting_of_the_page_has_its_default_and_its_range() {
    let (page, config) =
        (read("docs/limits.md"), ["node/src/config.rs", "node/src/config/queue.rs"].map(read).concat());
    let settings: Vec<_> = rows(&page).filter(|row| row[0].starts_with("`--")).collect();
    assert!(settings.len() >= 6, "has the page lost its form? {settings:?}");
    for row in settings {
        let name = row[0].trim_matches('`');
        let there = setting(&config, name);
        let range = row[2].split_once("..=").and_then(|(from, to)| Some((written(from)?, written(to)?)));
        let here = written(row[1]).zip(range).map(|(default, (from, to))| (default, from, to));
        assert!(here.is_some() && here == there, "{name}: {here:?} on the page, {there:?} in the code");
    }
}

#[test]
fn values_are_read_as_people_and_as_programs_write_them() {
    assert_eq!(written("1,572,864 bytes"), Some(1_572_864));
    assert_eq!(written("9 with an operator"), None);
    assert_eq!(evaluated("10 * 60 * 1_000"), Some(600_000));
    assert_eq!(constant("pub const A_KIB_MAX: usize = 64 << 10;", "A_KIB_MAX"), written("64 MiB"));
    assert_eq!(constant("const T: Duration = Duration::from_secs(5);", "T"), written("5 s"));
    assert_eq!(constant("const TT: u8 = 5;", "T"), None);
    let call = "mib(\"--a\", self.a, 64, 1..=1 << 20)?; within(\"--b\", b.unwrap_or(1_0), 2..=30)?";
    assert_eq!(setting(call, "--a"), Some((64, 1, 1 << 20)));
    assert_eq!(setting(call, "--b"), Some((10, 2, 30)));
}
