// A room as this page knows it: what happened up to its place, and what waits beyond a hole. No I/O.

import type { Changes, Member, Message, MessageEvent, Page, Role, Room, RoomEvent } from './wire';

/** Something that happened while one was watching, shown among the messages. */
export interface Note {
  seq: number;
  text: string;
}

/** A message that the server hasn't confirmed. */
export interface Pending {
  clientMessageId: string;
  roomId: number;
  content: string;
  sentAt: string;
  /** Why the server doesn't take it. */
  refused?: string;
}

export class RoomModel {
  readonly id: number;
  name = '';
  role: Role = 'member';
  memberCount = 0;
  /** All changes up to this one are in. */
  place: number;
  unread = 0;
  /** In order of their places, without holes from the oldest one on. */
  messages: Message[] = [];
  notes: Note[] = [];
  /** Everyone in it, once it was asked for. */
  members: Map<number, Member> | undefined;
  /** Whether the newest messages were read. */
  history: 'unread' | 'reading' | 'read' = 'unread';
  /** Whether there are older ones than those here. */
  hasOlder = true;

  /** Where the name and the count were read: they hold what happened up to here. */
  #described = 0;
  #waiting = new Map<number, RoomEvent>();
  /** Users whose messages before this place are gone. */
  #erased = new Map<number, number>();

  constructor(id: number, place: number) {
    this.id = id;
    this.place = place;
  }

  describe(room: Room): void {
    if (room.seq < this.#described) return;
    this.#described = room.seq;
    this.name = room.name;
    this.memberCount = room.memberCount;
    if (room.role) this.role = room.role;
  }

  /** Whether something is known to be missing. */
  get hasHole(): boolean {
    return this.#waiting.size > 0;
  }

  /** Takes a live event in its turn; what lies beyond a hole is kept. Returns what was applied. */
  take(event: RoomEvent, me: number): RoomEvent[] {
    if (placeOf(event) > this.place) this.#waiting.set(placeOf(event), event);
    return this.#advance(me);
  }

  /** Takes a page of changes: each is the current state, and the room stands where the page says. */
  takeChanges(changes: Changes, me: number): RoomEvent[] {
    for (const event of changes.items) this.#apply(event, me);
    this.place = Math.max(this.place, changes.seq);
    for (const place of this.#waiting.keys()) if (place <= this.place) this.#waiting.delete(place);
    return [...changes.items, ...this.#advance(me)];
  }

  /** Begins to read the newest messages; what happens meanwhile is kept. */
  beginHistory(): void {
    this.history = 'reading';
    this.messages = [];
    this.hasOlder = true;
  }

  /** Takes a page of messages that ends where those here begin. */
  takeHistory(page: Page<Message>): void {
    this.hasOlder = page.hasMore;
    const oldest = page.items[0]?.seq;
    if (this.history === 'reading') {
      this.history = 'read';
      if (oldest !== undefined) this.messages = this.messages.filter((message) => message.seq >= oldest);
    }
    for (const message of page.items) this.#put(message);
  }

  takeMembers(members: Member[]): void {
    this.members = new Map(members.map((member) => [member.userId, member]));
    this.memberCount = members.length;
  }

  #advance(me: number): RoomEvent[] {
    const applied: RoomEvent[] = [];
    for (let next; (next = this.#waiting.get(this.place + 1)); ) {
      this.#waiting.delete(++this.place);
      this.#apply(next, me);
      applied.push(next);
    }
    return applied;
  }

  #apply(event: RoomEvent, me: number): void {
    switch (event.type) {
      case 'messageCreated':
      case 'messageEdited':
      case 'messageDeleted':
        // An older message that isn't here comes as it is then, when one scrolls up to it.
        if (this.#isShown(event)) this.#put(event);
        break;
      case 'messagesDeleted':
        this.#erased.set(event.senderId, event.seq);
        this.messages = this.messages.filter((message) => !this.#isErased(message));
        break;
      case 'memberJoined':
        if (this.members && !this.members.has(event.member.userId)) this.#note(event.seq, `${event.member.username} joined`);
        this.members?.set(event.member.userId, event.member);
        this.#count(event.seq, 1);
        break;
      case 'memberChanged':
        this.members?.set(event.member.userId, event.member);
        if (event.member.userId === me) this.role = event.member.role;
        break;
      case 'membersChanged':
        for (const member of this.members?.values() ?? []) member.role = event.role;
        this.role = event.role;
        break;
      case 'memberLeft': {
        const member = this.members?.get(event.userId);
        if (member) this.#note(event.seq, `${member.username} ${event.reason === 'removed' ? 'was removed' : 'left'}`);
        this.members?.delete(event.userId);
        this.#count(event.seq, -1);
        break;
      }
      case 'roomChanged':
        if (event.room.name !== this.name && this.name) this.#note(event.seq, `The room is now called ${event.room.name}`);
        this.describe(event.room);
        break;
      case 'roomDeleted':
        break;
    }
  }

  #count(seq: number, by: number): void {
    if (this.members) this.memberCount = this.members.size;
    else if (seq > this.#described) this.memberCount += by;
  }

  #note(seq: number, text: string): void {
    if (this.history === 'read' && !this.notes.some((note) => note.seq === seq)) this.notes.push({ seq, text });
  }

  #isShown(event: MessageEvent): boolean {
    if (this.history === 'reading') return true;
    const oldest = this.messages[0]?.seq;
    return this.history === 'read' && (!this.hasOlder || oldest === undefined || event.seq >= oldest);
  }

  #isErased(message: Message): boolean {
    return message.seq < (this.#erased.get(message.senderId) ?? 0);
  }

  /** Inserts a message, or replaces an older state of it. */
  #put(message: Message): void {
    if (this.#isErased(message)) return;
    const at = this.messages.findLastIndex((other) => other.seq <= message.seq);
    const there = this.messages[at];
    if (there?.seq !== message.seq) this.messages.splice(at + 1, 0, message);
    else if (there.changedSeq <= message.changedSeq) this.messages[at] = message;
  }
}

/** The place of an event in its room. */
export function placeOf(event: RoomEvent): number {
  return 'changedSeq' in event ? event.changedSeq : event.seq;
}
