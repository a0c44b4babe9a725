//! What is typed.

use insta::assert_snapshot;

use crate::world::{World, seen};

#[tokio::test]
async fn help_says_what_there_is() {
    let world = World::new().await;
    assert_snapshot!("help", seen(world.chat(&["--help"])).await);
    assert_snapshot!("help_room", seen(world.chat(&["room", "--help"])).await);
    assert_snapshot!("help_login", seen(world.chat(&["login", "--help"])).await);
    assert_snapshot!("help_tail", seen(world.chat(&["tail", "--help"])).await);
}

#[tokio::test]
async fn what_makes_no_sense_is_a_usage_error() {
    let world = World::new().await;
    for arguments in [
        &["nonsense"][..],
        &[],
        &["send", "tea"],
        &["tail"],
        &["tail", "tea", "--since", "-1"],
        &["history", "tea", "--before", "1", "--after", "2"],
        &["history", "tea", "--limit", "0"],
        &["edit", "tea", "first", "text"],
        &["room", "role", "tea", "bob", "owner"],
        &["login", "--email", "a@b", "--password", "secret"],
        &["--profile", "../x", "whoami"],
        &["--server", "ftp://x", "room", "list"],
        &["login"],
    ] {
        let text = seen(world.chat_as_ann(arguments)).await;
        assert!(
            text.starts_with("exit 2\n--- stdout\n--- stderr\n"),
            "{arguments:?}: {text}"
        );
    }
}

#[tokio::test]
async fn a_configuration_with_a_key_that_is_none_is_named() {
    let world = World::new().await;
    let folder = world.home.path().join(".config/chat");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("config.toml"), "sever = 1\n").expect("written");
    let text = seen(world.chat_as_ann(&["whoami"])).await;
    assert!(text.starts_with("exit 2\n"), "{text}");
    assert!(text.contains("sever"), "{text}");
}

#[tokio::test]
async fn shells_and_manuals_are_served() {
    let world = World::new().await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = seen(world.chat(&["completions", shell])).await;
        assert!(text.starts_with("exit 0\n"), "{text}");
        assert!(text.contains("password-file"), "{text}");
    }
    let text = seen(world.chat(&["man"])).await;
    assert!(text.starts_with("exit 0\n"), "{text}");
    for part in [".TH chat 1", ".SH \"CHAT ROOM INVITE\"", "max\\-uses"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}
