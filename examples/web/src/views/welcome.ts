// Who isn't logged in logs in here, or registers.

import { h } from '../dom';
import { Session } from '../session';
import { field, form } from './dialog';

/** The page for someone unknown; `note` says why they are here. */
export function welcome(note: string, hasInvite: boolean, enter: (session: Session) => void): HTMLElement {
  const main = h('main', { class: 'welcome' });
  const draw = (isNew: boolean) => {
    const email = field('Email', 'email', { type: 'email', autocomplete: 'username', maxlength: 254 });
    const username = field('Name', 'username', { autocomplete: 'nickname', minlength: 2, maxlength: 32, pattern: '[A-Za-z0-9_.\\-]+' }, '2 to 32 letters, digits, or _ . -');
    const password = field(
      'Password',
      'password',
      { type: 'password', autocomplete: isNew ? 'new-password' : 'current-password', minlength: 8, maxlength: 256 },
      isNew ? 'At least 8 characters' : undefined,
    );
    const submit = async (data: FormData) => {
      const text = (name: string) => String(data.get(name));
      enter(
        isNew
          ? await Session.register(text('email'), text('username'), text('password'))
          : await Session.logIn(text('email'), text('password')),
      );
    };
    main.replaceChildren(
      h(
        'section',
        { class: 'card' },
        h('img', { src: '/favicon.svg', alt: '', width: 48, height: 48 }),
        h('h1', {}, isNew ? 'Create your account' : 'Welcome back'),
        note !== '' && h('p', { class: 'note', role: 'status' }, note),
        hasInvite && h('p', { class: 'note' }, 'You’ve been invited to a room. Log in or create an account to join it.'),
        form(isNew ? 'Create account' : 'Log in', isNew ? [email, username, password] : [email, password], submit),
        h(
          'p',
          { class: 'aside' },
          isNew ? 'Have an account? ' : 'New here? ',
          h('button', { type: 'button', class: 'link', onclick: () => draw(!isNew) }, isNew ? 'Log in' : 'Create an account'),
        ),
      ),
    );
    main.querySelector('input')?.focus();
  };
  draw(hasInvite);
  return main;
}
