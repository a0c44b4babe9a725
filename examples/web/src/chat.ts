// The live half: one hub connection, the rooms it tells of, and the messages that wait to be sent.
//
// Nothing is lost and nothing shows twice: each event has its place in its room, a hole is filled by GetChanges, and a
// message that wasn't confirmed is sent again under the same clientMessageId.

import { HubConnection, HubConnectionBuilder, HubConnectionState, LogLevel } from '@microsoft/signalr';
import { explain, hubError } from './api';
import { RoomModel, type Pending } from './room';
import type { Session } from './session';
import { roomEvents } from './wire';
import type { Changes, Connected, Heads, Invite, Member, Message, Page, Role, Room, RoomEvent, User } from './wire';

export type Status = 'connecting' | 'online' | 'reconnecting';

/** How long a hole may stay before it is filled: the missing event may be on its way. */
const HOLE_MS = 1_000;
/** How long before its end the access token is replaced. */
const RENEW_MS = 60_000;
const PAGE = 50;

export class Chat extends EventTarget {
  readonly session: Session;
  readonly rooms = new Map<number, RoomModel>();
  readonly me: number;
  status: Status = 'connecting';
  /** The room that is on screen. */
  current: RoomModel | undefined;
  /** What the server hasn't confirmed, oldest first. */
  outbox: Pending[];

  #hub: HubConnection;
  #names = new Map<number, string>();
  #asked = new Set<number>();
  #catchUps = new Map<number, Promise<void>>();
  #renewal: number | undefined;
  #sending = false;
  #ended = false;

