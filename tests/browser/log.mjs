// A run with a log of 100,000 lines: the page opens, scrolls, and shows the end.

import * as at from "./selectors.mjs";
import { ask, check, open, scenario, say, until } from "./lib.mjs";

const LINES = 100000;
// Bounds of a machine that does much else at the same time; on an idle one it is
// some ten times better.
const OPENS_MS = 15000;
const GAP_MS = 1500;
// What a frame takes beyond this is time in which nothing moved; the share of it.
const FRAME_MS = 50;
const STUCK_MAX = 0.4;
const SCROLL_MS = 3000;

const last = String(LINES);

// Scrolls through the whole log frame by frame, and returns how long each took.
const scroll = (log, lasts) =>
  log.evaluate((element, lasts) => new Promise((done) => {
    const gaps = [], began = performance.now(), way = element.scrollHeight - element.clientHeight;
    let before = began;
    const step = (now) => {
      gaps.push(now - before);
      before = now;
      element.scrollTop = way * Math.min(1, (now - began) / lasts);
      if (now - began < lasts) requestAnimationFrame(step);
      else done(gaps.slice(1));
    };
    element.scrollTop = 0;
    requestAnimationFrame(step);
  }), lasts);

await scenario(async ({ person }) => {
  await ask("push 2 long");
  const run = await ask("ended");
  const context = await person();
  await open(context, "/");

  // What the edge keeps, by its own word.
  const kept = await (await context.request.get(`/api/runs/${run}/log`)).json();
  check(kept.lines.filter((line) => /^\d{6}$/.test(line)).length === LINES, `the edge keeps ${kept.lines.length} lines`);

  const began = Date.now();
  const page = await open(context, `/runs/${run}`);
  const log = at.log(page);
  await log.waitFor();
  const opened = Date.now() - began;
  check(opened < OPENS_MS, `the page opened after ${opened} ms`);

  const gaps = (await scroll(log, SCROLL_MS)).sort((a, b) => a - b);
  const median = gaps[gaps.length >> 1], longest = gaps.at(-1);
  const stuck = gaps.reduce((sum, gap) => sum + Math.max(0, gap - FRAME_MS), 0) / SCROLL_MS;
  say(`log of ${kept.lines.length} lines: opened in ${opened} ms, ${gaps.length} frames in ${SCROLL_MS} ms, median ${median.toFixed(0)} ms, longest ${longest.toFixed(0)} ms, stuck ${(100 * stuck).toFixed(0)} %`);
  check(stuck < STUCK_MAX && longest < GAP_MS, "scrolling is not smooth");

  // Parts of it may come only when somebody scrolls there.
  await until("the last line", async () => {
    await log.evaluate((element) => { element.scrollTop = element.scrollHeight; });
    return log.evaluate((element) => element.textContent.slice(-2000));
  }, (text) => text.includes(`${last}\n`) || text.trimEnd().endsWith(last));
});
