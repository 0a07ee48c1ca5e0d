//! Commands on a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// Runs a command to its end on a terminal of so many columns, on which `typed` is typed. Returns the exit code and what the terminal
/// shows.
pub(crate) fn on_terminal(command: Command, columns: u16, typed: &str) -> (Option<i32>, String) {
    watched_on_terminal(command, columns, typed, |_, _| ())
}

/// Runs a server on a terminal, and stops it once the terminal shows `text`.
pub(crate) fn serve_on_terminal(command: Command, columns: u16, text: &str) -> (Option<i32>, String) {
    let mut stopped = false;
    watched_on_terminal(command, columns, "", |server, shown| {
        if !stopped && String::from_utf8_lossy(shown).contains(text) {
            let pid = Pid::from_child(server);
            kill_process(pid, Signal::TERM).unwrap();
            stopped = true;
        }
    })
}

/// Calls `watch` with the command and what it has shown so far, whenever that grows.
fn watched_on_terminal(mut command: Command, columns: u16, typed: &str, mut watch: impl FnMut(&Child, &[u8])) -> (Option<i32>, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let keyboard = openpt(flags).unwrap();
    grantpt(&keyboard).unwrap();
    unlockpt(&keyboard).unwrap();
    tcsetwinsize(&keyboard, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let screen = ioctl_tiocgptpeer(&keyboard, flags).unwrap();
    let stream = || Stdio::from(screen.try_clone().unwrap());
    command.stdin(stream()).stdout(stream()).stderr(stream()).env("TERM", "xterm-256color");
    // Of the test run itself.
    if command.get_envs().all(|(name, _)| name != "NO_COLOR") {
        command.env_remove("NO_COLOR");
    }
    let mut keyboard = File::from(keyboard);
    let mut child = command.spawn().unwrap();
    // Once the child has ended, no one has the terminal open.
    drop((command, screen));
    keyboard.write_all(typed.as_bytes()).unwrap();
    let (mut shown, mut part) = (Vec::new(), [0; 4096]);
    // The end is an error (EIO).
    while let Ok(count @ 1..) = keyboard.read(&mut part) {
        shown.extend_from_slice(&part[..count]);
        watch(&child, &shown);
    }
    (child.wait().unwrap().code(), String::from_utf8(shown).unwrap().replace("\r\n", "\n"))
}
