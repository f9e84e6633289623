#![no_main]
//! See `hostler::fuzz::config`. What stands behind the first NUL is a file that the configuration may include.

use std::{fs, path::PathBuf, sync::LazyLock};

use hostler::fuzz::config;

/// In memory: a configuration is read from files.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = format!("/dev/shm/hostler-fuzz-{}", std::process::id());
    fs::create_dir_all(&directory).expect("a directory in memory");
    directory.into()
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if !config::stays_inside(data) {
        return;
    }
    let mut files = data.splitn(2, |&byte| byte == 0);
    for name in ["proxy.toml", "tenants.toml"] {
        let text = files.next().unwrap_or_default();
        fs::write(DIRECTORY.join(name), text).expect("room in memory");
    }
    config::run(&DIRECTORY.join("proxy.toml"));
});
