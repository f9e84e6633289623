//! The quick way from files to a configuration: tenant by tenant, and only what is new.
//!
//! It takes a configuration that has nothing wrong with it and nothing unusual about it. Anything else it leaves to
//! `load`, which reads the whole as one and tells what is wrong; so there is no mistake that this file would tell.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, Hash},
    io::Seek as _,
    path::Path,
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::{
    Config, Policy, Route, Routes,
    files::{BYTES_MAX, FILES_MAX, Opened, Seen, Signature, Trace},
    interpolate::Env,
    leaf::FilePattern,
    load::matching,
    pieces::{Piece, Pieces},
    policy::Policies,
    raw::{RawConfig, RawInclude},
    reader::{Field, Named, Reader, Table},
    routes::FileRoutes,
    syntax,
    validate::{self, Checker},
};

/// What the last good load made of the files. The environment is taken to be the same each time, as that of a process is.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    main: Option<Main>,
    /// Of all files in the order of reading, the main one first.
    files: Vec<Known>,
    policies: Option<Policies>,
}

/// All of the main file but its tenants.
#[derive(Debug, Clone)]
struct Main {
    edge: Config,
    include: Vec<FilePattern>,
}

impl Remembered {
    #[cfg(test)]
    pub(super) fn holds(&self) -> bool {
        self.main.is_some()
    }
}

/// The tenants of a file.
#[derive(Debug, Clone)]
struct Known {
    seen: Seen,
    /// The hash of each one's text.
    texts: Vec<u64>,
    routes: FileRoutes,
}

/// A load under way.
struct Loading<'a> {
    env: Env<'a>,
    known: &'a [Known],
    in_order: InOrder<&'a Path>,
    taken: HashSet<(u64, u64)>,
    policies: Policies,
    /// What had to be read.
    fresh: Vec<Arc<Route>>,
    bytes: u64,
    trace: &'a mut Trace,
}

/// Loads the file at `path` and what it includes, or leaves that to somebody else. The trace tells what was looked at.
pub(super) fn load(
    path: &Path,
    env: Env<'_>,
    remembered: &Remembered,
    trace: &mut Trace,
) -> Option<(Config, Remembered)> {
    let mut known = &remembered.files[..];
    let mut policies = remembered.policies.clone();
    let unchanged = known.first().is_some_and(|file| file.seen.is_still(path));
    let (main, opened, cut) = match &remembered.main {
        Some(main) if unchanged => (main.clone(), None, None),
        _ => {
            let mut opened = Opened::open(path).ok()?;
            let (main, defaults, cut) = main_of(&mut opened, env, trace)?;
            // Routes that were made with others aren't what they would be now.
            if !matches!(&policies, Some(policies) if *policies.defaults == defaults) {
                (policies, known) = (Some(Policies::new(defaults)), &[]);
            }
            (main, Some(opened), Some(cut))
        }
    };
    let mut policies = policies?;
    policies.forget_unused();
    let mut loading = Loading {
        env,
        known,
        in_order: InOrder::default(),
        taken: HashSet::new(),
        policies,
        fresh: Vec::new(),
        bytes: 0,
        trace,
    };
    let mut files = Vec::new();
    let tenants = cut.as_ref().map_or(0, |cut| cut.tenants);
    loading
        .fresh
        .reserve_exact(tenants.saturating_sub(known.first().map_or(0, |main| main.texts.len())));
    loading.file(path, opened, Some(tenants), &mut files)?;
    if cut.is_some_and(|cut| loading.trace.seen[0].content != Some(cut.digest)) {
        return None; // somebody is writing it
    }
    for pattern in &main.include {
        let (paths, errors) = matching(path, pattern, loading.trace);
        if !errors.is_empty() {
            return None;
        }
        for path in paths {
            loading.file(&path, None, None, &mut files)?;
        }
    }
    let routes = files.iter().map(|file| Arc::clone(&file.routes));
    let routes = Routes::of_files(routes.collect());
    if !are_distinct(&routes, &loading.fresh) {
        return None;
    }
    let policies = Some(loading.policies);
    let config = Config {
        routes,
        ..main.edge.clone()
    };
    let main = Some(main);
    let remembered = Remembered {
        main,
        files,
        policies,
    };
    Some((config, remembered))
}

/// What is known of the main file once it was read for the first time.
struct Cut {
    digest: u64,
    tenants: usize,
}

