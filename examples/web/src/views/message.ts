// One line of a conversation: a message, one on its way, a day, a note.

import type { Chat } from '../chat';
import { avatar, h, icon, iconButton, type Row } from '../dom';
import type { Pending, RoomModel } from '../room';
import type { Message } from '../wire';

/** Messages of one person within this time stand together. */
const TOGETHER_MS = 5 * 60_000;

/** What can be done with a message. */
export interface Actions {
  edit: (message: Message) => void;
  remove: (message: Message) => void;
}

/** All lines of a room, oldest first. */
export function rows(chat: Chat, room: RoomModel, actions: Actions): Row[] {
  const lines: Row[] = [];
  const notes = [...room.notes].sort((a, b) => a.seq - b.seq);
  let previous: Message | undefined;
  const noteBefore = (seq: number) => {
    for (let note; (note = notes[0]) && note.seq < seq; notes.shift()) {
      const { text } = note;
      lines.push({ key: `n${note.seq}`, look: text, draw: () => h('li', { class: 'line' }, text) });
      previous = undefined;
    }
  };
  let day = '';
  const dayOf = (at: string) => {
    const its = new Date(at).toDateString();
    if (its === day) return;
    day = its;
    previous = undefined;
    lines.push({ key: `d${its}`, look: its, draw: () => h('li', { class: 'line day' }, nameOfDay(at)) });
  };
  for (const message of room.messages) {
    noteBefore(message.seq);
    dayOf(message.sentAt);
    const follows = isTogether(previous, message);
    const name = chat.nameOf(message.senderId);
    lines.push({
      key: `m${message.seq}`,
      look: JSON.stringify([message.changedSeq, follows, name, room.role]),
      draw: () => line(chat, room, message, name, follows, actions),
    });
    previous = message;
  }
  noteBefore(Infinity);
  for (const pending of chat.outbox.filter((one) => one.roomId === room.id)) {
    dayOf(pending.sentAt);
    lines.push({ key: `p${pending.clientMessageId}`, look: pending.refused ?? '', draw: () => onItsWay(chat, pending) });
  }
  return lines;
}

function isTogether(previous: Message | undefined, message: Message): boolean {
  return previous?.senderId === message.senderId && Date.parse(message.sentAt) - Date.parse(previous.sentAt) < TOGETHER_MS;
}

function line(chat: Chat, room: RoomModel, message: Message, name: string, follows: boolean, actions: Actions): HTMLElement {
  const isMine = message.senderId === chat.me;
  const time = new Date(message.sentAt);
  const classes = ['message', isMine && 'mine', follows && 'follows', message.deletedAt && 'deleted'].filter(Boolean).join(' ');
  const buttons = !message.deletedAt && (isMine || room.role === 'admin');
  return h(
    'li',
    { class: classes },
    !isMine && avatar(message.senderId, name),
    h(
      'div',
      { class: 'bubble' },
      h('strong', { class: follows || isMine ? 'visually-hidden' : 'sender' }, isMine ? 'You' : name),
      message.deletedAt ? h('p', {}, 'This message was deleted') : h('p', {}, ...linked(message.content)),
      h(
        'small',
        {},
        message.editedAt !== undefined && !message.deletedAt && 'edited · ',
        h('time', { datetime: message.sentAt, title: time.toLocaleString() }, time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })),
      ),
    ),
    buttons &&
      h(
        'div',
        { class: 'actions' },
        isMine && iconButton('edit', 'Edit', () => actions.edit(message)),
        iconButton('bin', 'Delete', () => actions.remove(message)),
      ),
  );
}

function onItsWay(chat: Chat, pending: Pending): HTMLElement {
  const refused = pending.refused;
  return h(
    'li',
    { class: 'message mine pending' },
    h(
      'div',
      { class: 'bubble' },
      h('strong', { class: 'visually-hidden' }, 'You'),
      h('p', {}, ...linked(pending.content)),
      refused === undefined
        ? h('small', {}, 'sending…')
        : h(
            'small',
            { role: 'alert' },
            `Not sent: ${refused} `,
            h('button', { type: 'button', class: 'link', onclick: () => chat.retry(pending) }, 'Try again'),
            ' ',
            h('button', { type: 'button', class: 'link', onclick: () => chat.discard(pending) }, 'Discard'),
          ),
    ),
  );
}

/** Text with its web addresses as links. */
function linked(text: string): (Node | string)[] {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]'])/).map((part, i) =>
    // Every other part is what the expression found.
    i % 2 === 1 && URL.canParse(part) ? h('a', { href: part, target: '_blank', rel: 'noopener noreferrer nofollow' }, part) : part,
  );
}

function nameOfDay(at: string): string {
  const day = new Date(at);
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(day).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return day.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
}

/** The button that leads back to the newest messages. */
export function newest(go: () => void): HTMLButtonElement {
  return h('button', { type: 'button', class: 'newest', hidden: true, onclick: go }, icon('down'), 'New messages');
}
