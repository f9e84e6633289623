//! Route look-up, header rules, and reading a configuration, each by itself.

use std::{
    cell::Cell,
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hostler::bench::{Heads, Routes};

const SMALL: &str = "GET /small HTTP/1.1\r\nHost: t0.bench.test\r\n\r\n";
const BROWSER: &str = "GET /polls/questions/2026/results/?page=3&sort=votes HTTP/1.1\r\n\
    Host: t0.bench.test\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: http://t0.bench.test/polls/questions/\r\n\
    DNT: 1\r\n\
    Connection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=0, i\r\n\
    Cookie: csrftoken=Zx81kQw0bT7mYc3nVr5LZx81kQw0bT7m; sessionid=9f3c2b7e5d1a4c8f9f3c2b7e5d1a4c8f\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    Server: gunicorn\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Connection: keep-alive\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    X-Frame-Options: DENY\r\n\
    Content-Length: 100\r\n\
    Vary: Cookie\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: same-origin\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\n\r\n";

fn look_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("look-up");
    for tenants in [2, 1_000, 100_000_u64] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        write(&path, tenants);
        let routes = Routes::load(&path);
        let hosts: Vec<String> = (0..tenants)
            .map(|tenant| host(tenant * 7919 % tenants))
            .collect();
        group.bench_function(BenchmarkId::new("one after the other", tenants), |b| {
            let mut hosts = hosts.iter().cycle();
            b.iter(|| routes.find(hosts.next().unwrap().as_bytes()).unwrap().len());
        });
        group.bench_function(BenchmarkId::new("the same", tenants), |b| {
            b.iter(|| routes.find(hosts[0].as_bytes()).unwrap().len());
        });
        group.bench_function(BenchmarkId::new("nobody's", tenants), |b| {
            b.iter(|| routes.find(b"nobody.bench.test").is_none());
        });
    }
}

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("heads");
    for (name, request) in [("small", SMALL), ("browser", BROWSER)] {
        let mut heads = Heads::default();
        group.bench_function(BenchmarkId::new("read a request", name), |b| {
            b.iter(|| heads.read_request(request.as_bytes()));
        });
        let mut out = Vec::with_capacity(8 * 1024);
        group.bench_function(BenchmarkId::new("write a request", name), |b| {
            b.iter(|| {
                out.clear();
                heads.write_request(&mut out);
                out.len()
            });
        });
    }
    let mut heads = Heads::default();
    heads.read_request(SMALL.as_bytes());
    group.bench_function("read a response", |b| {
        b.iter(|| heads.read_response(ANSWER.as_bytes()));
    });
    let mut out = Vec::with_capacity(8 * 1024);
    group.bench_function("write a response", |b| {
        b.iter(|| {
            out.clear();
            heads.write_response(&mut out);
            out.len()
        });
    });
}

fn configuration(c: &mut Criterion) {
    let mut group = c.benchmark_group("configuration");
    group.sample_size(10);
    for tenants in [1_000, 100_000_u64] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        write(&path, tenants);
        group.throughput(Throughput::Elements(tenants));
        group.bench_function(BenchmarkId::new("load", tenants), |b| {
            b.iter_batched(|| (), |()| Routes::load(&path), BatchSize::PerIteration);
        });
        let mut routes = Routes::load(&path);
        let more = Cell::new(tenants);
        group.bench_function(BenchmarkId::new("one more", tenants), |b| {
            b.iter_batched(
                || {
                    more.set(more.get() + 1);
                    write(&path, more.get());
                },
                |()| assert_eq!(routes.load_again() as u64, more.get()),
                BatchSize::PerIteration,
            );
        });
    }
}

fn host(tenant: u64) -> String {
    format!("t{tenant}.bench.test")
}

fn write(path: &Path, tenants: u64) {
    let routes = (0..tenants).map(|tenant| {
        let host = host(tenant);
        format!("[routes.t{tenant}]\nhosts = [\"{host}\"]\nupstream = \"http://127.0.0.1:9\"\n")
    });
    fs::write(path, routes.collect::<String>()).unwrap();
    // As if it had lain there: a file that was written just now is looked at more closely.
    let then =
        SystemTime::now() - Duration::from_secs(60) + Duration::from_millis(tenants % 10_000);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

criterion_group!(benches, look_up, heads, configuration);
criterion_main!(benches);
