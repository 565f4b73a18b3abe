// One page, narrow and wide, light and dark: axe, no scrolling sideways, and a
// screenshot of each. What was found is in `faults` and `wide`.

import { serious } from "./axe.mjs";
import { say, screenshot } from "./lib.mjs";

const WIDTHS = [390, 1280];
const SCHEMES = ["light", "dark"];
// The narrowest phone and the widest screen that are looked at, besides.
const NARROWEST = 360, WIDEST = 2560;

export const faults = [], wide = [];
let looked = 0;

const settled = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

const checkWidth = async (page, name, width) => {
  await page.setViewportSize({ width, height: 844 });
  await settled(page);
  const most = await page.evaluate(() => document.documentElement.scrollWidth);
  if (most > width) wide.push(`${name} at ${width} px is ${most} px wide`);
};

const eachView = async (page, name, see) => {
  for (const width of WIDTHS) {
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await checkWidth(page, name, width);
      await see(width, colorScheme);
    }
  }
};

// The pictures are of the page as it opens; looked at is all that is folded too.
export const look = async (page, name) => {
  await eachView(page, name, async (width, colorScheme) => screenshot(page, `${name}-${width}-${colorScheme}`));
  await checkWidth(page, name, WIDEST);
  await screenshot(page, `${name}-${WIDEST}`);
  await page.evaluate(() => { for (const folded of document.querySelectorAll("details")) folded.open = true; });
  for (const width of [NARROWEST, WIDEST]) await checkWidth(page, name, width);
  await eachView(page, name, async (width, colorScheme) => {
    faults.push(...(await serious(page)).map((fault) => `${name}, ${width} px, ${colorScheme}: ${fault}`));
    looked += 1;
  });
};

// The sum, whose last three lines are printed whatever it is.
export const sum = (seen) => {
  say(`${looked} views of pages`);
  for (const fault of [...faults, ...wide, ...seen.csp, ...seen.errors()]) say(`  ${fault}`);
  say(`csp: ${seen.csp.length} violations`);
  say(`axe: ${faults.length} serious`);
  say(`console: ${seen.errors().length} errors`);
};
