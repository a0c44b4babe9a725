//! What the README promises of the examples' length.

/// Lines between the marks that say something.
fn lines(source: &str, begin: &str, end: &str) -> usize {
    let mut counting = false;
    let mut n = 0;
    for line in source.lines().map(str::trim) {
        if line == begin {
            counting = true;
        } else if line == end {
            counting = false;
        } else if counting && !line.is_empty() && !line.starts_with("//") {
            n += 1;
        }
    }
    n
}

#[test]
fn the_chats_part_of_an_app_is_at_most_fifteen_lines() {
    let n = lines(
        include_str!("../embed_axum.rs"),
        "// -- the chat's part begins --",
        "// -- the chat's part ends --",
    );
    assert!((5..=15).contains(&n), "{n} lines");
}

#[test]
fn a_bot_is_at_most_fifteen_lines() {
    let n = lines(
        include_str!("../bot.rs"),
        "// -- the bot begins --",
        "// -- the bot ends --",
    );
    assert!((5..=15).contains(&n), "{n} lines");
}
