// Two tabs of one person both follow, and the back button leads to where one was.

import * as at from "./selectors.mjs";
import { ask, back, check, checkMark, follows, mark, open, scenario, shows, until } from "./lib.mjs";

const short = (commit) => new RegExp(commit.slice(0, 7));

await scenario(async ({ person }) => {
  const context = await person({ viewport: { width: 800, height: 600 } });
  const home = await open(context, "/"), page = await open(context, "/projects/attic/shop");
  await mark(home);
  await mark(page);
  const second = await ask("push 2");
  await shows("the first page", at.project(home, "attic", "shop"), short(second));
  await shows("the project's page", page.getByRole("main"), short(second));
  await checkMark(home, "the first page");
  await checkMark(page, "the project's page");
  await ask("ended");

  // Far down on the first page, to a project, and back.
  const link = at.projectLink(home, "loft", "p20");
  await link.scrollIntoViewIfNeeded();
  const place = () => home.evaluate(() => scrollY);
  const before = await place();
  check(before > 300, `the first page is too short to scroll: ${before}`);
  await link.click();
  await shows("the heading", at.heading(home), /p20/);
  await back(home);
  await shows("the heading", at.heading(home), /Projects/);
  await follows(home);
  await until("the place where one was", place, (now) => Math.abs(now - before) < 120);
  await mark(home);
  const third = await ask("push 3");
  await shows("the first page", at.project(home, "attic", "shop"), short(third));
  await checkMark(home, "the first page after going back");
  check(Math.abs((await place()) - before) < 120, `the page moved from ${before} to ${await place()}`);
});
