//! What APIs make of a path before they compare it, apart from how they compare its letters: they leave out suffixes, index files and scripts.

use super::{Ambiguous, ambiguous::Leniency, shape::Part};

/// More segments of a path that are called like scripts are refused.
pub(super) const MAX_SCRIPTS: usize = 2;
/// More dots in a segment of a pattern are refused.
pub(super) const MAX_DOTS: usize = 8;

/// Suffixes of files that a web server may run. `.pl` and `.py` are not among them, because as top-level domains they end hosts and e-mail
/// addresses, which segments of a path often are.
const SCRIPTS: [&str; 20] = [
    "ashx", "asmx", "asp", "aspx", "cfc", "cfm", "cgi", "dll", "fcgi", "jsp", "jspx", "phar", "php", "php3", "php4", "php5", "php7",
    "php8", "phtml", "wsgi",
];
/// Usual names of scripts in Perl and Python that serve a whole site.
const NAMED_SCRIPTS: [&str; 10] =
    ["api.pl", "api.py", "app.pl", "app.py", "dispatch.pl", "dispatch.py", "index.pl", "index.py", "main.pl", "main.py"];

/// A segment of a path in lower case, or a part of a pattern.
pub(super) trait Readable: Clone {
    fn text(&self) -> Option<&str>;
    /// The first `len` bytes of the text.
    fn cut(&self, len: usize) -> Self;
}

impl Readable for &str {
    fn text(&self) -> Option<&str> {
        Some(self)
    }

    fn cut(&self, len: usize) -> Self {
        let text = *self;
        &text[..len]
    }
}

impl Readable for Part {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Name | Self::Rest => None,
        }
    }

    fn cut(&self, len: usize) -> Self {
        match self {
            Self::Text(text) => Self::Text(text[..len].to_owned()),
            Self::Name | Self::Rest => self.clone(),
        }
    }
}

/// A path that an API may take another one for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading<S> {
    pub(super) how: Leniency,
    pub(super) segments: Vec<S>,
    /// Whether this is the folder of what the path names. A rule for what is in it may be the one for the folder, too.
    pub(super) is_folder: bool,
    /// Whether an API that reads this needs a rule for it. Without one, the request is denied.
    pub(super) needs_rule: bool,
}

impl<S> Reading<S> {
    const fn new(how: Leniency, segments: Vec<S>) -> Self {
        Self { how, segments, is_folder: false, needs_rule: false }
    }
}

/// The other paths that APIs may take a request's path for. What its rule spells out is meant as it is.
///
/// With [`MAX_SCRIPTS`] scripts of four readings each, and the path itself, these have at most nine different beginnings; each of them has at most
/// ten ends of its own, by its dots and as a folder. A path without dots has no other reading, unless it ends in `index`.
pub(super) fn readings<'a>(path: &[&'a str], is_spelled_out: impl Fn(usize) -> bool) -> Result<Vec<Reading<&'a str>>, Ambiguous> {
    let mut found = match path.len().checked_sub(1) {
        Some(last) if !is_spelled_out(last) => ends(path),
        _ => Vec::new(),
    };
    for reading in without_scripts(path, is_spelled_out)? {
        found.extend(ends(&reading.segments).into_iter().map(|end| Reading { is_folder: false, ..end }));
        found.push(reading);
    }
    Ok(found)
}

/// The path without suffixes of its last segment, and without a file that answers for its folder.
pub(super) fn ends<S: Readable>(segments: &[S]) -> Vec<Reading<S>> {
    let Some((last, before)) = segments.split_last() else { return Vec::new() };
    let text = last.text().unwrap_or_default();
    let cut = |dot: usize| Reading::new(Leniency::Suffix, [before, &[last.cut(dot)]].concat());
    let answers_for_folder = is_index(text) || is_script(text);
    let folder = answers_for_folder.then(|| Reading { is_folder: true, ..Reading::new(Leniency::IndexFile, before.to_vec()) });
    // The text of a pattern has no more dots, so what is cut off behind them leads to none.
    dots(text).take(MAX_DOTS + 1).map(cut).chain(folder).collect()
}

