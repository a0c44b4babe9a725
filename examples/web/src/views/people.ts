// Who is in the room, and the ways in.

import type { Chat } from '../chat';
import { avatar, h, icon, iconButton, show } from '../dom';
import type { RoomModel } from '../room';
import type { Invite, Member } from '../wire';
import { confirm, dialog, form, toast } from './dialog';

/** The column of a room's members. */
export function people(chat: Chat, close: () => void): { element: HTMLElement; draw: (room: RoomModel) => void } {
  const list = h('ul', {});
  const title = h('h2', {}, 'People');
  const invitation = h('button', { type: 'button', class: 'primary' }, icon('link'), 'Invite people');
  invitation.addEventListener('click', () => chat.current && void invite(chat, chat.current));
  const element = h('aside', { class: 'people', 'aria-label': 'People in this room' }, h('header', {}, title, iconButton('close', 'Close', close)), list, invitation);
  const draw = (room: RoomModel) => {
    invitation.hidden = room.role !== 'admin';
    const members = [...(room.members?.values() ?? [])].sort((a, b) => a.username.localeCompare(b.username));
    show(
      list,
      members.map((member) => ({
        key: String(member.userId),
        look: JSON.stringify([room.id, member.username, member.role, room.role]),
        draw: () => person(chat, room, member),
      })),
    );
  };
  return { element, draw };
}

function person(chat: Chat, room: RoomModel, member: Member): HTMLElement {
  const isMe = member.userId === chat.me;
  const mayAct = room.role === 'admin' && !isMe && member.role !== 'admin';
  return h(
    'li',
    {},
    avatar(member.userId, member.username),
    h('span', { class: 'name' }, member.username, isMe && ' (you)'),
    member.role === 'admin' && h('span', { class: 'tag' }, 'admin'),
    mayAct && iconButton('more', `What to do with ${member.username}`, () => actions(chat, room, member)),
  );
}

function actions(chat: Chat, room: RoomModel, member: Member): void {
  dialog(member.username, (close) => [
    form('Make an admin', [h('p', {}, 'An admin can invite and remove people, and rename or delete the room.')], async () => {
      await chat.setRole(room, member.userId, 'admin');
      close();
    }),
    h('button', {
      type: 'button',
      class: 'danger',
      onclick: () => {
        close();
        confirm(`Remove ${member.username}?`, `${member.username} will no longer see this room.`, 'Remove', () => chat.removeMember(room, member.userId));
      },
    }, 'Remove from the room'),
  ]);
}

/** Makes an invite and shows its link; lists those that still admit someone. */
export async function invite(chat: Chat, room: RoomModel): Promise<void> {
  const link = h('input', { readonly: true, 'aria-label': 'Invite link', class: 'link-field' });
  const open = h('ul', { class: 'invites' });
  const draw = (invites: Invite[]) =>
    open.replaceChildren(
      ...invites.map((one) =>
        h(
          'li',
          {},
          h('span', {}, `Used ${one.uses} ${one.uses === 1 ? 'time' : 'times'}, open until ${new Date(one.expiresAt).toLocaleDateString()}`),
          iconButton('bin', 'Revoke this invite', () => void chat.revoke(room, one).then(refresh)),
        ),
      ),
    );
  const refresh = async () => draw(await chat.invites(room));
  dialog(`Invite to ${room.name}`, () => [
    h('p', {}, 'Whoever opens this link can join. It is shown only once.'),
    form('Copy link', [link], async () => {
      link.select();
      await navigator.clipboard.writeText(link.value);
      toast('The link is on the clipboard.');
    }),
    h('h3', {}, 'Open invites'),
    open,
  ]);
  try {
    const { token } = await chat.invite(room);
    link.value = `${location.origin}${location.pathname}#/invite/${token}`;
    link.select();
    await refresh();
  } catch (error) {
    link.closest('form')?.querySelector('.problem')?.append(error instanceof Error ? error.message : 'There is no invite.');
  }
}
