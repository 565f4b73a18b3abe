// A push arrives on pages that are open, and nothing is loaded again for it.

import * as at from "./selectors.mjs";
import { ask, checkMark, check, mark, open, scenario, shows, until } from "./lib.mjs";

const short = (commit) => new RegExp(commit.slice(0, 7));

await scenario(async ({ person }) => {
  const context = await person();
  const home = await open(context, "/");
  const card = at.project(home, "attic", "shop");
  await mark(home);
  check(!/running/.test(await card.innerText()), "nothing was pushed, and something runs");

  // The first version: state and commit.
  const first = await ask("push 1");
  await shows("the project", card, /running/);
  await shows("the project", card, short(first));
  await ask("ended");

  // The second one stops on its way, so that a run can be watched.
  const second = await ask("push 2 held");
  await shows("the project", card, /deploy[^]*running/);
  const link = card.getByRole("link", { name: "deploy" });
  const run = await until("a link to the run", () => link.getAttribute("href", { timeout: 1000 }));
  const page = await open(context, run);
  await mark(page);
  // What a step prints is seen while it goes on, in its colours.
  await shows("the log", at.log(page), /app\.py[^]*the hook waits/);
  await shows("what is red", at.log(page).locator("span.c1.bold"), /^hook$/);
  await until("the steps so far", () => at.steps(page).allInnerTexts(), (rows) => /before_switch/.test(rows.at(-1)));
  const before = await at.steps(page).count();
  check(!/goes on/.test(await at.log(page).innerText()), "the hook went on by itself");

  await ask("open 2");
  await shows("the log", at.log(page), /the hook waits[^]*the hook goes on/);
  await shows("what is green", at.log(page).locator("span.c2"), /^goes$/);
  const colours = await at.log(page).evaluate((log) => [".c1", ".c2", "li"].map((which) => getComputedStyle(log.querySelector(which)).color));
  check(new Set(colours).size === 3, `the colours are ${colours}`);

  // A search finds what colours cut in two, and marks just that.
  await at.searchLog(page).fill("the HOOK w");
  await until("one line to be found", () => at.log(page).locator("li.hit").allInnerTexts(), (lines) => lines.length === 1 && /the hook waits/.test(lines[0]));
  const marked = await page.evaluate(() => [...CSS.highlights.get("found")].map(String));
  check(marked.length === 1 && marked[0] === "the hook w", `marked is ${marked}`);
  await at.searchLog(page).fill("");
  await until("more steps", () => at.steps(page).allInnerTexts(), (rows) => rows.length > before && /switch[^]*succeeded/.test(rows.join("\n")));
  await shows("the run", page.getByRole("main"), /succeeded/);
  await shows("the project", card, short(second));
  await checkMark(home, "the first page");
  await checkMark(page, "the run's page");
});
