//! Sending, editing and deleting messages.

use super::act::{
    accept, at, ctx, delete, edit, leave, leave_with_messages, remove, send, send_as, set_role,
};
use super::{Backend, Tested};
use crate::model::{Event, Message, MessageId, Role, RoomId, Seq};
use crate::store::{Outcome, Refusal};

/// A message's place is the one after the room's last, and it says who, what and when.
pub async fn a_message_takes_the_next_seq_of_its_room(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let committed = backend
        .done_with(&ctx(at(5)), send_as(room, bob, "Hello", "first"))
        .await?;
    let message = committed.message();
    assert_eq!(
        message,
        Message {
            id: message.id,
            room_id: room,
            seq: Seq(3),
            changed_seq: Seq(3),
            sender_id: bob,
            content: "Hello".to_owned(),
            sent_at: at(5),
            edited_at: None,
            deleted_at: None,
            client_message_id: Some("first".to_owned()),
        }
    );
    assert_eq!(committed.events, [Event::MessageCreated(message.clone())]);
    assert_eq!(
        backend.store.message(ada, room, message.id).await?,
        Some(message)
    );
    let second = backend.say(room, ada, "Hi").await?;
    assert_eq!((second.seq, second.changed_seq), (Seq(4), Seq(4)));
    assert_eq!(second.client_message_id, None);
    assert_eq!(backend.head(room).await?, Seq(4));
    Ok(())
}

/// Quotes, line breaks, several scripts, characters of four bytes, blanks at the ends: what was sent is what is read.
pub async fn content_is_kept_byte_for_byte(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let contents = [
        "it's \"quoted\", `ticked`, \\escaped\\ and; -- DROP TABLE messages",
        "line\nbreak\tand tab\r",
        "  blanks around  ",
        "日本語 العربية עברית ไทย",
        "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 \u{10FFFF}",
        "e\u{301} is not \u{e9}",
        "%s %d ${x} {{y}} :name ?1 $1",
        "{\"json\":[1,2,null]}",
        "\u{feff}\u{200b}\u{202e}",
        "\u{1}\u{7f}\u{85}",
        &"😀".repeat(4_000),
    ];
    for content in contents {
        let message = backend.say(room, ada, content).await?;
        assert_eq!(message.content, content);
        let edited = format!("{content} – edited");
        let committed = backend.done(edit(room, ada, message.id, &edited)).await?;
        assert_eq!(committed.message().content, edited);
        let committed = backend.done(edit(room, ada, message.id, content)).await?;
        assert_eq!(committed.message().content, content);
        let read = backend.store.message(ada, room, message.id).await?;
        assert_eq!(read.expect("it was sent").content, content);
    }
    assert_eq!(backend.history(ada, room).await?, contents);
    Ok(())
}

/// Someone who was never in the room, or left it, sends nothing, and neither does anyone into a room that isn't there.
pub async fn only_a_member_sends(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    assert_eq!(
        backend.refused(send(room, eve, "Hello")).await?,
        Refusal::NotFound
    );
    assert_eq!(
        backend.refused(send(RoomId(987_654), ada, "Hello")).await?,
        Refusal::NotFound
    );
    backend.done(leave(room, bob)).await?;
    assert_eq!(
        backend.refused(send(room, bob, "Hello")).await?,
        Refusal::NotFound
    );
    assert_eq!(backend.head(room).await?, Seq(3));
    Ok(())
}

/// The same `clientMessageId` and content again: the stored message as it is now, and nothing happens.
pub async fn a_repeated_send_answers_the_first_message(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    let first = backend
        .done(send_as(room, bob, "Hello", "a"))
        .await?
        .message();
    let again = backend
        .done_with(&ctx(at(60)), send_as(room, bob, "Hello", "a"))
        .await?;
    assert_eq!(again.unchanged_message(), first);
    assert_eq!(backend.head(room).await?, Seq(3));
    assert_eq!(backend.history(bob, room).await?, ["Hello"]);
    Ok(())
}

