// From the address and the session to what is on screen.

import './style.css';
import { Chat } from './chat';
import { h } from './dom';
import { Session } from './session';
import { conversation } from './views/conversation';
import { confirm, toast } from './views/dialog';
import { people } from './views/people';
import { inviteIn, rooms } from './views/rooms';
import { welcome } from './views/welcome';

const app = document.querySelector<HTMLElement>('#app') ?? document.body;

/** An invite that was opened; its token leaves the address at once, which may be looked at or shared. */
let invite: string | undefined;

function takeInvite(): void {
  if (!location.hash.startsWith('#/invite/')) return;
  invite = inviteIn(location.hash);
  history.replaceState(null, '', location.pathname);
}

function leaveSession(note: string): void {
  document.title = 'chat';
  for (const open of document.querySelectorAll('dialog')) open.close();
  app.replaceChildren(welcome(note, invite !== undefined, enter));
  app.querySelector('input')?.focus();
}

function enter(session: Session): void {
  session.addEventListener('end', (event) => leaveSession((event as CustomEvent<string>).detail), { once: true });
  const chat = new Chat(session);
  const stop = new AbortController();
  session.addEventListener('end', () => stop.abort(), { once: true });

  const go = (room: number) => (location.hash = `#/rooms/${room}`);
  const shell = h('div', { class: 'shell' });
  const showPeople = () => shell.classList.toggle('with-people');
  const sidebar = rooms(chat, go);
  const middle = conversation(chat, () => (location.hash = ''), showPeople);
  const side = people(chat, showPeople);
  const nothing = h('main', { class: 'nothing' }, h('p', {}, 'Choose a room, or create one.'));
  const banner = h('div', { class: 'banner', role: 'status' });
  shell.append(sidebar.element, nothing);
  app.replaceChildren(banner, shell);

  let isDue = false;
  const draw = () => {
    isDue = false;
    const room = chat.current;
    const unread = chat.list.reduce((sum, one) => sum + one.unread, 0);
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${room?.name ? `${room.name} · ` : ''}chat`;
    banner.textContent = chat.status === 'reconnecting' ? 'The connection is lost. Reconnecting…' : '';
    shell.classList.toggle('in-room', room !== undefined);
    sidebar.draw();
    if (room) {
      if (!middle.element.isConnected) nothing.replaceWith(middle.element, side.element);
      middle.draw(room);
      side.draw(room);
    } else if (middle.element.isConnected) {
      side.element.remove();
      middle.element.replaceWith(nothing);
    }
  };
  const drawSoon = () => {
    if (isDue || stop.signal.aborted) return;
    isDue = true;
    queueMicrotask(draw);
  };

  const route = () => {
    takeInvite();
    if (invite !== undefined) askToJoin(chat, go);
    const room = /^#\/rooms\/(\d+)$/.exec(location.hash)?.[1];
    shell.classList.remove('with-people');
    void chat.open(room === undefined ? undefined : Number(room));
  };
  const { signal } = stop;
  chat.addEventListener('change', drawSoon);
  chat.addEventListener('ready', route, { once: true });
  chat.addEventListener('trouble', (event) => toast((event as CustomEvent<string>).detail));
  chat.addEventListener('left', (event) => {
    toast(`You are no longer in ${(event as CustomEvent<string>).detail}.`);
    location.hash = '';
  });
  window.addEventListener('hashchange', route, { signal });
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible' && chat.current) chat.current.unread = 0;
    drawSoon();
  }, { signal });
  document.addEventListener('keydown', (event) => {
    if (!event.altKey || (event.key !== 'ArrowDown' && event.key !== 'ArrowUp')) return;
    const all = chat.list;
    const at = chat.current ? all.indexOf(chat.current) : -1;
    const next = all[(at + (event.key === 'ArrowDown' ? 1 : all.length - 1)) % all.length];
    if (!next) return;
    event.preventDefault();
    go(next.id);
  }, { signal });
  draw();
}

function askToJoin(chat: Chat, go: (room: number) => void): void {
  const token = invite;
  invite = undefined;
  if (token === undefined) return;
  confirm('Join a room', 'You’ve been invited to a room. Its members will see your name.', 'Join', async () => go(await chat.join(token)));
}

takeInvite();
const session = Session.restore();
if (session) enter(session);
else leaveSession('');
