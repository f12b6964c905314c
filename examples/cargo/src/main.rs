//! Reads durations such as "1h 30m", one an argument, and prints each with its
//! seconds, in columns; repeated ones once.

use std::collections::HashSet;

use fnv::FnvBuildHasher;
use unicode_width::UnicodeWidthStr;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let width = words.iter().map(|w| w.width()).max().unwrap_or(0);
    let mut seen: HashSet<&str, FnvBuildHasher> = HashSet::default();
    let mut numbers = itoa::Buffer::new();
    for word in &words {
        if !seen.insert(word) {
            continue;
        }
        let pad = " ".repeat(width - word.width());
        match humantime::parse_duration(word) {
            Ok(d) => println!("{word}{pad}  {}", numbers.format(d.as_secs())),
            Err(e) => println!("{word}{pad}  {e}"),
        }
    }
}