  constructor(session: Session) {
    super();
    this.session = session;
    this.me = session.user.id;
    this.#names.set(this.me, session.user.username);
    this.outbox = this.#keptOutbox();
    this.#hub = new HubConnectionBuilder()
      .withUrl('/v1/hub', { accessTokenFactory: () => session.accessToken() })
      .withAutomaticReconnect({ nextRetryDelayInMilliseconds: ({ previousRetryCount }) => pause(previousRetryCount) })
      .withStatefulReconnect()
      .configureLogging(LogLevel.Error)
      .build();
    this.#listen();
    session.addEventListener('end', () => void this.#end());
    void this.#start();
  }

  /** The rooms by name. */
  get list(): RoomModel[] {
    return [...this.rooms.values()].filter((room) => room.name).sort((a, b) => a.name.localeCompare(b.name));
  }

  /** A user's name; asked for where it isn't known yet. */
  nameOf(id: number): string {
    const name = this.#names.get(id);
    if (name === undefined && !this.#asked.has(id)) {
      this.#asked.add(id);
      void this.session
        .call<User>('GET', `/v1/users/${id}`)
        .then((user) => this.#names.set(id, user.username))
        .then(() => this.#changed())
        .catch(() => this.#asked.delete(id));
    }
    return name ?? '…';
  }

  /** Shows a room: reads its newest messages and its members. */
  async open(id: number | undefined): Promise<void> {
    this.current = id === undefined ? undefined : this.rooms.get(id);
    const room = this.current;
    if (room) room.unread = 0;
    this.#changed();
    if (!room || this.status !== 'online') return;
    await Promise.all([
      room.history === 'unread' ? this.#readNewest(room) : undefined,
      room.members ? undefined : this.#readMembers(room),
    ]);
  }

  async #readNewest(room: RoomModel): Promise<void> {
    room.beginHistory();
    try {
      room.takeHistory(await this.#hub.invoke<Page<Message>>('GetMessages', { roomId: room.id, limit: PAGE }));
    } catch (error) {
      room.history = 'unread'; // read again after the next connection
      this.#report(error);
    }
    this.#changed();
  }

  /** Reads the page before the oldest message here. */
  async readOlder(room: RoomModel): Promise<void> {
    const before = room.messages[0]?.id;
    if (!room.hasOlder || before === undefined || this.status !== 'online') return;
    room.takeHistory(await this.#hub.invoke<Page<Message>>('GetMessages', { roomId: room.id, before, limit: PAGE }));
    this.#changed();
  }

  async #readMembers(room: RoomModel): Promise<void> {
    try {
      const members = await this.#all<Member>(`/v1/rooms/${room.id}/members`, (member) => member.userId);
      for (const member of members) this.#names.set(member.userId, member.username);
      room.takeMembers(members);
    } catch (error) {
      this.#report(error);
    }
    this.#changed();
  }

  // What the user does.

  send(room: RoomModel, content: string): void {
    const clientMessageId = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
    this.outbox.push({ clientMessageId, roomId: room.id, content, sentAt: new Date().toISOString() });
    this.#changed();
    void this.#flush();
  }

  /** Sends a refused message once more. */
  retry(pending: Pending): void {
    delete pending.refused;
    this.#changed();
    void this.#flush();
  }

  discard(pending: Pending): void {
    this.outbox = this.outbox.filter((other) => other !== pending);
    this.#changed();
  }

  async edit(message: Message, content: string): Promise<void> {
    const { roomId, id: messageId } = message;
    const edited = await this.#hub.invoke<Message>('EditMessage', { roomId, messageId, content });
    this.#take({ type: 'messageEdited', ...edited });
  }

  async delete(message: Message): Promise<void> {
    const { roomId, id: messageId } = message;
    const deleted = await this.#hub.invoke<Message>('DeleteMessage', { roomId, messageId });
    this.#take({ type: 'messageDeleted', ...deleted });
  }

  async createRoom(name: string): Promise<number> {
    return this.#enter(await this.session.call<Room>('POST', '/v1/rooms', { name }));
  }

  async join(token: string): Promise<number> {
    return this.#enter(await this.session.call<Room>('POST', '/v1/invites/accept', { token }));
  }

  renameRoom(room: RoomModel, name: string): Promise<Room> {
    return this.session.call('PATCH', `/v1/rooms/${room.id}`, { name });
  }

  deleteRoom(room: RoomModel): Promise<void> {
    return this.session.call('DELETE', `/v1/rooms/${room.id}`);
  }

  removeMember(room: RoomModel, user: number | 'me'): Promise<void> {
    return this.session.call('DELETE', `/v1/rooms/${room.id}/members/${user}`);
  }

  setRole(room: RoomModel, user: number, role: Role): Promise<Member> {
    return this.session.call('PATCH', `/v1/rooms/${room.id}/members/${user}`, { role });
  }

  invite(room: RoomModel): Promise<Invite> {
    return this.session.call('POST', `/v1/rooms/${room.id}/invites`, {});
  }

  invites(room: RoomModel): Promise<Invite[]> {
    return this.#all<Invite>(`/v1/rooms/${room.id}/invites`, (invite) => invite.id);
  }

  revoke(room: RoomModel, invite: Invite): Promise<void> {
    return this.session.call('DELETE', `/v1/rooms/${room.id}/invites/${invite.id}`);
  }

  async #all<T>(path: string, idOf: (item: T) => number): Promise<T[]> {
    const items: T[] = [];
    for (let after = ''; ; ) {
      const page = await this.session.call<Page<T>>('GET', `${path}?limit=100${after}`);
      items.push(...page.items);
      const last = page.items.at(-1);
      if (!page.hasMore || last === undefined) return items;
      after = `&after=${idOf(last)}`;
    }
  }

  // The connection.

  async #start(): Promise<void> {
    for (let attempt = 0; !this.#ended; attempt++) {
      try {
        await this.#hub.start();
        return;
      } catch {
        if (this.#ended) return;
        this.#be('reconnecting');
        await new Promise((resume) => setTimeout(resume, pause(attempt)));
      }
    }
  }

  async #end(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#renewal);
    sessionStorage.removeItem(this.#outboxKey);
    await this.#hub.stop();
  }

  #listen(): void {
    this.#hub.onreconnecting(() => this.#be('reconnecting'));
    this.#hub.onclose(() => {
      if (this.#ended) return;
      this.#be('reconnecting');
      void this.#start();
    });
    this.#hub.on('Connected', (connected: Connected) => void this.#connected(connected).catch((error: unknown) => this.#report(error)));
    this.#hub.on('RoomJoined', ({ room }: { room: Room }) => void this.#enter(room));
    this.#hub.on('Heads', (heads: Heads) => {
      for (const { id, seq } of heads.rooms) {
        const room = this.rooms.get(id);
        if (room && room.place < seq) this.#fillLater(room, seq);
      }
    });
    this.#hub.on('Closing', ({ reason }: { reason: string }) => {
      if (reason === 'sessionEnded') this.session.end('You were logged out.');
    });
    for (const [target, type] of Object.entries(roomEvents)) {
      this.#hub.on(target, (argument: object) => this.#take({ type, ...argument } as RoomEvent));
    }
  }

  /** A new connection tells where its rooms stand; what happened meanwhile is fetched. */
  async #connected(connected: Connected): Promise<void> {
    const there = new Map(connected.rooms.map((room) => [room.id, room.seq]));
    for (const room of this.rooms.values()) if (!there.has(room.id)) this.#leave(room);
    let isNew = false;
    for (const [id, seq] of there) {
      if (!this.rooms.has(id)) {
        this.rooms.set(id, new RoomModel(id, seq));
        isNew = true;
      }
    }
    this.#be('online');
    this.#renewLater();
    if (isNew) {
      for (const room of await this.#all<Room>('/v1/rooms', (room) => room.id)) this.rooms.get(room.id)?.describe(room);
    }
    await Promise.all([...this.rooms.values()].map((room) => (room.place < (there.get(room.id) ?? 0) ? this.#catchUp(room) : undefined)));
    this.dispatchEvent(new Event('ready'));
    this.#changed();
    if (this.current) await this.open(this.current.id);
    void this.#flush();
  }

  #renewLater(): void {
    clearTimeout(this.#renewal);
    const left = this.session.expiresAt - Date.now() - RENEW_MS;
    this.#renewal = window.setTimeout(() => void this.#renew(), Math.max(left, 5_000));
  }

  /** Keeps the connection beyond the end of its token. */
  async #renew(): Promise<void> {
    try {
      const accessToken = await this.session.renew();
      if (this.#hub.state === HubConnectionState.Connected) await this.#hub.invoke('Authenticate', { accessToken });
    } catch {
      // Asked again soon; a connection that was lost brings a new token anyway.
    }
    if (!this.#ended) this.#renewLater();
  }

  #take(event: RoomEvent): void {
    const room = this.rooms.get(event.roomId);
    if (!room) return;
    this.#after(room, room.take(event, this.me));
    if (room.hasHole) this.#fillLater(room, room.place + 1);
    this.#changed();
  }

  /** What follows from events that are in. */
  #after(room: RoomModel, events: RoomEvent[]): void {
    for (const event of events) {
      if (event.type === 'messageCreated') {
        if (event.senderId === this.me) {
          this.outbox = this.outbox.filter((pending) => pending.clientMessageId !== event.clientMessageId);
        } else if (room !== this.current || document.visibilityState === 'hidden') {
          room.unread++;
        }
      } else if (event.type === 'memberJoined' || event.type === 'memberChanged') {
        this.#names.set(event.member.userId, event.member.username);
      } else if (event.type === 'roomDeleted' || (event.type === 'memberLeft' && event.userId === this.me)) {
        this.#leave(room);
      }
    }
  }

  #fillLater(room: RoomModel, seq: number): void {
    setTimeout(() => {
      if (room.place < seq && this.rooms.get(room.id) === room && this.status === 'online') void this.#catchUp(room);
    }, HOLE_MS);
  }

  #catchUp(room: RoomModel): Promise<void> {
    let running = this.#catchUps.get(room.id);
    if (!running) {
      running = this.#readChanges(room)
        .catch((error: unknown) => this.#report(error))
        .finally(() => this.#catchUps.delete(room.id));
      this.#catchUps.set(room.id, running);
    }
    return running;
  }

  async #readChanges(room: RoomModel): Promise<void> {
    const from = room.place;
    for (let since = from; ; ) {
      const changes = await this.#hub.invoke<Changes>('GetChanges', { roomId: room.id, since, from, limit: 100 });
      this.#after(room, room.takeChanges(changes, this.me));
      this.#changed();
      since = changes.seq;
      if (!changes.complete && room.history === 'read') await this.#readNewest(room);
      if (!changes.hasMore) return;
    }
  }

  /** Takes a room in that the user has joined or made. */
  #enter(room: Room): number {
    let model = this.rooms.get(room.id);
    if (!model) {
      model = new RoomModel(room.id, room.seq);
      this.rooms.set(room.id, model);
    }
    model.describe(room);
    this.#changed();
    return room.id;
  }

  #leave(room: RoomModel): void {
    this.rooms.delete(room.id);
    this.outbox = this.outbox.filter((pending) => pending.roomId !== room.id);
    if (this.current === room) {
      this.current = undefined;
      this.dispatchEvent(new CustomEvent('left', { detail: room.name }));
    }
  }

  /** Sends what waits, one after another, so that the order stays. */
  async #flush(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (let next; this.status === 'online' && (next = this.outbox.find((pending) => !pending.refused)); ) {
        await this.#deliver(next);
      }
    } finally {
      this.#sending = false;
    }
  }

  async #deliver(pending: Pending): Promise<void> {
    const { roomId, content, clientMessageId } = pending;
    try {
      const message = await this.#hub.invoke<Message>('SendMessage', { roomId, content, clientMessageId });
      this.outbox = this.outbox.filter((other) => other !== pending);
      this.#take({ type: 'messageCreated', ...message });
    } catch (error) {
      const refusal = hubError(error);
      if (refusal?.code === 'rate_limited' || refusal?.code === 'unavailable') {
        const seconds = /retry after (\d+) s/.exec(refusal.detail)?.[1] ?? '1';
        await new Promise((resume) => setTimeout(resume, Number(seconds) * 1000));
      } else if (refusal) {
        pending.refused = explain(error);
      } else {
        // No answer: the connection is gone, or about to be. It is sent again on the next.
        await new Promise((resume) => setTimeout(resume, 500));
      }
    }
    this.#changed();
  }

  get #outboxKey(): string {
    return `chat.outbox.${this.me}`;
  }

  #keptOutbox(): Pending[] {
    try {
      return JSON.parse(sessionStorage.getItem(this.#outboxKey) ?? '[]') as Pending[];
    } catch {
      return [];
    }
  }

  #be(status: Status): void {
    this.status = status;
    this.#changed();
  }

  #report(error: unknown): void {
    // What failed for want of a connection is done again by the next one.
    if (this.status === 'online' && hubError(error)) this.dispatchEvent(new CustomEvent('trouble', { detail: explain(error) }));
  }

  #changed(): void {
    if (!this.#ended) sessionStorage.setItem(this.#outboxKey, JSON.stringify(this.outbox));
    this.dispatchEvent(new Event('change'));
  }
}

/** How long to wait before the next attempt: at once, then longer and longer, and not all clients at the same time. */
function pause(attempt: number): number {
  const longest = [0, 500, 1_000, 2_000, 5_000][attempt] ?? 10_000;
  return longest * (0.5 + Math.random() / 2);
}
