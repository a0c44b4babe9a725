// Dialogs: the browser's own, which keep the focus in and close by Escape.

import { explain } from '../api';
import { h, iconButton } from '../dom';

/** Shows a dialog with this content; `close` closes it, and it is gone when it is closed. */
export function dialog(title: string, content: (close: () => void) => (Node | string)[]): HTMLDialogElement {
  const close = () => element.close();
  const element = h('dialog', { 'aria-label': title, onclose: () => element.remove() });
  element.addEventListener('pointerdown', (event) => {
    if (event.target === element) close();
  });
  element.append(
    h('div', { class: 'dialog' }, h('header', {}, h('h2', {}, title), iconButton('close', 'Close', close)), ...content(close)),
  );
  document.body.append(element);
  element.showModal();
  return element;
}

/** A form whose action may fail: then it says why and stays. */
export function form(action: string, fields: (Node | string)[], submit: (data: FormData) => Promise<void>, kind = 'primary'): HTMLFormElement {
  const problem = h('p', { class: 'problem', role: 'alert' });
  const button = h('button', { class: kind }, action);
  const element = h('form', {}, ...fields, problem, button);
  element.addEventListener('submit', (event) => {
    event.preventDefault();
    problem.textContent = '';
    button.disabled = true;
    submit(new FormData(element))
      .catch((error: unknown) => (problem.textContent = explain(error)))
      .finally(() => (button.disabled = false));
  });
  return element;
}

/** A labelled input. */
export function field(label: string, name: string, attributes: Record<string, string | number | boolean> = {}, hint?: string): HTMLLabelElement {
  return h(
    'label',
    {},
    h('span', {}, label),
    h('input', { name, required: true, autocomplete: 'off', ...attributes }),
    hint !== undefined && h('small', {}, hint),
  );
}

/** Asks for one line of text. */
export function ask(title: string, label: string, action: string, value: string, submit: (text: string) => Promise<void>, hint?: string): void {
  const open = dialog(title, (close) => [
    form(action, [field(label, 'text', { value, maxlength: 500 }, hint)], async (data) => {
      await submit(String(data.get('text')).trim());
      close();
    }),
  ]);
  open.querySelector('input')?.select();
}

/** Asks whether to go on. */
export function confirm(title: string, text: string, action: string, submit: () => Promise<unknown>): void {
  dialog(title, (close) => [
    h('p', {}, text),
    form(
      action,
      [],
      async () => {
        await submit();
        close();
      },
      'danger',
    ),
  ]);
}

/** A few words that go away by themselves. */
export function toast(text: string): void {
  const element = h('div', { class: 'toast', role: 'status' }, text);
  document.body.append(element);
  setTimeout(() => element.remove(), 6_000);
}