/// The main file without its tenants, and what it says for all of them.
fn main_of(opened: &mut Opened, env: Env<'_>, trace: &Trace) -> Option<(Main, Policy, Cut)> {
    let mut rest = String::new();
    let mut tenants = 0;
    let mut pieces = Pieces::of(&opened.file, trace.digest());
    while let Some(piece) = pieces.next().ok()? {
        match piece {
            Piece::Tenant(_) => tenants += 1,
            Piece::Rest(text) => rest.push_str(text),
        }
    }
    let cut = Cut {
        digest: pieces.digest.value(),
        tenants,
    };
    opened.file.rewind().ok()?;
    let mut raw: RawConfig = read(&rest, env)?;
    if !raw.routes.is_absent() {
        return None;
    }
    let patterns = std::mem::replace(&mut raw.include, Field::Absent).given();
    let patterns = patterns.map(|many| many.items).unwrap_or_default();
    let mut diagnostics = Vec::new();
    let (edge, defaults) = validate::edge(raw, &mut Checker::new(&mut diagnostics));
    let main = Main {
        edge,
        include: patterns.into_iter().map(|pattern| pattern.value).collect(),
    };
    diagnostics.is_empty().then_some((main, defaults, cut))
}

/// A text by itself, if there is nothing wrong with it.
fn read<T: Table>(text: &str, env: Env<'_>) -> Option<T> {
    let (mut diagnostics, mut broken) = (Vec::new(), Vec::new());
    let tree = syntax::parse(0, text, &mut diagnostics, &mut broken);
    let raw = Reader::new(0, text, env, &mut diagnostics).table(tree.get_ref(), None);
    (diagnostics.is_empty() && broken.is_empty()).then_some(raw)
}

impl Loading<'_> {
    /// Adds the tenants of one file, unless it has been taken by another name. Of the main one it is known how many it has.
    fn file(
        &mut self,
        path: &Path,
        opened: Option<Opened>,
        main: Option<usize>,
        files: &mut Vec<Known>,
    ) -> Option<()> {
        let signature = Signature::now(path)?;
        if !self.taken.insert(signature.identity()) {
            return Some(());
        }
        if files.len() > FILES_MAX {
            return None;
        }
        let known = self.known;
        let at = |index: usize| Some(known.get(index)?.seen.path.as_path());
        let index = self.in_order.find(path, at);
        let known = index.map(|index| &known[index]);
        let file = match known {
            Some(known) if opened.is_none() && known.seen.signature == Some(signature) => {
                self.bytes += signature.bytes();
                known.clone()
            }
            _ => {
                let opened = match opened {
                    Some(opened) => opened,
                    // It was what it had been a moment ago, and what else it says now nobody has read.
                    None if main.is_some() => return None,
                    None => Opened::open(path).ok()?,
                };
                self.tenants(path, &opened, main, known)?
            }
        };
        self.trace.seen.push(file.seen.clone());
        files.push(file);
        (self.bytes <= BYTES_MAX).then_some(())
    }

    /// The tenants of a file: those that were there before, and those that have to be read.
    fn tenants(
        &mut self,
        path: &Path,
        opened: &Opened,
        main: Option<usize>,
        known: Option<&Known>,
    ) -> Option<Known> {
        let mut pieces = Pieces::of(&opened.file, self.trace.digest());
        // Lists that grow would leave what they outgrew behind.
        let tenants = main.or(known.map(|known| known.texts.len()));
        let mut texts = Vec::with_capacity(tenants.unwrap_or(1));
        let mut routes = Vec::with_capacity(tenants.unwrap_or(1));
        let mut in_order = InOrder::default();
        let mut taken = vec![false; known.map_or(0, |known| known.texts.len())];
        while let Some(piece) = pieces.next().ok()? {
            let text = match piece {
                Piece::Tenant(text) => text,
                Piece::Rest(_) if main.is_some() => continue, // `main_of` has read it
                Piece::Rest(text) => {
                    let raw: RawInclude = read(text, self.env)?;
                    raw.routes.is_absent().then_some(())?;
                    continue;
                }
            };
            let hash = self.trace.hash(text);
            let at = |index: usize| known?.texts.get(index).copied();
            let route = match (known, in_order.find(&hash, at)) {
                (Some(known), Some(index)) => {
                    if std::mem::replace(&mut taken[index], true) {
                        return None; // the same tenant twice
                    }
                    Arc::clone(&known.routes[index])
                }
                _ => {
                    let route = self.tenant(text)?;
                    // A comment may be all that is new.
                    let next = in_order.next;
                    let old = known.and_then(|known| known.routes.get(next));
                    let route = match old {
                        Some(old) if **old == route && !taken[next] => {
                            taken[next] = true;
                            Arc::clone(old)
                        }
                        _ => Arc::new(route),
                    };
                    self.fresh.push(Arc::clone(&route));
                    route
                }
            };
            texts.push(hash);
            routes.push(route);
        }
        self.bytes += pieces.bytes;
        let seen = Seen {
            path: path.to_owned(),
            content: Some(pieces.digest.value()),
            signature: opened.signature,
        };
        let routes = routes.into();
        Some(Known {
            seen,
            texts,
            routes,
        })
    }

    fn tenant(&mut self, text: &str) -> Option<Route> {
        let raw: RawInclude = read(text, self.env)?;
        let Named(named) = raw.routes.given()?;
        let [(tenant, raw)] = <[_; 1]>::try_from(named).ok()?;
        let mut diagnostics = Vec::new();
        let mut checker = Checker::new(&mut diagnostics);
        let route = checker.route(tenant, raw, &mut Vec::new(), &mut self.policies);
        diagnostics.is_empty().then_some(route)
    }
}

