// A room: its name, its messages, and where one writes.

import type { Chat } from '../chat';
import { explain } from '../api';
import { h, icon, iconButton, show } from '../dom';
import type { RoomModel } from '../room';
import type { Message } from '../wire';
import { ask, confirm, dialog, toast } from './dialog';
import { newest, rows } from './message';
import { invite } from './people';

/** A message may have this many characters. */
const LONGEST = 4_000;
/** Older messages are fetched when less than this many pixels of them are left above. */
const AHEAD_PX = 600;
/** Who is this near to the end follows what comes. */
const END_PX = 80;

/** The middle of the page. `draw` brings it up to date. */
export function conversation(chat: Chat, back: () => void, showPeople: () => void): { element: HTMLElement; draw: (room: RoomModel) => void } {
  let room: RoomModel | undefined;
  let editing: Message | undefined;
  let isReading = false;
  /** Whether one sees the newest message, and follows what comes. */
  let isAtEnd = true;
  /** The place of the oldest message on screen. */
  let oldest: number | undefined;

  const name = h('h2', {});
  const count = h('button', { type: 'button', class: 'count', title: 'Who is here', onclick: showPeople });
  const inviting = iconButton('link', 'Invite people', () => room && void invite(chat, room));
  const header = h(
    'header',
    {},
    iconButton('back', 'All rooms', back, { class: 'icon back' }),
    h('div', {}, name, count),
    inviting,
    iconButton('people', 'People in this room', showPeople),
    iconButton('more', 'More', () => room && more(chat, room)),
  );

  const list = h('ol', { role: 'log', 'aria-label': 'Messages', 'aria-live': 'polite' });
  const start = h('p', { class: 'start' });
  const log = h('div', { class: 'log', tabindex: 0, 'aria-label': 'Messages', role: 'region' }, start, list);
  const toNewest = newest(() => log.scrollTo({ top: log.scrollHeight, behavior: 'smooth' }));
  log.addEventListener('scroll', () => {
    isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < END_PX;
    if (isAtEnd) toNewest.hidden = true;
    void older();
  });
  // A keyboard that comes up, a column that opens: the end stays in view.
  new ResizeObserver(() => {
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  }).observe(log);

  const text = h('textarea', { rows: 1, maxlength: LONGEST, placeholder: 'Write a message', 'aria-label': 'Message', enterkeyhint: 'send' });
  const send = h('button', { class: 'send icon', 'aria-label': 'Send', title: 'Send' }, icon('send'));
  const editingNote = h('p', { class: 'editing', hidden: true }, 'Editing a message. ', h('button', { type: 'button', class: 'link', onclick: () => stopEditing() }, 'Cancel'));
  const composer = h('form', { class: 'composer' }, editingNote, h('div', {}, text, send));

  composer.addEventListener('submit', (event) => {
    event.preventDefault();
    const content = text.value;
    if (!room || content.trim() === '') return;
    if (editing) {
      const message = editing;
      void chat.edit(message, content).then(stopEditing, (error: unknown) => toast(explain(error)));
      return;
    }
    chat.send(room, content);
    text.value = '';
    grow();
    text.focus();
    isAtEnd = true;
  });
  text.addEventListener('input', grow);
  text.addEventListener('keydown', (event) => {
    // Enter sends where there is a real keyboard; one that composes characters needs it for itself.
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !matchMedia('(pointer: coarse)').matches) {
      event.preventDefault();
      composer.requestSubmit();
    } else if (event.key === 'Escape' && editing) {
      stopEditing();
    } else if (event.key === 'ArrowUp' && text.value === '' && !editing) {
      const last = room?.messages.findLast((message) => message.senderId === chat.me && !message.deletedAt);
      if (last) {
        event.preventDefault();
        edit(last);
      }
    }
  });

  const element = h('main', { class: 'conversation' }, header, h('div', { class: 'log-frame' }, log, toNewest), composer);

  function grow(): void {
    text.style.height = 'auto';
    text.style.height = `${Math.min(text.scrollHeight, 160)}px`;
  }

  function edit(message: Message): void {
    editing = message;
    editingNote.hidden = false;
    text.value = message.content;
    grow();
    text.focus();
  }

  function stopEditing(): void {
    editing = undefined;
    editingNote.hidden = true;
    text.value = '';
    grow();
    text.focus();
  }

  function remove(message: Message): void {
    confirm('Delete this message?', 'It goes for everyone in the room.', 'Delete', () => chat.delete(message));
  }

  async function older(): Promise<void> {
    if (!room?.hasOlder || room.history !== 'read' || isReading || log.scrollTop > AHEAD_PX) return;
    isReading = true;
    list.ariaBusy = 'true'; // nothing that is read aloud
    try {
      await chat.readOlder(room);
    } catch {
      // Scrolling on asks again.
    } finally {
      isReading = false;
      list.ariaBusy = 'false';
    }
  }

  function draw(current: RoomModel): void {
    const isOther = room !== current;
    room = current;
    if (isOther) {
      list.replaceChildren();
      toNewest.hidden = true;
      if (editing) stopEditing();
    }
    name.textContent = room.name;
    count.textContent = `${room.memberCount} ${room.memberCount === 1 ? 'person' : 'people'}`;
    inviting.hidden = room.role !== 'admin';
    start.textContent =
      room.history !== 'read' || room.hasOlder ? 'Loading…' : room.messages.length === 0 ? 'No messages yet. Say hello.' : 'This is where the room begins.';

    if (isOther) isAtEnd = true;
    const newestBefore = list.lastElementChild;
    const fromEnd = log.scrollHeight - log.scrollTop;
    const oldestBefore = oldest;
    oldest = room.messages[0]?.seq;
    show(list, rows(chat, room, { edit, remove }));
    if (isAtEnd) log.scrollTop = log.scrollHeight;
    else if (oldest !== oldestBefore) log.scrollTop = log.scrollHeight - fromEnd; // older ones came above
    if (!isAtEnd && list.lastElementChild !== newestBefore) toNewest.hidden = false;
    if (isOther && !matchMedia('(pointer: coarse)').matches) text.focus();
    if (room.history === 'read' && log.scrollHeight <= log.clientHeight + AHEAD_PX) void older();
  }

  return { element, draw };
}

function more(chat: Chat, room: RoomModel): void {
  dialog(room.name, (close) => {
    const item = (label: string, kind: string, act: () => void) =>
      h('button', { type: 'button', class: kind, onclick: () => (close(), act()) }, label);
    return [
      h(
        'div',
        { class: 'menu' },
        room.role === 'admin' &&
          item('Rename', 'plain', () => ask('Rename the room', 'Name', 'Rename', room.name, async (name) => void (await chat.renameRoom(room, name)))),
        item('Leave', 'plain', () => confirm(`Leave ${room.name}?`, 'You need an invite to come back.', 'Leave', () => chat.removeMember(room, 'me'))),
        room.role === 'admin' &&
          item('Delete', 'danger', () => confirm(`Delete ${room.name}?`, 'The room and all its messages go, for everyone.', 'Delete', () => chat.deleteRoom(room))),
      ),
    ];
  });
}
