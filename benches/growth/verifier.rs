//! A verifier in a process of its own, whose memory is measured.
//!
//! The process is this program with [`ARGUMENT`]. It reads a command per line, and answers each with its memory.

use std::{
    alloc::System,
    env, fmt, fs,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sealwright::{
    clock::{Clock, ManualClock, Timestamp},
    verifier::Verifier,
};
use sealwright_benches::AUDIENCE;
use stats_alloc::StatsAlloc;

/// The argument that makes this program a verifier.
pub const ARGUMENT: &str = "verifier";
/// How long it may take until lists that no token names are forgotten.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(60);

/// The memory of a verifier.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// The number of status lists that it holds.
    pub lists: u64,
    /// What it has allocated and not freed.
    pub heap_kib: u64,
    /// What it occupies, including its code and what the allocator keeps.
    pub resident_kib: u64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.lists, self.heap_kib, self.resident_kib)
    }
}

impl Memory {
    fn parse(line: &str) -> Self {
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        let [lists, heap_kib, resident_kib] = numbers[..] else { panic!("the verifier failed: {line:?}") };
        Self { lists, heap_kib, resident_kib }
    }

    fn of_process(verifier: &Verifier) -> Self {
        let lists = verifier.status().issuers.iter().map(|issuer| issuer.status_lists.len() as u64).sum();
        let allocator: &StatsAlloc<System> = crate::ALLOCATOR;
        let stats = allocator.stats();
        let status = fs::read_to_string("/proc/self/status").expect("proc(5)");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident memory");
        Self {
            lists,
            heap_kib: (stats.bytes_allocated - stats.bytes_deallocated) as u64 / 1024,
            resident_kib: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
        }
    }
}

/// The process of the verifier. It ends when it is dropped.
pub struct VerifierProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// With the keys of the issuer, and before any status list.
    pub without_lists: Memory,
}

impl VerifierProcess {
    /// Starts a verifier for this issuer, which waits until it has its keys.
    ///
    /// These functions block the calling thread, which must not be one that serves the issuer.
    pub fn start(issuer: &str, now: i64) -> Self {
        let program = env::current_exe().expect("this program");
        let mut command = Command::new(program);
        let mut child = command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("its output")));
        let without_lists = Memory { lists: 0, heap_kib: 0, resident_kib: 0 };
        let mut process = Self { child, input, output, without_lists };
        process.without_lists = process.send(&format!("{issuer} {now}"));
        process
    }

    /// Verifies a token, which must be valid.
    pub fn verify(&mut self, token: &str) -> Memory {
        self.send(&format!("verify {token}"))
    }

    /// Lets its clock show this time.
    pub fn advance_to(&mut self, now: i64) -> Memory {
        self.send(&format!("at {now}"))
    }

    /// Waits until it has forgotten its lists, because no token has named them for long.
    pub fn forget(&mut self) -> Memory {
        self.send("forget ")
    }

    fn send(&mut self, line: &str) -> Memory {
        writeln!(self.input.as_mut().expect("it is open"), "{line}").expect("written");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("an answer");
        Memory::parse(&answer)
    }
}

impl Drop for VerifierProcess {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Is the process.
pub fn run() {
    let mut lines = io::stdin().lines().map(|line| line.expect("a line"));
    let first = lines.next().expect("the issuer");
    let (issuer, now) = first.split_once(' ').expect("an issuer and a time");
    let clock = ManualClock::at(time(now));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let builder = Verifier::for_issuer(issuer).audience(AUDIENCE).algorithms(["ES256"]);
    let verifier = builder.clock(Arc::new(clock.clone())).build().expect("a verifier");
    runtime.block_on(verifier.ready()).expect("the keys of the issuer");
    let report = || println!("{}", runtime.block_on(async { Memory::of_process(&verifier) }));
    report();
    for line in lines {
        match line.split_once(' ') {
            Some(("verify", token)) => drop(runtime.block_on(verifier.verify(token)).expect("a valid token")),
            Some(("at", now)) => clock.advance(time(now).since(clock.now())),
            Some(("forget", _)) => runtime.block_on(forgotten(&verifier)),
            _ => panic!("{line:?} is not a command"),
        }
        report();
    }
}

fn time(seconds: &str) -> Timestamp {
    Timestamp::from_seconds(seconds.parse().expect("a time"))
}

async fn forgotten(verifier: &Verifier) {
    let forgotten = async {
        while verifier.status().issuers.iter().any(|issuer| !issuer.status_lists.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FORGOTTEN_WITHIN, forgotten).await.expect("the lists are forgotten");
}
