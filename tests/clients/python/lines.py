"""What both Python programs have in common: lines out, and the events of the hub."""

import json
import sys
import threading

EVENTS = (
    "Connected",
    "MessageCreated",
    "MessageEdited",
    "MessageDeleted",
    "MessagesDeleted",
    "MemberJoined",
    "MemberChanged",
    "MembersChanged",
    "MemberLeft",
    "RoomChanged",
    "RoomDeleted",
    "RoomJoined",
    "Heads",
    "Closing",
)

_lock = threading.Lock()


def say(line: dict) -> None:
    """Writes a line whole, whichever thread it comes from."""
    with _lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