/// Whether names and hosts are unique, where those of all routes that aren't fresh are. Too careful rather than not
/// enough: it compares hashes.
fn are_distinct(routes: &Routes, fresh: &[Arc<Route>]) -> bool {
    let hasher = RandomState::default();
    let tenant = |route: &Route| hasher.hash_one(&route.tenant);
    let (mut tenants, mut hosts) = (Taken::default(), Taken::default());
    for route in fresh {
        let twice = !tenants.insert(tenant(route));
        if twice
            || !route
                .hosts
                .iter()
                .all(|host| hosts.insert(hasher.hash_one(host)))
        {
            return false;
        }
    }
    if fresh.len() == routes.len() {
        return true;
    }
    let is_fresh: HashSet<*const Route, RandomState> = fresh.iter().map(Arc::as_ptr).collect();
    let others = routes
        .iter()
        .filter(|route| !is_fresh.contains(&Arc::as_ptr(route)));
    others.into_iter().all(|route| {
        let taken = |host| hosts.contains(&hasher.hash_one(host));
        !tenants.contains(&tenant(route)) && !route.hosts.iter().any(taken)
    })
}

type Taken = HashSet<u64, RandomState>;

/// Finds things in a list in which they are mostly asked for in their order.
#[derive(Debug)]
struct InOrder<K> {
    next: usize,
    places: Option<HashMap<K, usize, RandomState>>,
}

impl<K> Default for InOrder<K> {
    fn default() -> Self {
        Self {
            next: 0,
            places: None,
        }
    }
}

impl<K: Hash + Eq> InOrder<K> {
    /// The list is what `at` gives for 0 and so on, up to where it gives nothing.
    fn find<Q>(&mut self, key: &Q, at: impl Fn(usize) -> Option<K>) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let index = if at(self.next).is_some_and(|next| next.borrow() == key) {
            self.next
        } else {
            let all = || (0..).map_while(|index| Some((at(index)?, index))).collect();
            *self.places.get_or_insert_with(all).get(key)?
        };
        self.next = index + 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::super::{ConfigErrors, Source, load as whole, write_aged};
    use super::*;

