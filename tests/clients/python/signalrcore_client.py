"""What a test asks of signalrcore: commands in, lines out."""

import json
import logging
import sys
import threading

from lines import EVENTS, say
from signalrcore.hub_connection_builder import HubConnectionBuilder
from signalrcore.types import HttpTransportType, HubProtocolEncoding


class Client:
    def __init__(self) -> None:
        self.hub = None
        self.token = ""
        # Errors of all calls come to one place, with the call's id.
        self.failures = {}

    def connect(self, command: dict) -> None:
        self.token = command["token"]
        opened = threading.Event()
        builder = HubConnectionBuilder().with_url(
            command["url"],
            options={
                "access_token_factory": lambda: self.token,
                "transport": HttpTransportType[
                    {"WebSockets": "web_sockets", "ServerSentEvents": "server_sent_events"}[command["transport"]]
                ],
            },
        )
        builder = builder.configure_logging(logging.CRITICAL)
        if command["protocol"] == "messagepack":
            builder = builder.with_hub_protocol(HubProtocolEncoding.binary)
        self.hub = builder.build()
        for event in EVENTS:
            self.hub.on(event, lambda arguments, event=event: say({"event": event, "arguments": arguments}))
        self.hub.on_open(opened.set)
        self.hub.on_close(lambda: say({"state": "closed"}))
        self.hub.on_error(self.failed)
        self.hub.start()
        if not opened.wait(30):
            raise TimeoutError("the connection doesn't open")
        say({"answer": command["id"], "result": None})

    def failed(self, message) -> None:
        answer = self.failures.pop(message.invocation_id, None)
        if answer is not None:
            say({"answer": answer, "error": message.error})

    def invoke(self, command: dict) -> None:
        answer = command["id"]
        invocation = f"call-{answer}"
        self.failures[invocation] = answer
        self.hub.invoke(
            command["method"],
            [command["argument"]],
            lambda message: say({"answer": answer, "result": message.result}),
            invocation,
        )

    def stream(self, command: dict) -> None:
        answer = command["id"]
        items = []
        stream = self.hub.stream(command["method"], [command["argument"]])
        self.failures[stream.invocation_id] = answer
        stream.subscribe(
            {
                "next": items.append,
                "complete": lambda message: say({"answer": answer, "result": items}),
                "error": lambda message: say({"answer": answer, "error": str(message)}),
            }
        )

    def set_token(self, command: dict) -> None:
        self.token = command["token"]
        say({"answer": command["id"], "result": None})

    def stop(self, command: dict) -> None:
        self.hub.stop()
        say({"answer": command["id"], "result": None})


def main() -> None:
    client = Client()
    does = {
        "connect": client.connect,
        "invoke": client.invoke,
        "stream": client.stream,
        "token": client.set_token,
        "stop": client.stop,
    }
    for line in sys.stdin:
        command = json.loads(line)
        try:
            does[command["do"]](command)
        except Exception as error:  # the test decides what it means
            say({"answer": command["id"], "error": f"{type(error).__name__}: {error}"})


main()
