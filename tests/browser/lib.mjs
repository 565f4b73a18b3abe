// What every scenario uses: a browser whose complaints are collected, a person
// who signs in, waiting with a deadline, and the line to the story.
//
// The line: `await ask("push 2 held")` prints `@push 2 held` on stdout, and the
// story answers with one line on stdin (`world.rs` has the verbs). What is printed
// without an `@` is for people.
//
// Invariant: nothing sleeps for a fixed time and hopes; `until` looks again and
// again and at its deadline says what it saw last. A scenario that ends well has
// seen no violation of the content security policy, no error on the console, no
// error of a page and no failed request but those it said it expects.

import { mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import * as at from "./selectors.mjs";

export const url = process.env.DOORSTEP_URL;
const DEADLINE_MS = 20000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const SCREENSHOTS = process.env.DOORSTEP_SCREENSHOTS || fileURLToPath(new URL("../../target/screenshots", import.meta.url));

// --- the line to the story -------------------------------------------------------

const answers = [], waiting = [];
const line = createInterface({ input: process.stdin });
line.on("line", (text) => (waiting.length ? waiting.shift()(text) : answers.push(text)));
// Without its story a scenario has no point.
line.on("close", () => process.exit(1));

export const say = (text) => console.log(text);
export const ask = (words) => {
  console.log(`@${words}`);
  return answers.length ? answers.shift() : new Promise((heard) => waiting.push(heard));
};

// --- waiting ------------------------------------------------------------------------

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Looks until `isIt`; a look that fails (a page that is just changing) is one that
// has not seen it.
export const until = async (what, look, isIt = Boolean, deadline = DEADLINE_MS) => {
  const ends = Date.now() + deadline;
  for (;;) {
    let seen;
    try {
      seen = await look();
      if (isIt(seen)) return seen;
    } catch (fault) {
      seen = fault.message;
    }
    if (Date.now() > ends) throw new Error(`waited ${deadline} ms for ${what}; the last sight was ${JSON.stringify(seen)}`);
    await pause(25);
  }
};

export const shows = (what, locator, pattern) =>
  until(`${what} to show ${pattern}`, () => locator.innerText({ timeout: 1000 }), (text) => pattern.test(text));

export const check = (isTrue, what) => {
  if (!isTrue) throw new Error(what);
};

// --- what a browser complains about ----------------------------------------------------

export class Seen {
  csp = [];
  console = [];
  faults = [];
  requests = [];
  #expected = [];

  // This answer is expected; the console calls it an error.
  expect(status, path) {
    this.#expected.push({ status, path });
  }

  async watch(context) {
    await context.exposeBinding("__violation", (_, text) => this.csp.push(text));
    await context.addInitScript(() =>
      addEventListener("securitypolicyviolation", (event) =>
        window.__violation(`${event.violatedDirective} of ${event.blockedURI} on ${location.pathname}`)));
    context.on("page", (page) => this.#listen(page));
  }

  #listen(page) {
    page.on("console", (message) => {
      const text = message.text(), where = message.location().url;
      if (/content security policy/i.test(text)) this.csp.push(text);
      else if (message.type() === "error" && !this.#isExpected(text, where)) this.console.push(`${text} (${where})`);
    });
    page.on("pageerror", (fault) => this.faults.push(fault.message));
    page.on("dialog", (dialog) => {
      this.faults.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("requestfailed", (request) => {
      const why = request.failure()?.errorText;
      // A page that is left gives up what it was fetching.
      if (why !== "net::ERR_ABORTED") this.requests.push(`${request.url()}: ${why}`);
    });
  }

  #isExpected(text, where) {
    return this.#expected.some(({ status, path }) => text.includes(`status of ${status}`) && new URL(where).pathname === path);
  }

  errors() {
    return [...this.console, ...this.faults, ...this.requests];
  }

  check() {
    check(!this.csp.length, `violations of the content security policy: ${this.csp.join("; ")}`);
    check(!this.errors().length, `errors: ${this.errors().join("; ")}`);
  }
}

// --- a scenario ----------------------------------------------------------------------------

// Runs `body` with a browser. `body` gets `person(options)`, which opens a context
// of its own whose complaints are collected in `seen`. `last` has the last word,
// however it went.
export const scenario = async (body, last = () => {}) => {
  const browser = await chromium.launch({ executablePath: process.env.DOORSTEP_CHROMIUM, args: FLAGS });
  const seen = new Seen(), contexts = [];
  const person = async (options = {}) => {
    const context = await browser.newContext({ baseURL: url, ...options });
    context.setDefaultTimeout(DEADLINE_MS);
    await seen.watch(context);
    contexts.push(context);
    return context;
  };
  let result = 0;
  try {
    await body({ browser, person, seen });
    seen.check();
  } catch (fault) {
    result = 1;
    say(`FAILED: ${fault.stack}`);
    say(`complaints: ${JSON.stringify({ csp: seen.csp, errors: seen.errors() })}`);
    await whereTheyAre(contexts);
  }
  await browser.close();
  last(seen);
  process.exit(result);
};

const whereTheyAre = async (contexts) => {
  for (const page of contexts.flatMap((context) => context.pages())) {
    const text = await page.innerText("body", { timeout: 1000 }).catch(() => "nothing that can be read");
    say(`a page at ${page.url()}:\n${text.slice(0, 2000)}\n---`);
  }
};

// --- a person ---------------------------------------------------------------------------------

export const signIn = async (page, password = process.env.DOORSTEP_PASSWORD) => {
  await at.password(page).fill(password);
  await at.signIn(page).click();
};

// Opens a page as somebody who signed in, and waits until it follows.
export const open = async (context, path) => {
  const page = await context.newPage();
  await go(page, path);
  return page;
};

export const go = async (page, path) => {
  await page.goto(path);
  if (new URL(page.url()).pathname === "/login") {
    await signIn(page);
    await page.waitForURL((to) => to.pathname === path);
  }
  await follows(page);
};

// The back button. Right after a page was left the browser has none to ask, for a moment.
export const back = async (page) => {
  await page.waitForLoadState();
  await until("the way back", () => page.goBack().then(() => true, (fault) => {
    if (fault.message.includes("Not attached to an active page")) return false;
    throw fault;
  }));
};

export const follows = (page) => shows("the page", at.following(page), new RegExp(`^${at.followingWord}`));

// A mark that a reload would take away.
export const mark = (page) => page.evaluate(() => { window.__mark = performance.timeOrigin; });
export const checkMark = async (page, what) =>
  check(await page.evaluate(() => window.__mark === performance.timeOrigin), `${what}: the page was loaded again`);

// --- screenshots -----------------------------------------------------------------------------------

export const screenshot = async (page, name) => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage: true, animations: "disabled" });
};
