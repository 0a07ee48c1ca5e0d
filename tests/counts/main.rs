//! What no load of the machine changes: how often a token request and a verification allocate memory, and how many instructions they take. A limit is what was counted
//! when it was recorded, and a tenth more: a change that needs more has to say why.
//!
//! Instructions are counted by valgrind's callgrind, in code that is not optimized: they show what was added, and not how long it takes. Everything in
//! the process counts, so there is no test harness, whose threads would count too.

mod work;

use std::{
    alloc::System,
    env,
    path::Path,
    process::{Command, ExitCode},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use work::{Work, prepare};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Limit {
    kind: &'static str,
    allocations: u64,
    instructions: u64,
}

const LIMITS: [Limit; 2] = [
    // By client credentials, of a cached client, over a connection that is open: reading it, signing by RS256 on another thread, and the answer.
    Limit { kind: "token", allocations: 95, instructions: 8_470_000 },
    // Of that token, with keys that are cached.
    Limit { kind: "verification", allocations: 20, instructions: 590_000 },
];

/// This program under valgrind: `counts --work KIND TIMES FOLDER`.
const WORK: &str = "--work";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, kind, times, folder] = &*arguments
        && flag == WORK
    {
        Work::begin(kind, Path::new(folder)).repeat(times.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    // As a harness does with the names of other tests.
    if let Some(name) = arguments.first().filter(|name| !name.starts_with('-') && !"counts".contains(name.as_str())) {
        println!("counts: not among the tests of {name}");
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let mut exceeded = false;
    let mut compare = |kind: &str, counted: u64, limit: u64, unit: &str| {
        let verdict = if counted > limit { "EXCEEDED" } else { "ok" };
        exceeded |= counted > limit;
        println!("counts: {kind}: {counted} {unit}, of at most {limit} ... {verdict}");
    };
    for Limit { kind, allocations, instructions } in LIMITS {
        compare(kind, count_allocations(kind, folder.path()), allocations, "allocations");
        if has_the_recorded_instructions() {
            compare(kind, count_instructions(kind, folder.path()), instructions, "instructions");
        } else {
            println!("counts: {kind}: instructions are not compared: the limits were recorded on x86-64 with AVX2");
        }
    }
    if exceeded { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Libraries choose the code of a signature by what the processor can do.
fn has_the_recorded_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

fn count_allocations(kind: &str, folder: &Path) -> u64 {
    const TIMES: usize = 200;
    let mut work = Work::begin(kind, folder);
    // Connections, caches and buffers are as large as they become.
    work.repeat(20);
    let before = ALLOCATOR.stats();
    work.repeat(TIMES);
    let used = ALLOCATOR.stats() - before;
    (used.allocations / TIMES) as u64
}

fn count_instructions(kind: &str, folder: &Path) -> u64 {
    const TIMES: (u64, u64) = (20, 80);
    // What comes before and after the work is the same in both.
    let (few, many) = (instructions_of(kind, TIMES.0, folder), instructions_of(kind, TIMES.1, folder));
    many.saturating_sub(few) / (TIMES.1 - TIMES.0)
}

/// The instructions of this program when it does its work so often.
fn instructions_of(kind: &str, times: u64, folder: &Path) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe().unwrap());
    let ended = command.args([WORK, kind, &times.to_string()]).arg(folder).output();
    let ended = ended.unwrap_or_else(|error| panic!("valgrind does not start ({error}); tests/run installs it"));
    let report = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{report}");
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.unwrap_or_else(|| panic!("callgrind prints a count: {report}"));
    collected.trim().parse().unwrap()
}
