// What goes over the wire, as the server's OpenAPI document has it. Unknown members and events are ignored.

export interface User {
  id: number;
  username: string;
}

export interface Tokens {
  accessToken: string;
  expiresIn: number;
  refreshToken: string;
  user: User;
}

export type Role = 'admin' | 'member';

export interface Room {
  id: number;
  name: string;
  memberCount: number;
  seq: number;
  role?: Role;
}

export interface Member {
  userId: number;
  username: string;
  role: Role;
}

export interface Invite {
  id: number;
  token?: string;
  expiresAt: string;
  maxUses?: number;
  uses: number;
}

export interface Message {
  id: number;
  roomId: number;
  /** Its place in the room. */
  seq: number;
  /** The place of its last change. */
  changedSeq: number;
  senderId: number;
  content: string;
  sentAt: string;
  editedAt?: string;
  deletedAt?: string;
  clientMessageId?: string;
}

export interface Page<T> {
  items: T[];
  hasMore: boolean;
}

export type MessageEvent = { type: 'messageCreated' | 'messageEdited' | 'messageDeleted' } & Message;

/** A visible change of a room. */
export type RoomEvent =
  | MessageEvent
  | { type: 'messagesDeleted'; roomId: number; seq: number; senderId: number }
  | { type: 'memberJoined' | 'memberChanged'; roomId: number; seq: number; member: Member }
  | { type: 'membersChanged'; roomId: number; seq: number; role: Role }
  | { type: 'memberLeft'; roomId: number; seq: number; userId: number; reason: string }
  | { type: 'roomChanged'; roomId: number; seq: number; room: Room }
  | { type: 'roomDeleted'; roomId: number; seq: number };

/** The events of a room by their name on the hub, and what they are in `GetChanges`. */
export const roomEvents = {
  MessageCreated: 'messageCreated',
  MessageEdited: 'messageEdited',
  MessageDeleted: 'messageDeleted',
  MessagesDeleted: 'messagesDeleted',
  MemberJoined: 'memberJoined',
  MemberChanged: 'memberChanged',
  MembersChanged: 'membersChanged',
  MemberLeft: 'memberLeft',
  RoomChanged: 'roomChanged',
  RoomDeleted: 'roomDeleted',
} as const satisfies Record<string, RoomEvent['type']>;

export interface Changes {
  items: RoomEvent[];
  seq: number;
  hasMore: boolean;
  complete: boolean;
}

export interface Heads {
  rooms: { id: number; seq: number }[];
}

export interface Connected extends Heads {
  userId: number;
}
