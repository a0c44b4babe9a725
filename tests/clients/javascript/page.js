// Two people in two browser contexts go through a whole chat on the page of examples/web, and through a restart of the
// server. `restart` on stdout asks for the restart; a line on stdin says that it is done.
'use strict';

const assert = require('node:assert/strict');
const path = require('node:path');
const readline = require('node:readline');
const { launch } = require('./installed');

const [url] = process.argv.slice(2);
const WITHIN = 30_000;
const PASSWORD = 'correct horse';
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const step = (text) => console.log(`step: ${text}`);

async function ask(what) {
  console.log(what);
  const { done } = await answers.next();
  assert(!done, 'nobody answers');
}

/** Pictures for the documentation, where they are asked for. */
async function picture(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: path.join(folder, `${name}.png`), animations: 'disabled' });
}

const message = (page, text) => page.getByRole('log').locator('.message').filter({ hasText: text });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const visible = (locator) => locator.waitFor({ state: 'visible' });
const gone = (locator) => locator.waitFor({ state: 'detached' });

async function say(page, text) {
  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await button(page, 'Send').click();
}

/** Types an account in by keyboard alone: the page puts the focus where it belongs. */
async function register(page, name) {
  await visible(page.getByRole('heading', { name: 'Create your account' }));
  for (const text of [`${name}@example.com`, name, PASSWORD]) {
    await page.keyboard.type(text);
    if (text !== PASSWORD) await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Enter');
}

/** Sends over REST as the user of this page, faster than one types. */
async function fill(page, room, count) {
  const token = await page.evaluate(() => JSON.parse(localStorage.getItem('chat.session')).accessToken);
  for (let i = 1; i <= count; i++) {
    const response = await fetch(`${url}/v1/rooms/${room}/messages`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ content: `line ${i} of ${count}` }),
    });
    assert.equal(response.status, 201);
  }
}

async function person(browser, options) {
  const context = await browser.newContext({ baseURL: url, ...options });
  context.setDefaultTimeout(WITHIN);
  const page = await context.newPage();
  page.on('pageerror', (error) => {
    console.log(`an error in the page: ${error.stack}`);
    process.exitCode = 1;
  });
  page.on('dialog', (dialog) => {
    console.log(`a script of a message ran: ${dialog.message()}`);
    process.exitCode = 1;
    void dialog.dismiss();
  });
  page.on('console', (line) => {
    if (/Content Security Policy/i.test(line.text())) {
      console.log(`the policy stops the page: ${line.text()}`);
      process.exitCode = 1;
    }
  });
  return page;
}

