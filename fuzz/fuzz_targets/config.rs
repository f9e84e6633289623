#![no_main]
//! See `hostler::fuzz::config`. What stands behind the first NUL is a file that the configuration may include.

use std::{fs, path::PathBuf, sync::LazyLock};

use hostler::fuzz::config;

/// A configuration is read from files. `fuzz/run` has them in memory, and takes them away.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("hostler-fuzz-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).expect("a directory");
    directory
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if !config::stays_inside(data) {
        return;
    }
    let mut files = data.splitn(2, |&byte| byte == 0);
    for name in ["proxy.toml", "tenants.toml"] {
        let text = files.next().unwrap_or_default();
        fs::write(DIRECTORY.join(name), text).expect("room for a file");
    }
    config::run(&DIRECTORY.join("proxy.toml"));
});
