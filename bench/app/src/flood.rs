//! One tenant's flood in `bench/isolation`: very many clients that behave badly, each in its own way, all on one thread.
//!
//! `bench-flood KIND PORT HOST CLIENTS SECONDS` begins with all of them within half a second, so that what is measured
//! isn't the queue of a listening socket; says `ready` when each has had its connection or an error; and ends after SECONDS
//! or when its standard input does, with a line of JSON that says what it did.
//!
//! `keepalive` asks as fast as it can on kept connections, `new` on a connection for each request. `hang` asks for
//! what is never answered, and again 0.1 s after a refusal. `slow-readers` take 10 MiB at 512 bytes each half second,
//! `slow-writers` send as much at that pace, and come again 1 s after a refusal. `uploads` send 100 MiB as fast as they can.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs::File,
    future,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{TcpSocket, TcpStream, unix::pipe},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

mod answer;

use answer::Head;

const RAMP: Duration = Duration::from_millis(500);
/// How long is waited at most for all to have begun.
const READY: Duration = Duration::from_secs(5);
const SLOW_STEP: Duration = Duration::from_millis(500);
const SLOW_BYTES: usize = 512;
const SLOW_BODY_BYTES: usize = 10 << 20;
/// As little as the kernel has (it doubles it), or it would take the answer in the client's stead.
const SLOW_BUFFER_BYTES: u32 = 4096;
const UPLOAD_BYTES: usize = 100 << 20;

static FILLER: [u8; 64 * 1024] = [b'x'; 64 * 1024];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Keepalive,
    New,
    Hang,
    SlowReaders,
    SlowWriters,
    Uploads,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "keepalive" => Self::Keepalive,
            "new" => Self::New,
            "hang" => Self::Hang,
            "slow-readers" => Self::SlowReaders,
            "slow-writers" => Self::SlowWriters,
            "uploads" => Self::Uploads,
            _ => return None,
        })
    }

    /// All of a request without a body, and the head of one with a body.
    fn request(self, host: &str) -> String {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
        let post = |bytes: usize| {
            format!("POST /small HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n")
        };
        let head = match self {
            Self::Keepalive => get("/small"),
            Self::New => get("/small") + "Connection: close\r\n",
            Self::Hang => get("/never"),
            Self::SlowReaders => get(&format!("/bytes/{SLOW_BODY_BYTES}")),
            Self::SlowWriters => post(SLOW_BODY_BYTES),
            Self::Uploads => post(UPLOAD_BYTES),
        };
        head + "\r\n"
    }

    /// How long a client stays away that was refused or cut off.
    fn pause(self) -> Duration {
        match self {
            Self::SlowReaders | Self::SlowWriters => Duration::from_secs(1),
            Self::Keepalive | Self::New | Self::Hang | Self::Uploads => Duration::from_millis(100),
        }
    }
}

/// What has been done so far.
#[derive(Default)]
struct Counts {
    opened: u64,
    open: u64,
    open_most: u64,
    answers: BTreeMap<u16, u64>,
    errors: BTreeMap<String, u64>,
    read_bytes: usize,
    written_bytes: usize,
}

struct Load {
    kind: Kind,
    address: SocketAddr,
    request: Vec<u8>,
    counts: Mutex<Counts>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().ok_or("KIND PORT HOST CLIENTS SECONDS");
    let kind = Kind::named(&next()?).ok_or("no such KIND")?;
    let address = (Ipv4Addr::LOCALHOST, next()?.parse()?).into();
    let request = kind.request(&next()?).into_bytes();
    let clients: u32 = next()?.parse()?;
    let time = Duration::from_secs_f64(next()?.parse()?);
    let load = Arc::new(Load {
        kind,
        address,
        request,
        counts: Mutex::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let passed = runtime.block_on(flood(&load, clients, time))?;
    println!("{}", summary(&load.counts(), clients, passed));
    Ok(())
}

async fn flood(load: &Arc<Load>, clients: u32, time: Duration) -> io::Result<Duration> {
    let began = Instant::now();
    let (begun, mut all_begun) = mpsc::channel(1);
    for number in 0..clients {
        let after = RAMP * number / clients;
        tokio::spawn(client(load.clone(), after, begun.clone()));
    }
    drop(begun);
    // Each client drops its end of the channel when it has begun.
    let _ = timeout(READY.min(time), all_begun.recv()).await;
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    let _ = timeout(time.saturating_sub(began.elapsed()), told_to_end()).await;
    Ok(began.elapsed())
}

/// Where standard input isn't a pipe, nobody tells.
async fn told_to_end() {
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let Ok(mut input) = input.and_then(pipe::Receiver::from_file) else {
        return future::pending().await;
    };
    let mut read = [0; 64];
    while input.read(&mut read).await.is_ok_and(|bytes| bytes > 0) {}
}

/// One client, that comes again and again until the process ends.
async fn client(load: Arc<Load>, after: Duration, begun: mpsc::Sender<()>) {
    sleep(after).await;
    let mut begun = Some(begun);
    loop {
        let opened = load.open().await;
        begun.take();
        let done = match opened {
            Ok(mut open) => open.go_on().await,
            Err(error) => Err(error),
        };
        match done {
            Ok(true) => {}
            Ok(false) => sleep(load.kind.pause()).await,
            Err(error) => {
                let what = error.kind().to_string();
                *load.counts().errors.entry(what).or_default() += 1;
                sleep(load.kind.pause()).await;
            }
        }
    }
}

impl Load {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, status: u16) {
        *self.counts().answers.entry(status).or_default() += 1;
    }

    async fn open(&self) -> io::Result<Open<'_>> {
        let socket = TcpSocket::new_v4()?;
        if self.kind == Kind::SlowReaders {
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
        }
        let socket = socket.connect(self.address).await?;
        socket.set_nodelay(true)?;
        let mut counts = self.counts();
        counts.opened += 1;
        counts.open += 1;
        counts.open_most = counts.open_most.max(counts.open);
        drop(counts);
        Ok(Open {
            load: self,
            socket,
            buffer: Vec::new(),
        })
    }
}

