// The rooms, at the left; on a phone a page of their own.

import type { Chat } from '../chat';
import { avatar, h, iconButton, show } from '../dom';
import { ask } from './dialog';

/** The column of rooms. `go` opens one; `draw` brings it up to date. */
export function rooms(chat: Chat, go: (room: number) => void): { element: HTMLElement; draw: () => void } {
  const list = h('ul', { class: 'rooms' });
  const empty = h('p', { class: 'empty' }, 'No rooms yet. Create one, or join one by an invite.');
  const { user } = chat.session;
  const element = h(
    'nav',
    { class: 'sidebar', 'aria-label': 'Rooms' },
    h(
      'header',
      {},
      h('h1', {}, 'Rooms'),
      iconButton('link', 'Join by an invite', () => join(chat, go)),
      iconButton('plus', 'Create a room', () => create(chat, go)),
    ),
    list,
    empty,
    h(
      'footer',
      {},
      avatar(user.id, user.username),
      h('strong', {}, user.username),
      iconButton('out', 'Log out', () => void chat.session.logOut()),
    ),
  );
  const draw = () => {
    const all = chat.list;
    empty.hidden = all.length > 0 || chat.status === 'connecting';
    show(
      list,
      all.map((room) => ({
        key: String(room.id),
        look: JSON.stringify([room.name, room.unread, room === chat.current]),
        draw: () =>
          h(
            'li',
            {},
            h(
              'a',
              { href: `#/rooms/${room.id}`, 'aria-current': room === chat.current && 'page', class: room.unread > 0 && 'unread' },
              h('span', { class: 'name' }, room.name),
              room.unread > 0 && h('span', { class: 'badge', 'aria-label': `${room.unread} unread` }, room.unread > 99 ? '99+' : String(room.unread)),
            ),
          ),
      })),
    );
  };
  return { element, draw };
}

function create(chat: Chat, go: (room: number) => void): void {
  ask('Create a room', 'Name', 'Create', '', async (name) => go(await chat.createRoom(name)), 'You can invite people to it next.');
}

function join(chat: Chat, go: (room: number) => void): void {
  ask('Join a room', 'Invite', 'Join', '', async (text) => go(await chat.join(inviteIn(text))), 'The link that you were sent, or the code in it.');
}

/** The token in what someone pasted: a link to this page, or the token itself. */
export function inviteIn(text: string): string {
  return /[#&]\/?invite[=/]([^&\s]+)/.exec(text)?.[1] ?? text;
}
