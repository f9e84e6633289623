//! What has been counted and what has been written, and the difference, which is written next.
//!
//! A line holds all that a tenant's requests of one hour add up to, so that whatever couldn't be written is made up for by
//! the next line that can. It never looks at a clock.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    io, mem,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    file::LedgerFile,
    line::{Hour, Line, Totals},
};
use crate::{bulkhead::Bulkhead, snapshot::Route};

/// Lines of past hours that couldn't be written yet. Beyond them the hours are wrong, but not what they add up to.
const PAST_MAX: usize = 256 * 1024;

/// How often it is said that nothing can be written.
const SAID_EVERY: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug)]
pub(super) struct Books {
    run: String,
    file: LedgerFile,
    /// By the address of the bulkhead, of those that have counted something.
    accounts: HashMap<usize, Account>,
    hour: Hour,
    /// Of that hour, by tenant.
    lines: HashMap<Arc<str>, Line>,
    /// Of hours before it, which couldn't be written yet.
    past: Vec<Line>,
    failing: Option<Failing>,
}

/// Counters, and how much of what they say stands in lines.
#[derive(Debug)]
struct Account {
    tenant: Arc<str>,
    bulkhead: Arc<Bulkhead>,
    seen: Totals,
}

#[derive(Debug)]
struct Failing {
    said: Timestamp,
}

impl Books {
    pub(super) fn open(file: LedgerFile, now: Timestamp) -> Self {
        // The hasher's keys are random, and nothing more is asked of a name that has to be another one each time.
        let run = RandomState::new().hash_one(std::process::id());
        Self {
            run: format!("{run:016x}"),
            file,
            accounts: HashMap::new(),
            hour: Hour::of(now),
            lines: HashMap::new(),
            past: Vec::new(),
            failing: None,
        }
    }

    /// What was counted until now isn't written here.
    pub(super) fn begin_with<'a>(&mut self, routes: impl Iterator<Item = &'a Arc<Route>>) {
        self.look_at(routes);
        for account in self.accounts.values_mut() {
            account.seen = account.counted();
        }
    }

    /// Opens accounts for those that have counted something.
    pub(super) fn look_at<'a>(&mut self, routes: impl Iterator<Item = &'a Arc<Route>>) {
        for route in routes.filter(|route| route.bulkhead().has_traffic()) {
            self.account(route.tenant(), route.bulkhead());
        }
    }

    /// The account is kept until nobody can count any more.
    pub(super) fn account(&mut self, tenant: &Arc<str>, bulkhead: &Arc<Bulkhead>) {
        let address = Arc::as_ptr(bulkhead).addr();
        self.accounts.entry(address).or_insert_with(|| Account {
            tenant: Arc::clone(tenant),
            bulkhead: Arc::clone(bulkhead),
            seen: Totals::default(),
        });
    }

    /// Counts and writes. Blocks for as long as the disk takes.
    pub(super) fn post(&mut self, now: Timestamp) {
        self.turn_to(Hour::of(now));
        self.count();
        let written = self.write();
        let path = self.file.path().display();
        match written {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::info!(%path, "usage is written again, nothing is missing");
                }
            }
            Err(error) => {
                let said = self.failing.as_ref().map(|failing| failing.said);
                if said.is_none_or(|said| now.duration_since(said).abs() >= SAID_EVERY) {
                    tracing::warn!(%path, %error, "can't write usage, counting on");
                    self.failing = Some(Failing { said: now });
                }
            }
        }
    }

    /// Writes to another file from now on. What the old one hasn't got goes there too.
    pub(super) fn move_to(&mut self, file: LedgerFile) {
        self.file = file;
        self.lose_places();
        self.failing = None;
    }

    /// Lines that the file hasn't got, or not as they are.
    pub(super) fn due(&self) -> usize {
        let lines = self.lines.values().chain(&self.past);
        lines.filter(|line| line.is_due()).count()
    }

    fn turn_to(&mut self, hour: Hour) {
        if hour == self.hour || self.past.len() >= PAST_MAX {
            return;
        }
        self.hour = hour;
        let lines = mem::take(&mut self.lines).into_values();
        self.past.extend(lines.filter(Line::is_due));
    }

    fn count(&mut self) {
        let (lines, hour) = (&mut self.lines, self.hour);
        self.accounts.retain(|_, account| {
            // Asked first: what is counted then is all that there will be.
            let nobody_counts = Arc::get_mut(&mut account.bulkhead).is_some();
            let counted = account.counted();
            let more = counted.since(account.seen);
            if more != Totals::default() {
                account.seen = counted;
                let tenant = &account.tenant;
                let line = lines
                    .entry(Arc::clone(tenant))
                    .or_insert_with(|| Line::new(hour, Arc::clone(tenant)));
                line.totals.add(more);
            }
            !nobody_counts
        });
    }

    fn write(&mut self) -> io::Result<()> {
        if self.due() == 0 {
            return Ok(());
        }
        if self.file.follow()? {
            self.lose_places();
        }
        let lines = self.lines.values_mut().chain(&mut self.past);
        let due = lines.filter(|line| line.is_due());
        let written = self.file.write(&self.run, due);
        self.past.retain(Line::is_due);
        written
    }

    fn lose_places(&mut self) {
        let lines = self.lines.values_mut().chain(&mut self.past);
        lines.for_each(Line::lose_place);
    }
}

