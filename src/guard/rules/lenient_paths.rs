//! The paths of all rules as lenient APIs compare them, and the other paths that some APIs take for them.

use super::{
    ambiguous::Leniency,
    path_tree::PathTree,
    readings::{dots, ends, is_script, without_scripts},
    rule::Rule,
    shape::{Part, contains, matches},
};

/// Finds the rules that an API may mean by a path.
#[derive(Debug, Clone)]
pub(super) struct LenientPaths(PathTree<Paths>);

/// The patterns that a lenient API does not distinguish. The numbers are places among the rules.
#[derive(Debug, Clone, Default)]
struct Paths {
    shape: Vec<Part>,
    /// Rules whose path this is.
    patterns: Vec<usize>,
    /// Whether one of these paths is without a trailing slash, and whether one is with it.
    slashes: [bool; 2],
    /// Rules for whose path some API takes this one.
    forms: Vec<(Leniency, usize)>,
}

/// Rules of which an API may apply those for the method of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Competing<'a> {
    /// The path is theirs, for a lenient API.
    Patterns(&'a [usize]),
    Forms(&'a [(Leniency, usize)]),
}

impl LenientPaths {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut tree = PathTree::default();
        for (number, rule) in rules.iter().enumerate() {
            let own = rule.pattern.shape();
            let paths_of_rule = paths(&mut tree, own);
            paths_of_rule.patterns.push(number);
            paths_of_rule.slashes[usize::from(rule.pattern.ends_in_slash())] = true;
            for (how, shape) in forms(own).into_iter().filter(|(_, shape)| shape != own) {
                let forms = &mut paths(&mut tree, &shape).forms;
                if forms.last().is_none_or(|(_, known)| *known != number) {
                    forms.push((how, number));
                }
            }
        }
        Self(tree)
    }

    /// The rules that an API may apply to a path, apart from broader ones: the most specific pattern prevails, for the API as well.
    ///
    /// `decided` is the pattern of the rule that decides. If it matches the path, it does so for every API, and none applies a broader one. If the
    /// path is one that the API has made of it, the first pattern for that path takes its place.
    pub(super) fn competing<'a>(&'a self, path: &[&str], is_folder: bool, ends_in_slash: bool, decided: &[Part]) -> Vec<Competing<'a>> {
        let mut found = self.0.matches(path);
        let first = found.iter().copied().find(|paths| !paths.patterns.is_empty()).map(|paths| paths.shape.as_slice());
        if let Some(prevailing) = own_form(decided, path, is_folder).or(first) {
            found.retain(|paths| paths.shape == prevailing || !contains(&paths.shape, prevailing));
        }
        let competing = found.into_iter().flat_map(|paths| {
            // Where a rule is for `/files`, that is the form of no other path. But `/files/` can be one: of `/files/{*path}`, for an API that
            // accepts an empty rest, and that does not take `/files` for `/files/`.
            let has_forms = !paths.slashes[usize::from(ends_in_slash)] && paths.shape != decided;
            [Competing::Patterns(&paths.patterns), Competing::Forms(if has_forms { &paths.forms } else { &[] })]
        });
        competing.filter(|competing| !competing.is_empty()).collect()
    }

    /// The rules that an API may apply to a path that no rule matches as it was sent, by the most specific pattern.
    pub(super) fn nearest(&self, path: &[&str]) -> Option<Competing<'_>> {
        self.competing(path, false, false, &[]).into_iter().next()
    }

    /// Whether a rule is for this path.
    pub(super) fn has_rule(&self, path: &[&str]) -> bool {
        self.0.matches(path).iter().any(|paths| !paths.patterns.is_empty())
    }
}

impl<'a> Competing<'a> {
    const fn is_empty(self) -> bool {
        match self {
            Self::Patterns(rules) => rules.is_empty(),
            Self::Forms(rules) => rules.is_empty(),
        }
    }