/// A message and its repetition in one batch are one message; what stands between and after them isn't concerned.
pub async fn a_repeated_send_is_found_within_its_batch(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let answers = backend
        .commit(&[
            send_as(room, bob, "One", "a"),
            send(room, ada, "Two"),
            send_as(room, bob, "One", "a"),
            send_as(room, bob, "Other", "a"),
            send_as(room, bob, "Three", "b"),
            send_as(room, bob, "One", "a"),
        ])
        .await?;
    let first = answers[0].clone().expect("sent").message();
    for again in [2, 5] {
        let again = answers[again].clone().expect("answered");
        assert_eq!(again.unchanged_message(), first);
    }
    assert_eq!(answers[3], Err(Refusal::ClientMessageIdReused));
    let third = answers[4].clone().expect("sent").message();
    assert_eq!((first.seq, third.seq), (Seq(3), Seq(5)));
    assert_eq!(backend.history(ada, room).await?, ["One", "Two", "Three"]);
    Ok(())
}

/// Another content under a used `clientMessageId` is refused, in whatever small way it differs.
pub async fn a_repeated_send_with_another_content_is_refused(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    backend.done(send_as(room, bob, "caf\u{e9}", "a")).await?;
    for other in ["cafe\u{301}", "CAF\u{c9}", "caf\u{e9} ", "tea"] {
        assert_eq!(
            backend.refused(send_as(room, bob, other, "a")).await?,
            Refusal::ClientMessageIdReused,
            "{other:?}"
        );
    }
    assert_eq!(backend.head(room).await?, Seq(3));
    Ok(())
}

/// After an edit the first content still repeats the send, and the new one doesn't; the answer is the edited message.
pub async fn a_repeated_send_is_compared_with_the_first_content(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    let first = backend
        .done(send_as(room, bob, "Hello", "a"))
        .await?
        .message();
    let edited = backend
        .done(edit(room, bob, first.id, "Goodbye"))
        .await?
        .message();
    let again = backend.done(send_as(room, bob, "Hello", "a")).await?;
    assert_eq!(again.unchanged_message(), edited);
    assert_eq!(
        backend.refused(send_as(room, bob, "Goodbye", "a")).await?,
        Refusal::ClientMessageIdReused
    );
    Ok(())
}

/// A send repeated after its message was deleted, alone or in bulk, doesn't bring it back.
pub async fn a_repeated_send_of_a_deleted_message_answers_its_tombstone(
    backend: Backend,
) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let alone = backend
        .done(send_as(room, bob, "One", "a"))
        .await?
        .message();
    let tombstone = backend.done(delete(room, bob, alone.id)).await?.message();
    let again = backend.done(send_as(room, bob, "One", "a")).await?;
    assert_eq!(again.unchanged_message(), tombstone);
    assert_eq!(
        backend.refused(send_as(room, bob, "Other", "a")).await?,
        Refusal::ClientMessageIdReused
    );

    let bulk = backend
        .done(send_as(room, bob, "Two", "b"))
        .await?
        .message();
    backend
        .done_with(&ctx(at(9)), leave_with_messages(room, bob))
        .await?;
    backend.admit(room, ada, bob).await?;
    let again = backend.done(send_as(room, bob, "Two", "b")).await?;
    assert_eq!(
        again.unchanged_message(),
        Message {
            content: String::new(),
            deleted_at: Some(at(9)),
            ..bulk
        }
    );
    assert_eq!(backend.history(bob, room).await?, [""; 0]);
    Ok(())
}

/// Another sender's, or another room's, `clientMessageId` may be the same, and case makes two of one.
pub async fn a_client_message_id_is_unique_for_a_sender_in_a_room(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let other = backend.room(bob).await?;
    for change in [
        send_as(room, bob, "Bob here", "a"),
        send_as(room, ada, "Ada here", "a"),
        send_as(other, bob, "Bob there", "a"),
        send_as(room, bob, "Bob again", "A"),
    ] {
        backend.done(change).await?.message();
    }
    assert_eq!(
        backend.history(bob, room).await?,
        ["Bob here", "Ada here", "Bob again"]
    );
    assert_eq!(backend.history(bob, other).await?, ["Bob there"]);
    Ok(())
}