impl Account {
    fn counted(&self) -> Totals {
        let sums = self.bulkhead.sums();
        sums.map_or_else(Totals::default, |sums| Totals::of(&sums))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::{super::file::tests::Directory, super::read::read, *};
    use crate::{config::TenantLimits, telemetry::access_log};

    fn at(time: &str) -> Timestamp {
        format!("2026-11-27T{time}Z").parse().unwrap()
    }

    fn bulkhead() -> Arc<Bulkhead> {
        Arc::new(Bulkhead::new(&TenantLimits::default()))
    }

    fn ask(bulkhead: &Bulkhead, requests: u64) {
        let line = access_log::Line {
            bytes_in: 3,
            upstream: Some(Duration::from_micros(1_500_001)),
            ..access_log::Line::example()
        };
        for _ in 0..requests {
            bulkhead.traffic().count(0, 1, || Duration::ZERO, &line);
        }
    }

    /// Hour, tenant and requests of each line, in the order of hours and tenants.
    fn entries(directory: &Directory) -> Vec<String> {
        let mut entries = Vec::new();
        read(&directory.path(), |entry| {
            let Totals { requests, .. } = entry.totals;
            assert_eq!(
                entry.totals,
                Totals {
                    requests,
                    bytes_in: 3 * requests,
                    bytes_out: 1234 * requests,
                    upstream_us: 1_500_001 * requests,
                }
            );
            let hour = &entry.hour.to_string()[11..13];
            entries.push(format!("{hour} {} {requests}", entry.tenant));
        })
        .unwrap();
        entries.sort();
        entries
    }

    struct Stage {
        directory: Directory,
        books: Books,
        thor: Arc<Bulkhead>,
    }

    /// At six o'clock, with one tenant.
    fn stage() -> Stage {
        let directory = Directory::new();
        let mut books = Books::open(directory.open(), at("06:00:00"));
        let thor = bulkhead();
        books.account(&"thor".into(), &thor);
        Stage {
            directory,
            books,
            thor,
        }
    }

    #[test]
    fn an_hour_is_a_line_however_often_it_is_written() {
        let Stage {
            directory,
            mut books,
            thor,
        } = stage();
        books.post(at("06:00:01"));
        assert_eq!(directory.text(), "", "nobody has asked");
        for second in 2..5 {
            ask(&thor, 2);
            books.post(at(&format!("06:00:0{second}")));
        }
        books.post(at("07:30:00"));
        assert_eq!(entries(&directory), ["06 thor 6"], "nobody has asked since");
        ask(&thor, 1);
        books.post(at("08:00:00"));
        assert_eq!(entries(&directory), ["06 thor 6", "08 thor 1"]);
        assert_eq!(books.lines.len(), 1, "the past is in the file");
        // Whoever sets the clock back has had those hours twice.
        ask(&thor, 1);
        books.post(at("06:59:59"));
        assert_eq!(entries(&directory), ["06 thor 1", "06 thor 6", "08 thor 1"]);
    }

    #[test]
    fn who_was_removed_counts_until_the_last_request_has_ended() {
        let Stage {
            directory,
            mut books,
            thor,
        } = stage();
        let in_flight = Arc::clone(&thor);
        ask(&thor, 1);
        drop(thor);
        books.post(at("06:00:01"));
        // One of the same name comes in its stead.
        let next = bulkhead();
        books.account(&"thor".into(), &next);
        ask(&next, 10);
        books.post(at("06:00:02"));
        assert_eq!(books.accounts.len(), 2);
        ask(&in_flight, 1);
        drop(in_flight);
        books.post(at("06:00:03"));
        assert_eq!(entries(&directory), ["06 thor 12"]);
        assert_eq!(books.accounts.len(), 1);
        drop(next);
        books.post(at("06:00:04"));
        assert_eq!(books.accounts.len(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_made_up_for() {
        let Stage {
            directory,
            mut books,
            thor,
        } = stage();
        ask(&thor, 1);
        books.post(at("06:00:01"));
        books.file = LedgerFile::broken(&directory.path());
        for hour in ["06", "07", "08"] {
            ask(&thor, 1);
            books.post(at(&format!("{hour}:30:00")));
        }
        assert_eq!(entries(&directory), ["06 thor 1"]);
        assert_eq!((books.due(), books.past.len()), (3, 2));
        assert!(books.failing.is_some());
        books.file = directory.open();
        books.post(at("08:30:01"));
        let all = ["06 thor 2", "07 thor 1", "08 thor 1"];
        assert_eq!(entries(&directory), all);
        assert_eq!((books.due(), books.past.len()), (0, 0));
        assert!(books.failing.is_none());
    }

    #[test]
    fn another_file_gets_what_the_first_one_has_not() {
        let Stage {
            directory,
            mut books,
            thor,
        } = stage();
        ask(&thor, 1);
        books.post(at("06:00:01"));
        ask(&thor, 2);
        books.post(at("06:00:02"));
        books.file = LedgerFile::broken(&directory.path());
        ask(&thor, 4);
        books.post(at("06:00:03"));
        let second = Directory::new();
        books.move_to(second.open());
        ask(&thor, 8);
        books.post(at("06:00:04"));
        assert_eq!(entries(&directory), ["06 thor 3"]);
        assert_eq!(entries(&second), ["06 thor 12"]);
    }

    #[test]
    fn a_file_that_is_renamed_keeps_what_it_has() {
        let Stage {
            directory,
            mut books,
            thor,
        } = stage();
        ask(&thor, 1);
        books.post(at("06:00:01"));
        let old = directory.text();
        let moved = directory.path().with_extension("old");
        fs::rename(directory.path(), &moved).unwrap();
        ask(&thor, 2);
        books.post(at("06:00:02"));
        assert_eq!(entries(&directory), ["06 thor 2"]);
        fs::rename(moved, directory.path()).unwrap();
        assert_eq!(directory.text(), old);
    }

    #[test]
    fn what_was_counted_before_it_began_is_not_in_it() {
        let text = "[routes.thor]\nhosts = \"thor\"\nupstream = \"http://a:1\"\n";
        let config = crate::config::of_text(text).unwrap();
        let snapshot = crate::snapshot::Snapshot::first(&config);
        let thor = snapshot.tenant("thor").unwrap();
        ask(thor.bulkhead(), 5);
        let directory = Directory::new();
        let mut books = Books::open(directory.open(), at("06:00:00"));
        books.begin_with(snapshot.all_routes());
        ask(thor.bulkhead(), 1);
        books.look_at(snapshot.all_routes());
        books.post(at("06:00:01"));
        assert_eq!(entries(&directory), ["06 thor 1"]);
    }

    #[test]
    fn a_disk_that_stays_full_costs_hours_and_no_requests() {
        let Stage {
            directory,
            mut books,
            thor,
        } = stage();
        ask(&thor, 1);
        books.file = LedgerFile::broken(&directory.path());
        books.post(at("06:00:01"));
        let filler = (0..PAST_MAX).map(|_| Line::new(books.hour, "thor".into()));
        books.past.extend(filler);
        ask(&thor, 1);
        books.turn_to(Hour::of(at("07:00:00")));
        books.count();
        assert_eq!(books.lines["thor"].totals.requests, 2);
        assert_eq!(books.past.len(), PAST_MAX, "no further ones");
        books.file = directory.open();
        books.post(at("07:00:01"));
        assert_eq!(entries(&directory), ["06 thor 2"]);
    }
}
