//! What kind of terminal there is, if any.
//!
//! Owns: the questions whether to colour, to draw bars, how wide. Not: drawing.

use std::io::{self, IsTerminal as _};

/// Width that is assumed where none is known.
const WIDTH: usize = 120;

/// Whether standard output is a terminal.
pub fn stdout() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal: bars are drawn there.
pub fn stderr() -> bool {
    io::stderr().is_terminal()
}

/// Whether to colour standard output: a terminal, and nobody objects (`NO_COLOR`).
pub fn color() -> bool {
    stdout() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Width of the screen in characters (`COLUMNS`, else a usual one); files get whole lines.
pub fn width() -> usize {
    if !stdout() {
        return usize::from(u16::MAX);
    }
    std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).unwrap_or(WIDTH).clamp(40, 1000)
}