/// One connection of one client.
struct Open<'a> {
    load: &'a Load,
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.load.counts().open -= 1;
    }
}

impl Open<'_> {
    /// Until the connection has served its time: whether the client comes again at once, or has been refused.
    async fn go_on(&mut self) -> io::Result<bool> {
        match self.load.kind {
            Kind::Keepalive => self.ask_on().await,
            Kind::New => self.ask_once().await,
            Kind::Hang => self.wait().await,
            Kind::SlowReaders => self.read_slowly().await,
            Kind::SlowWriters => self.write_slowly().await,
            Kind::Uploads => self.upload().await,
        }
    }

    async fn ask_on(&mut self) -> io::Result<bool> {
        loop {
            self.send(&self.load.request).await?;
            if self.answer().await?.close {
                return Ok(true);
            }
        }
    }

    /// The server closes first, or this machine would run out of ports.
    async fn ask_once(&mut self) -> io::Result<bool> {
        self.send(&self.load.request).await?;
        self.answer().await?;
        while self.read().await? > 0 {}
        Ok(true)
    }

    async fn wait(&mut self) -> io::Result<bool> {
        loop {
            self.send(&self.load.request).await?;
            if self.answer().await?.close {
                return Ok(false);
            }
            sleep(self.load.kind.pause()).await;
        }
    }

    async fn read_slowly(&mut self) -> io::Result<bool> {
        self.send(&self.load.request).await?;
        let mut piece = [0; SLOW_BYTES];
        let mut status = None;
        loop {
            let read = self.socket.read(&mut piece).await?;
            self.load.counts().read_bytes += read;
            if read == 0 {
                return Ok(status == Some(200));
            }
            if status.is_none() {
                self.buffer.extend_from_slice(&piece[..read]);
                status = answer::parse(&self.buffer)?.map(|head| head.status);
                let Some(status) = status else { continue };
                self.load.count(status);
                if status != 200 {
                    return Ok(false);
                }
            }
            sleep(SLOW_STEP).await;
        }
    }

    /// An answer that comes before the end of the body is a refusal.
    async fn write_slowly(&mut self) -> io::Result<bool> {
        self.send(&self.load.request).await?;
        let mut missing = SLOW_BODY_BYTES;
        while missing > 0 {
            let piece = missing.min(SLOW_BYTES);
            self.send(&FILLER[..piece]).await?;
            missing -= piece;
            if timeout(SLOW_STEP, self.socket.readable()).await.is_ok() {
                break;
            }
        }
        Ok(self.answer().await?.status == 200)
    }

    async fn upload(&mut self) -> io::Result<bool> {
        self.send(&self.load.request).await?;
        let mut missing = UPLOAD_BYTES;
        let both = Interest::READABLE | Interest::WRITABLE;
        while missing > 0 {
            let ready = self.socket.ready(both).await?;
            if ready.is_readable() {
                match self.socket.try_read_buf(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                    Ok(_) => break,
                }
            }
            match self.socket.try_write(&FILLER[..missing.min(FILLER.len())]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(wrote) => {
                    missing -= wrote;
                    self.load.counts().written_bytes += wrote;
                }
            }
        }
        Ok(self.answer().await?.status == 200)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.load.counts().written_bytes += bytes.len();
        Ok(())
    }

    /// To the end of its body. What has been read of it before counts.
    async fn answer(&mut self) -> io::Result<Head> {
        loop {
            let head = answer::parse(&self.buffer)?;
            let total_bytes = head.as_ref().and_then(Head::total_bytes);
            let whole = total_bytes.is_some_and(|bytes| self.buffer.len() >= bytes);
            let over = !whole && self.read().await? == 0;
            match head {
                Some(head) if whole || over && head.body_bytes.is_none() => {
                    self.buffer.clear();
                    self.load.count(head.status);
                    return Ok(head);
                }
                Some(_) | None if over => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(_) | None => {}
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let read = self.socket.read_buf(&mut self.buffer).await?;
        self.load.counts().read_bytes += read;
        Ok(read)
    }
}

fn summary(counts: &Counts, clients: u32, passed: Duration) -> String {
    let answers: Vec<String> = counts
        .answers
        .iter()
        .map(|(status, count)| format!(r#""{status}": {count}"#))
        .collect();
    let errors: Vec<String> = counts
        .errors
        .iter()
        .map(|(what, count)| format!(r#""{what}": {count}"#))
        .collect();
    format!(
        r#"{{"clients": {clients}, "seconds": {:.3}, "opened": {}, "open_at_the_end": {}, "open_most": {}, "answers": {{{}}}, "errors": {{{}}}, "read_bytes": {}, "written_bytes": {}}}"#,
        passed.as_secs_f64(),
        counts.opened,
        counts.open,
        counts.open_most,
        answers.join(", "),
        errors.join(", "),
        counts.read_bytes,
        counts.written_bytes,
    )
}