    /// The places of the rules, and how an API gets to those whose path this is not.
    pub(super) fn rules(self) -> impl Iterator<Item = (Option<Leniency>, usize)> + Clone {
        let (patterns, forms): (&[usize], &[(Leniency, usize)]) = match self {
            Self::Patterns(rules) => (rules, &[]),
            Self::Forms(rules) => (&[], rules),
        };
        let forms = forms.iter().map(|(how, number)| (Some(*how), *number));
        patterns.iter().map(|number| (None, *number)).chain(forms)
    }
}

/// The pattern if it matches a path, or, for a folder, without the names at its end.
fn own_form<'d>(decided: &'d [Part], path: &[&str], is_folder: bool) -> Option<&'d [Part]> {
    match decided {
        _ if matches(decided, path) => Some(decided),
        [before @ .., Part::Name | Part::Rest] if is_folder => own_form(before, path, is_folder),
        _ => None,
    }
}

fn paths<'t>(tree: &'t mut PathTree<Paths>, shape: &[Part]) -> &'t mut Paths {
    let paths = tree.entry(shape);
    if paths.shape != shape {
        paths.shape = shape.to_vec();
    }
    paths
}

/// The paths that some API takes for those of a pattern.
fn forms(shape: &[Part]) -> Vec<(Leniency, Vec<Part>)> {
    let mut found = Vec::new();
    // A pattern has few enough scripts.
    let without = without_scripts(shape, |_| false).unwrap_or_default();
    // A file is run for all paths below it, but it is not one of those.
    let without = without.into_iter().filter(|reading| reading.how != Leniency::BelowFile);
    let folder = ends(shape).into_iter().filter(|reading| reading.is_folder);
    let others = without.chain(folder).map(|reading| (Some(reading.how), reading.segments));
    for (mut how, segments) in [(None, shape.to_vec())].into_iter().chain(others) {
        // In many routers, the last names of a pattern can be optional, and a rest can be empty.
        for len in (0..=segments.len()).rev() {
            let segments = &segments[..len];
            let named = |default: Leniency| how.unwrap_or(default);
            found.extend(how.map(|how| (how, segments.to_vec())));
            found.extend(ends(segments).into_iter().map(|reading| (named(reading.how), reading.segments)));
            found.extend(below_file(segments).into_iter().map(|below| (named(Leniency::BelowFile), below)));
            if !matches!(segments.last(), Some(Part::Name | Part::Rest)) {
                break;
            }
            how = Some(named(Leniency::MissingSegment));
        }
    }
    found
}

/// The paths below what the last text names, if that is a file. Some servers find `/admin.php` as `/admin`, also for paths below it.
fn below_file(segments: &[Part]) -> Vec<Vec<Part>> {
    let Some((Part::Text(file), before)) = segments.split_last() else { return Vec::new() };
    let below = |name: &str| [before, &[Part::Text(name.to_owned()), Part::Rest]].concat();
    let stem = file.rsplit_once('.').filter(|_| is_script(file)).map(|(stem, _)| stem);
    let file = dots(file).next().map(|_| file.as_str());
    file.into_iter().chain(stem).map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::pattern::Pattern, super::shape::Shown, *};

    #[test]
    fn gd3_the_forms_of_a_pattern_are_what_some_api_takes_for_it() {
        for (pattern, expected) in [
            ("/", &[][..]),
            ("/orders", &[]),
            ("/.well-known/jwks", &[]),
            ("/orders/{id}", &["/orders"]),
            ("/{tenant}/{*rest}", &["/{name0}", "/"]),
            ("/orders/{id}/items", &[]),
            ("/v1.2", &["/v1", "/v1.2/{*rest}"]),
            ("/admin/index.HTML/", &["/admin/index", "/admin", "/admin/index.html/{*rest}"]),
            ("/x.cgi", &["/x", "/", "/x.cgi/{*rest}", "/x/{*rest}"]),
            ("/app.php/{id}", &["/app.php", "/app", "/", "/app.php/{*rest}", "/app/{*rest}", "/{name0}", "/app/{name1}"]),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            let mut found: Vec<String> = Vec::new();
            for (_, shape) in forms(pattern.shape()) {
                let shown = Shown(&shape).to_string();
                if !found.contains(&shown) {
                    found.push(shown);
                }
            }
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
