// What a test asks of the official client, in Node and in a page: commands in, lines out. Loaded as a script in the page.
'use strict';

/** Events of the hub; their arguments are passed on as they come. */
const EVENTS = [
  'Connected',
  'MessageCreated',
  'MessageEdited',
  'MessageDeleted',
  'MessagesDeleted',
  'MemberJoined',
  'MemberChanged',
  'MembersChanged',
  'MemberLeft',
  'RoomChanged',
  'RoomDeleted',
  'RoomJoined',
  'Heads',
  'Closing',
];

/** Makes a function that does a command and says what comes of it by `emit`. */
function client(signalR, messagePack, emit) {
  let hub;
  let token;
  const say = (line) => emit(JSON.stringify(line));
  const ended = (error) => (error === undefined ? null : error.message);

  const commands = {
    async connect({ url, transport, protocol, stateful, ...options }) {
      ({ token } = options);
      const builder = new signalR.HubConnectionBuilder()
        .withUrl(url, { transport: signalR.HttpTransportType[transport], accessTokenFactory: () => token })
        .withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => 50 })
        .configureLogging(signalR.LogLevel.None);
      if (protocol === 'messagepack') builder.withHubProtocol(new messagePack.MessagePackHubProtocol());
      if (stateful) builder.withStatefulReconnect();
      hub = builder.build();
      for (const event of EVENTS) hub.on(event, (...args) => say({ event, arguments: args }));
      hub.onreconnecting(() => say({ state: 'reconnecting' }));
      hub.onreconnected(() => say({ state: 'reconnected' }));
      hub.onclose((error) => say({ state: 'closed', error: ended(error) }));
      await hub.start();
    },

    invoke: ({ method, argument }) => hub.invoke(method, argument),

    /** Sends many messages, some under way at once: the places that they got, in the order of the answers. */
    async burst({ roomId, count, underWay }) {
      const places = [];
      let next = 0;
      const send = async () => {
        while (next < count) {
          const content = `mine ${next++}`;
          places.push((await hub.invoke('SendMessage', { roomId, content })).seq);
        }
      };
      await Promise.all(Array.from({ length: underWay }, send));
      return places;
    },

    stream: ({ method, argument }) =>
      new Promise((resolve, reject) => {
        const items = [];
        hub.stream(method, argument).subscribe({
          next: (item) => items.push(item),
          complete: () => resolve(items),
          error: reject,
        });
      }),

    /** The token of later requests. */
    async token(command) {
      ({ token } = command);
    },

    stop: () => hub.stop(),
  };

  return async (line) => {
    const command = JSON.parse(line);
    try {
      say({ answer: command.id, result: (await commands[command.do](command)) ?? null });
    } catch (error) {
      say({ answer: command.id, error: error.message });
    }
  };
}

if (typeof module !== 'undefined') module.exports = { client };