/// What was refused was not stored, so its `clientMessageId` isn't used.
pub async fn a_refused_send_leaves_its_client_message_id_free(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    assert_eq!(
        backend
            .refused(send_as(room, eve, "Too early", "a"))
            .await?,
        Refusal::NotFound
    );
    backend.admit(room, ada, eve).await?;
    let sent = backend.done(send_as(room, eve, "In time", "a")).await?;
    assert_eq!(sent.message().content, "In time");
    Ok(())
}

/// Who is out of the room isn't told of what they once sent there.
pub async fn a_former_members_repeated_send_is_not_found(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.done(send_as(room, bob, "Hello", "a")).await?;
    backend.done(remove(room, ada, bob)).await?;
    for content in ["Hello", "Other"] {
        assert_eq!(
            backend.refused(send_as(room, bob, content, "a")).await?,
            Refusal::NotFound
        );
    }
    Ok(())
}

/// Who comes back and repeats a send gets the first message.
pub async fn a_client_message_id_outlives_leaving_and_coming_back(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let first = backend
        .done(send_as(room, bob, "Hello", "a"))
        .await?
        .message();
    backend.done(leave(room, bob)).await?;
    let token = backend.invite(room, ada).await?;
    backend.done(accept(room, bob, token)).await?;
    let again = backend.done(send_as(room, bob, "Hello", "a")).await?;
    assert_eq!(again.unchanged_message(), first);
    Ok(())
}

/// An edit takes the next place and keeps all else of the message.
pub async fn the_author_edits_a_message(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let first = backend
        .done(send_as(room, bob, "Helo", "a"))
        .await?
        .message();
    backend.say(room, ada, "Hi").await?;
    let committed = backend
        .done_with(&ctx(at(8)), edit(room, bob, first.id, "Hello"))
        .await?;
    let edited = Message {
        changed_seq: Seq(5),
        content: "Hello".to_owned(),
        edited_at: Some(at(8)),
        ..first
    };
    assert_eq!(committed.outcome, Outcome::Event);
    assert_eq!(committed.events, [Event::MessageEdited(edited.clone())]);
    assert_eq!(
        backend.store.message(ada, room, edited.id).await?,
        Some(edited)
    );
    assert_eq!(backend.history(ada, room).await?, ["Hello", "Hi"]);
    Ok(())
}

/// The content that is there already takes no `seq`, and the message isn't marked as edited.
pub async fn an_edit_to_the_same_content_changes_nothing(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    let first = backend.say(room, bob, "Hello").await?;
    let same = backend.done(edit(room, bob, first.id, "Hello")).await?;
    assert_eq!(same.unchanged_message(), first);
    assert_eq!(backend.head(room).await?, first.seq);
    Ok(())
}

/// An admin may not put words into someone's mouth.
pub async fn only_the_author_edits(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let hers = backend.say(room, ada, "Mine").await?;
    let his = backend.say(room, bob, "Mine too").await?;
    for (by, message) in [(ada, his.id), (bob, hers.id)] {
        for content in ["Yours", "Mine", "Mine too"] {
            assert_eq!(
                backend.refused(edit(room, by, message, content)).await?,
                Refusal::Forbidden
            );
        }
    }
    assert_eq!(backend.history(ada, room).await?, ["Mine", "Mine too"]);
    Ok(())
}

/// A deleted message keeps its place as a tombstone in the event, and is gone from reads.
pub async fn the_author_deletes_a_message(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let first = backend
        .done(send_as(room, bob, "Hello", "a"))
        .await?
        .message();
    let edited = backend
        .done_with(&ctx(at(2)), edit(room, bob, first.id, "Hullo"))
        .await?
        .message();
    let committed = backend
        .done_with(&ctx(at(4)), delete(room, bob, first.id))
        .await?;
    assert_eq!(committed.outcome, Outcome::Event);
    assert_eq!(
        committed.events,
        [Event::MessageDeleted(Message {
            changed_seq: Seq(5),
            content: String::new(),
            deleted_at: Some(at(4)),
            ..edited
        })]
    );
    assert_eq!(backend.store.message(ada, room, first.id).await?, None);
    assert_eq!(backend.history(ada, room).await?, [""; 0]);
    Ok(())
}