    struct Files {
        directory: tempfile::TempDir,
        source: Source,
        writes: u64,
    }

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let source = Source::new(directory.path().join("proxy.toml"));
            Self {
                directory,
                source,
                writes: 0,
            }
        }

        /// So long ago that its times can be relied on, and later than the last.
        fn write(&mut self, name: &str, text: &str) {
            let path = self.directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            self.writes += 1;
            write_aged(&path, text, 1_000_000 - self.writes);
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.directory.path().join(name)).unwrap();
        }

        /// As `Source` has it, which is as reading the whole anew would have it.
        fn load(&mut self) -> Result<Config, String> {
            let path = self.directory.path().join("proxy.toml");
            let told = |errors: ConfigErrors| errors.render(false);
            let nothing = Routes::default();
            let whole = whole::load(&path, None, &environment, &nothing, &mut Trace::default());
            let loaded = self.source.load(&environment);
            assert_eq!(
                loaded.as_ref().ok(),
                whole.as_ref().ok(),
                "the quick way and the other"
            );
            assert!(!self.source.changed(), "nobody has written");
            loaded.map_err(told)
        }

        fn remembers(&self) -> bool {
            self.source.remembers()
        }
    }

    fn environment(name: &str) -> Option<String> {
        (name == "PORT").then(|| "8000".to_owned())
    }

    fn tenant(name: &str, more: &str) -> String {
        format!(
            "[routes.{name}]\nhosts = \"{name}.local\"\nupstream = \"http://{name}:${{PORT}}\"\n{more}"
        )
    }

    fn named<'c>(config: &'c Config, name: &str) -> &'c Arc<Route> {
        let mut routes = config.routes.iter();
        routes.find(|route| &*route.tenant == name).unwrap()
    }

    #[test]
    fn only_what_changed_is_read() {
        let mut files = Files::new();
        let [a, b, c] = ["a", "b", "c"].map(|name| tenant(name, ""));
        files.write("proxy.toml", &format!("include = \"t/*.toml\"\n{a}{b}"));
        files.write("t/c.toml", &c);
        let first = files.load().unwrap();
        assert!(files.remembers());
        let edited = tenant("b", "retries = 0\n");
        let new = tenant("new", "");
        files.write(
            "proxy.toml",
            &format!("include = \"t/*.toml\"\n{new}{a}{edited}[log]\nlevel = \"warn\"\n"),
        );
        let second = files.load().unwrap();
        assert!(files.remembers());
        let same = |name| Arc::ptr_eq(named(&first, name), named(&second, name));
        assert!(same("a") && same("c") && !same("b"));
        let names: Vec<_> = second.routes.iter().map(|route| &*route.tenant).collect();
        assert_eq!(names, ["new", "a", "b", "c"]);
    }

    #[test]
    fn a_comment_changes_no_tenant() {
        let mut files = Files::new();
        files.write("proxy.toml", &tenant("a", ""));
        let first = files.load().unwrap();
        files.write("proxy.toml", &tenant("a", "# mine\n"));
        let second = files.load().unwrap();
        assert!(Arc::ptr_eq(named(&first, "a"), named(&second, "a")));
    }

    #[test]
    fn new_defaults_are_everybodys() {
        let mut files = Files::new();
        files.write(
            "proxy.toml",
            &format!("include = \"t.toml\"\n{}", tenant("a", "")),
        );
        files.write("t.toml", &tenant("b", "balance = \"client_ip\"\n"));
        files.load().unwrap();
        let defaults = "[defaults]\nretries = 5\n";
        files.write(
            "proxy.toml",
            &format!("include = \"t.toml\"\n{}{defaults}", tenant("a", "")),
        );
        let config = files.load().unwrap();
        assert!(config.routes.iter().all(|route| route.policy.retries == 5));
    }

    #[test]
    fn what_a_file_has_lost_is_found_in_another() {
        let mut files = Files::new();
        files.write("proxy.toml", "include = \"t/*.toml\"\n");
        files.write("t/1.toml", &(tenant("a", "") + &tenant("b", "")));
        files.write("t/2.toml", "# nobody yet\n");
        files.load().unwrap();
        files.write("t/1.toml", &tenant("a", ""));
        files.write("t/2.toml", &tenant("b", ""));
        assert_eq!(files.load().unwrap().routes.len(), 2);
        files.remove("t/1.toml");
        assert_eq!(files.load().unwrap().routes.len(), 1);
        assert!(files.remembers());
    }

    #[test]
    fn mistakes_are_left_to_whoever_tells_them() {
        let good = tenant("a", "");
        for (text, told) in [
            (
                format!("{good}[routes.b]\nhosts = \"a.local\"\nupstream = \"http://b:1\"\n"),
                "belongs to two routes",
            ),
            (
                format!("{good}{}[log]\n{good}", tenant("b", "")),
                "defined twice",
            ),
            (format!("{good}[log]\n[log]\n"), "defined twice"),
            (format!("{good}[routes.b]\n"), "has no `hosts`"),
            (
                format!("{good}[routes.a.limits]\nbody = [\n[routes.b]\n]\n"),
                "expected",
            ),
            (
                format!("{good}[routes.b]\nhosts = [\"b\", \"b\"]\nupstream = \"http://b:1\"\n"),
                "in the list twice",
            ),
            (format!("{good}  [lgo]\n"), "unknown"),
            (format!("listen = 1\n{good}"), "a port alone"),
        ] {
            let mut files = Files::new();
            files.write("proxy.toml", &good);
            let before = files.load().unwrap();
            files.write("proxy.toml", &text);
            let errors = files.load().unwrap_err();
            assert!(errors.contains(told), "{text}\n{errors}");
            files.write("proxy.toml", &good);
            let after = files.load().unwrap();
            assert!(
                Arc::ptr_eq(named(&before, "a"), named(&after, "a")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_unusual_is_read_all_the_same() {
        for text in [
            "routes.a = { hosts = \"a\", upstream = \"http://a:1\" }\n",
            "[routes]\na.hosts = \"a\"\na.upstream = \"http://a:1\"\n",
            "[ routes . a ]\nhosts = \"a\"\nupstream = \"http://a:1\"\n",
            "[routes.\"a\"]\nhosts = \"a\"\nupstream = \"http://a:1\"\n",
            "[routes.a]\nhosts = \"\"\"a\"\"\"\nupstream = \"http://a:1\"\n",
        ] {
            let mut files = Files::new();
            files.write("proxy.toml", text);
            let first = files
                .load()
                .unwrap_or_else(|errors| panic!("{text}{errors}"));
            assert!(!files.remembers(), "{text}");
            files.write("proxy.toml", &format!("{text}# new\n"));
            let second = files.load().unwrap();
            assert!(
                Arc::ptr_eq(named(&first, "a"), named(&second, "a")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tenant_that_is_there_with_and_without_a_comment_is_there_twice() {
        let (plain, commented) = (tenant("a", ""), tenant("a", "# mine\n"));
        let other = tenant("b", "");
        for text in [
            format!("{commented}{other}{plain}"),
            format!("{plain}{other}{commented}"),
        ] {
            let mut files = Files::new();
            files.write("proxy.toml", &format!("{plain}{other}"));
            files.load().unwrap();
            files.write("proxy.toml", &text);
            let errors = files.load().unwrap_err();
            assert!(errors.contains("defined twice"), "{errors}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// Whole tenants that come, go, move and are there twice.
        #[test]
        fn tenants_move_as_they_like(
            edits in prop::collection::vec((0..3_usize, prop::collection::vec(0..6_usize, 0..4)), 1..8)
        ) {
            let [a, b, c] = ["a", "b", "c"].map(|name| tenant(name, ""));
            let blocks = [tenant("a", "# mine\n"), tenant("b", "# mine\n"), tenant("b", "retries = 0\n"), a, b, c];
            let mut files = Files::new();
            files.write("t/0.toml", "");
            for (file, chosen) in edits {
                let text: String = chosen.iter().map(|block| blocks[*block].as_str()).collect();
                match file {
                    0 => files.write("proxy.toml", &format!("include = \"t/*.toml\"\n{text}")),
                    file => files.write(&format!("t/{file}.toml"), &text),
                }
                let _ = files.load();
            }
        }

        /// Lines in any order, of which many are mistakes together, written over and over.
        #[test]
        fn the_quick_way_leads_where_the_other_does(
            edits in prop::collection::vec((0..3_usize, prop::collection::vec(0..14_usize, 0..6)), 1..6)
        ) {
            let lines = [
                "[routes.a]", "[routes.b]", "[routes.c]", "[routes.a.timeouts]", "[[routes.b.paths]]", "[log]",
                "[defaults]", "hosts = \"h\"\nupstream = \"http://u:1\"", "hosts = \"i\"\nupstream = [\"http://u:2\"]",
                "hosts = [\n\"h\"]", "retries = 3", "connect = \"1s\"", "prefix = \"/x\"\nupstream = \"http://p:1\"", "# [routes.a]",
            ];
            let mut files = Files::new();
            files.write("t/0.toml", "");
            for (file, chosen) in edits {
                let text: String = chosen.iter().map(|line| format!("{}\n", lines[*line])).collect();
                match file {
                    0 => files.write("proxy.toml", &format!("include = \"t/*.toml\"\n{text}")),
                    file => files.write(&format!("t/{file}.toml"), &text),
                }
                let _ = files.load();
            }
        }
    }
}
