// Elements from code. Text is always text: nothing here reads HTML.

type Child = Node | string | undefined | false;
type Attribute = string | number | boolean | undefined | ((event: never) => void);

/** Makes an element: `onclick: f` listens, `true` and `false` set and leave out, the rest are attributes. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Attribute> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== undefined && child !== false));
  return element;
}

const icons = {
  back: 'M15 5l-7 7 7 7',
  plus: 'M12 5v14M5 12h14',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M16 4.3a3.5 3.5 0 0 1 0 6.4M17.5 14.4c2.4.7 4 2.8 4 5.6',
  link: 'M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.700-5.700l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.700 5.700l1-1',
  send: 'M4 12l16-8-5 17-3.500-7z',
  edit: 'M4 20l1-4L16.500 4.500l3 3L8 19z',
  bin: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
  close: 'M6 6l12 12M18 6L6 18',
  down: 'M12 5v14M6 13l6 6 6-6',
  out: 'M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9',
  copy: 'M9 9h10v11H9zM6 15H5V4h10v2',
} as const;

export type Icon = keyof typeof icons;

/** A drawing without words: what it means stands beside it. */
export function icon(name: Icon): SVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', `icon-${name}`);
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', icons[name]);
  svg.append(path);
  return svg;
}

/** A button that shows a drawing and says what it does. */
export function iconButton(name: Icon, label: string, onclick: () => void, attributes: Record<string, Attribute> = {}): HTMLButtonElement {
  return h('button', { type: 'button', class: 'icon', 'aria-label': label, title: label, onclick, ...attributes }, icon(name));
}

/** One row of a list that is kept in step with `rows`. */
export interface Row {
  key: string;
  /** Changes when the row must be drawn anew. */
  look: string;
  draw: () => HTMLElement;
}

/** Makes `list` show these rows, and touches only those that changed: focus and selection stay in the others. */
export function show(list: HTMLElement, rows: Row[]): void {
  const there = new Map<string, HTMLElement>();
  for (const child of list.children) if (child instanceof HTMLElement) there.set(child.dataset['key'] ?? '', child);
  const wanted = new Set(rows.map((row) => row.key));
  for (const [key, element] of there) if (!wanted.has(key)) element.remove();
  let next = list.firstElementChild;
  for (const row of rows) {
    let element = there.get(row.key);
    if (!element || element.dataset['look'] !== row.look) {
      const drawn = row.draw();
      drawn.dataset['key'] = row.key;
      drawn.dataset['look'] = row.look;
      if (element) {
        if (element === next) next = drawn;
        element.replaceWith(drawn);
      }
      element = drawn;
    }
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
}

/** A round sign for a person: their initial on a colour of their own. */
export function avatar(id: number, name: string): HTMLElement {
  const sign = h('span', { class: 'avatar', 'aria-hidden': 'true' }, (name.match(/[a-z0-9]/i)?.[0] ?? '?').toUpperCase());
  sign.style.setProperty('--hue', String((id * 137) % 360));
  return sign;
}