/// An admin deletes a member's message, and another admin's.
pub async fn an_admin_deletes_anyones_message(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let his = backend.say(room, bob, "Rude").await?;
    let deleted = backend.done(delete(room, ada, his.id)).await?.message();
    assert_eq!((deleted.sender_id, deleted.seq), (bob, his.seq));
    let his = backend.say(room, bob, "Rude again").await?;
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    backend.done(delete(room, ada, his.id)).await?.message();
    Ok(())
}

/// A member deletes neither an admin's message nor another member's.
pub async fn another_member_does_not_delete(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    backend.admit(room, ada, cem).await?;
    let hers = backend.say(room, ada, "Mine").await?;
    let his = backend.say(room, cem, "Mine").await?;
    for message in [hers.id, his.id] {
        assert_eq!(
            backend.refused(delete(room, bob, message)).await?,
            Refusal::Forbidden
        );
    }
    assert_eq!(backend.history(bob, room).await?, ["Mine", "Mine"]);
    Ok(())
}

/// To its author, to an admin and to others alike a deleted message is not there, also one that fell in bulk.
pub async fn a_deleted_message_is_not_edited_or_deleted_again(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let alone = backend.say(room, bob, "One").await?;
    let bulk = backend.say(room, bob, "Two").await?;
    backend.done(delete(room, bob, alone.id)).await?;
    backend.done(leave_with_messages(room, bob)).await?;
    backend.admit(room, ada, bob).await?;
    for message in [alone.id, bulk.id] {
        for by in [ada, bob] {
            for change in [
                edit(room, by, message, "Three"),
                edit(room, by, message, ""),
                delete(room, by, message),
            ] {
                assert_eq!(backend.refused(change).await?, Refusal::NotFound);
            }
        }
    }
    Ok(())
}

/// A message's id with another room's, and an id that is nobody's, are not found.
pub async fn a_message_is_found_in_its_own_room_alone(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (room, other) = (backend.room(ada).await?, backend.room(ada).await?);
    let message = backend.say(room, ada, "Here").await?;
    for (room, message) in [(other, message.id), (room, MessageId(987_654))] {
        for change in [
            edit(room, ada, message, "There"),
            delete(room, ada, message),
        ] {
            assert_eq!(backend.refused(change).await?, Refusal::NotFound);
        }
        assert_eq!(backend.store.message(ada, room, message).await?, None);
    }
    assert_eq!(backend.history(ada, room).await?, ["Here"]);
    Ok(())
}

/// An author who is out of the room, and a stranger, touch nothing in it and learn nothing of it.
pub async fn only_members_edit_and_delete(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    let message = backend.say(room, bob, "Mine").await?;
    backend.done(remove(room, ada, bob)).await?;
    for by in [bob, eve] {
        for change in [
            edit(room, by, message.id, "Still mine"),
            delete(room, by, message.id),
        ] {
            assert_eq!(backend.refused(change).await?, Refusal::NotFound);
        }
    }
    assert_eq!(backend.history(ada, room).await?, ["Mine"]);
    Ok(())
}

/// A single message is read by who is in the room now, whoever wrote it.
pub async fn one_message_is_read_by_members(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    let message = backend.say(room, bob, "Hello").await?;
    let read = |user| backend.store.message(user, room, message.id);
    assert_eq!(read(ada).await?, Some(message.clone()));
    assert_eq!(read(eve).await?, None);
    backend.done(leave(room, bob)).await?;
    assert_eq!(read(bob).await?, None);
    assert_eq!(read(ada).await?, Some(message.clone()));
    Ok(())
}