/// The paths that an API sees which is served by a script in the path: PHP runs `/shop/index.php/orders` as `/shop/index.php`, and a framework
/// then reads `/orders`, or `/shop/orders` if that is below the path where it is served. Some servers find `/shop/index.php` as `/shop/index`.
pub(super) fn without_scripts<S: Readable>(segments: &[S], is_spelled_out: impl Fn(usize) -> bool) -> Result<Vec<Reading<S>>, Ambiguous> {
    let Some((_, folders)) = segments.split_last() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let is_script = |place: usize, segment: &S| !is_spelled_out(place) && segment.text().is_some_and(is_script);
    let scripts = folders.iter().enumerate().filter(|&(place, segment)| is_script(place, segment));
    for (count, (place, script)) in scripts.enumerate() {
        if count == MAX_SCRIPTS {
            return Err(Ambiguous::Scripts);
        }
        let (before, behind) = (&segments[..place], &segments[place + 1..]);
        let stem = script.text().and_then(|text| text.rfind('.')).map(|dot| script.cut(dot));
        found.push(Reading { needs_rule: true, ..Reading::new(Leniency::Script, [before, behind].concat()) });
        found.push(Reading::new(Leniency::Script, behind.to_vec()));
        found.push(Reading::new(Leniency::BelowFile, segments[..=place].to_vec()));
        found.extend(stem.map(|stem| Reading::new(Leniency::Suffix, [before, &[stem], behind].concat())));
    }
    Ok(found)
}

/// The places of the dots at which a suffix may begin.
pub(super) fn dots(text: &str) -> impl Iterator<Item = usize> {
    text.match_indices('.').map(|(dot, _)| dot).filter(|dot| *dot > 0)
}

/// Whether a segment in lower case is called like a file that a web server runs.
pub(super) fn is_script(text: &str) -> bool {
    let suffix = text.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| SCRIPTS.contains(&suffix)) || NAMED_SCRIPTS.contains(&text)
}

/// Whether a segment in lower case is called like the file, or the action of a controller, that answers for its folder. `default` alone is the
/// name of too many other things.
fn is_index(text: &str) -> bool {
    text == "index" || text.starts_with("index.") || text.starts_with("default.")
}

#[cfg(test)]
mod tests {
    use super::{super::request_path::segments, *};

    /// Those of a path no segment of which is spelled out, apart from those in brackets.
    fn found(path: &str) -> Vec<String> {
        let spelled: Vec<bool> = segments(path).iter().map(|segment| segment.starts_with('[')).collect();
        let plain = path.replace(['[', ']'], "");
        let readings = readings(&segments(&plain), |place| spelled[place]).unwrap();
        readings.iter().map(|reading| format!("/{}", reading.segments.join("/"))).collect()
    }

    #[test]
    fn gd3_a_path_is_also_read_without_suffixes_index_files_and_scripts() {
        for (path, expected) in [
            ("/", &[][..]),
            ("/orders/1", &[]),
            ("/v1.2/orders", &[]),
            ("/.well-known/x", &[]),
            ("/orders/.json", &[]),
            ("/orders/[a.b]", &[]),
            ("/orders/1.tar.gz", &["/orders/1", "/orders/1.tar"]),
            ("/orders/index", &["/orders"]),
            ("/orders/default", &[]),
            ("/orders/index.html", &["/orders/index", "/orders"]),
            ("/orders/default.htm", &["/orders/default", "/orders"]),
            ("/index.php", &["/index", "/"]),
            ("/shop/app.php", &["/shop/app", "/shop"]),
            ("/[index.php]/orders", &[]),
            ("/index.php/orders", &["/orders", "/orders", "/index", "/", "/index.php", "/index/orders"]),
            ("/shop/app.php/orders", &["/shop/orders", "/orders", "/shop/app", "/shop", "/shop/app.php", "/shop/app/orders"]),
            ("/a/x.jsp/b.c", &["/a/x.jsp/b", "/a/b", "/a/b.c", "/b", "/b.c", "/a/x", "/a", "/a/x.jsp", "/a/x/b", "/a/x/b.c"]),
            ("/sites/firma.pl/pages", &[]),
            ("/app.pl/pages", &["/pages", "/pages", "/app", "/", "/app.pl", "/app/pages"]),
        ] {
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn gd3_the_readings_of_a_path_are_bounded() {
        let dots = ".a".repeat(200);
        let path = format!("/x.php/y.php/index{dots}");
        assert_eq!(found(&path).len(), 82);
        let three = ["x.php", "y.cgi", "z.jsp", "orders"];
        assert_eq!(readings(&three, |_| false), Err(Ambiguous::Scripts));
        assert!(readings(&three, |place| place == 1).is_ok());
    }
}
