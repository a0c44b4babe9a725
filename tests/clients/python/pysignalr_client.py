"""What a test asks of pysignalr: commands in, lines out."""

import asyncio
import json
import logging
import sys

from lines import EVENTS, say
from pysignalr.client import SignalRClient
from pysignalr.protocol.json import JSONProtocol
from pysignalr.protocol.messagepack import MessagepackProtocol

logging.disable(logging.CRITICAL)


class Client:
    def __init__(self) -> None:
        self.hub = None
        self.running = None
        self.token = ""
        self.is_again = False

    async def connect(self, command: dict) -> None:
        self.token = command["token"]
        opened = asyncio.Event()
        self.hub = SignalRClient(
            command["url"],
            protocol=MessagepackProtocol() if command["protocol"] == "messagepack" else JSONProtocol(),
            # The factory is asked only from the second negotiation on.
            headers={"Authorization": f"Bearer {self.token}"},
            access_token_factory=lambda: self.token,
            retry_sleep=0.1,
        )
        for event in EVENTS:
            self.hub.on(event, lambda arguments, event=event: self.event(event, arguments))

        async def on_open() -> None:
            opened.set()
            if self.is_again:
                say({"state": "reconnected"})
            self.is_again = True

        async def on_error(message) -> None:
            """Each call has its own answer; without this one an error would end the client."""

        self.hub.on_open(on_open)
        self.hub.on_error(on_error)
        self.running = asyncio.create_task(self.run())
        await asyncio.wait_for(opened.wait(), 30)
        say({"answer": command["id"], "result": None})

    async def run(self) -> None:
        try:
            await self.hub.run()
        except Exception as error:  # the test decides what it means
            say({"state": "closed", "error": f"{type(error).__name__}: {error}"})

    async def event(self, name: str, arguments: list) -> None:
        say({"event": name, "arguments": arguments})

    async def invoke(self, command: dict) -> None:
        async def completed(message) -> None:
            answer(command, message)

        await self.hub.send(command["method"], [command["argument"]], completed)

    async def stream(self, command: dict) -> None:
        items = []

        async def on_next(item) -> None:
            items.append(item)

        async def on_complete(message) -> None:
            say({"answer": command["id"], "result": items})

        async def on_error(message) -> None:
            answer(command, message)

        await self.hub.stream(command["method"], [command["argument"]], on_next, on_complete, on_error)

    async def set_token(self, command: dict) -> None:
        self.token = command["token"]
        say({"answer": command["id"], "result": None})

    async def stop(self, command: dict) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        say({"answer": command["id"], "result": None})


def answer(command: dict, message) -> None:
    if message.error:
        say({"answer": command["id"], "error": message.error})
    else:
        say({"answer": command["id"], "result": message.result})


async def main() -> None:
    client = Client()
    does = {
        "connect": client.connect,
        "invoke": client.invoke,
        "stream": client.stream,
        "token": client.set_token,
        "stop": client.stop,
    }
    commands = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async for line in commands:
        command = json.loads(line)
        try:
            await does[command["do"]](command)
        except Exception as error:  # the test decides what it means
            say({"answer": command["id"], "error": f"{type(error).__name__}: {error}"})


asyncio.run(main())