async function main() {
  const browser = await launch();
  const ann = await person(browser, { viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  const phone = { width: 390, height: 844 };
  const bob = await person(browser, { viewport: phone, hasTouch: true, isMobile: true, deviceScaleFactor: 2, colorScheme: 'dark' });
  try {
    step('ann registers by keyboard');
    await ann.goto('/');
    await picture(ann, 'log-in');
    await button(ann, 'Create an account').click();
    await register(ann, 'ann');

    step('ann makes rooms');
    for (const name of ['Harvest', 'Reading group', 'Tea']) {
      await button(ann, 'Create a room').click();
      await ann.getByLabel('Name').fill(name);
      await ann.keyboard.press('Enter');
      await visible(ann.getByRole('heading', { name, exact: true }));
    }

    step('ann invites by a link');
    await button(ann.locator('header'), 'Invite people').click();
    const link = ann.getByRole('textbox', { name: 'Invite link' });
    await ann.waitForFunction(() => document.querySelector('.link-field').value !== '');
    const invite = await link.inputValue();
    assert.match(invite, /#\/invite\/[\w-]{20,}$/);
    await visible(ann.getByText('Used 0 times'));
    await ann.keyboard.press('Escape');

    step('bob opens the link, registers and joins');
    await bob.goto(invite);
    assert(!bob.url().includes('invite'), 'the token leaves the address');
    await visible(bob.getByText('been invited to a room'));
    await register(bob, 'bob');
    await button(bob, 'Join').click();
    await visible(bob.getByRole('heading', { name: 'Tea', exact: true }));
    await visible(ann.getByText('bob joined'));
    await visible(ann.getByText('2 people'));

    step('they talk');
    const said = [
      [ann, 'Hello, Bob! Did you find the new tea shop on Mill Lane?'],
      [bob, 'I did. They have first flush Darjeeling, and a list: https://example.com/teas'],
      [ann, 'Wonderful. I have been looking for one since spring.'],
      [ann, 'Tea at four?'],
      [bob, 'At four. I bring the scones.'],
      [ann, 'Then I make the jam: strawberry or damson?'],
      [bob, 'Damson, please. The one from last year was the best I ever had.'],
    ];
    for (const [page, text] of said) {
      await say(page, text);
      await visible(message(ann, text));
      await visible(message(bob, text));
    }

    step('text is never HTML');
    const markup = '<img src=x onerror=alert(1)><b>bold</b>';
    await say(bob, markup);
    await visible(message(ann, markup));
    assert.equal(await ann.locator('.bubble p :is(img, b)').count(), 0);

    step('ann edits by keyboard and deletes by button');
    await say(ann, 'See you latr');
    await visible(message(bob, 'See you latr'));
    await ann.keyboard.press('ArrowUp');
    await visible(ann.getByText('Editing a message'));
    await ann.keyboard.press('End');
    await ann.keyboard.press('Backspace');
    await ann.keyboard.type('er.');
    await ann.keyboard.press('Enter');
    await visible(message(bob, 'See you later.').filter({ hasText: 'edited' }));
    await message(ann, markup).hover();
    await message(ann, markup).getByRole('button', { name: 'Delete' }).click();
    await button(ann.getByRole('dialog'), 'Delete').click();
    await visible(message(bob, 'This message was deleted'));
    await gone(message(bob, markup));

    await ann.locator('header').getByRole('button', { name: 'People in this room' }).click();
    await visible(ann.getByRole('complementary').getByText('bob'));
    await picture(ann, 'light');
    await ann.emulateMedia({ colorScheme: 'dark' });
    await picture(ann, 'dark');
    await ann.emulateMedia({ colorScheme: 'light' });
    await picture(bob, 'phone');

    step('bob reads back to the beginning');
    const room = /rooms\/(\d+)/.exec(ann.url())[1];
    await fill(ann, room, 120);
    await visible(message(bob, 'line 120 of 120'));
    await bob.reload();
    await visible(message(bob, 'line 120 of 120'));
    assert.equal(await message(bob, said[0][1]).count(), 0, 'only the newest page is there');
    while ((await bob.getByText('This is where the room begins').count()) === 0) {
      await bob.locator('.log').evaluate((log) => log.scrollTo({ top: 0 }));
      await bob.evaluate(() => new Promise((done) => requestAnimationFrame(done)));
    }
    await visible(message(bob, said[0][1]));
    const lines = await bob.locator('.message p').allTextContents();
    const expected = Array.from({ length: 120 }, (_, i) => `line ${i + 1} of 120`);
    assert.deepEqual(lines.filter((line) => line.startsWith('line ')), expected, 'each once, in order');

    step('the server restarts while ann writes');
    await ask('stop');
    for (const page of [ann, bob]) await visible(page.getByText('Reconnecting'));
    await say(ann, 'Are you still there?');
    await visible(message(ann, 'Are you still there?').filter({ hasText: 'sending' }));
    await ask('start');
    for (const page of [ann, bob]) await page.getByText('Reconnecting').waitFor({ state: 'hidden' });
    await visible(message(bob, 'Are you still there?'));
    await say(bob, 'I am.');
    await visible(message(ann, 'I am.'));
    await visible(message(ann, 'Are you still there?').filter({ hasNotText: 'sending' }));
    for (const page of [ann, bob]) assert.equal(await message(page, 'Are you still there?').count(), 1, 'once');

    step('ann removes bob');
    await button(ann, 'What to do with bob').click();
    await button(ann, 'Remove from the room').click();
    await button(ann.getByRole('dialog', { name: 'Remove bob?' }), 'Remove').click();
    await visible(bob.getByText('You are no longer in Tea'));
    await visible(ann.getByText('bob was removed'));
    assert.equal(await bob.getByRole('navigation', { name: 'Rooms' }).getByRole('link').count(), 0);

    step('ann logs out and in again');
    await button(ann, 'Log out').click();
    await visible(ann.getByRole('heading', { name: 'Welcome back' }));
    await ann.keyboard.type('ann@example.com');
    await ann.keyboard.press('Tab');
    await ann.keyboard.type(PASSWORD);
    await ann.keyboard.press('Enter');
    await ann.getByRole('link', { name: 'Tea' }).click();
    await visible(message(ann, 'I am.'));
    step('done');
  } catch (error) {
    for (const [name, page] of [['ann', ann], ['bob', bob]]) {
      console.log(`${name} sees:\n${await page.locator('body').ariaSnapshot().catch(() => 'nothing')}`);
    }
    throw error;
  } finally {
    await browser.close();
  }
}

main().then(
  () => process.exit(),
  (error) => {
    console.log(`failed: ${error.stack}`);
    process.exit(1);
  },
);
