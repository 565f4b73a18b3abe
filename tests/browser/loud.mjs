// A run that logs all the time: its page follows line by line without being
// fetched again, and other pages ask for nothing.

import * as at from "./selectors.mjs";
import { check, checkMark, mark, open, scenario, until } from "./lib.mjs";

const LINES = 60;

// The paths that a page asks for from now on.
const asked = (page) => {
  const paths = [];
  page.on("request", (request) => paths.push(new URL(request.url()).pathname));
  return paths;
};

await scenario(async ({ person }) => {
  const context = await person();
  const home = await open(context, "/"), page = await open(context, "/runs/mill-1");
  await mark(page);
  const lines = () => at.log(page).locator("li").allTextContents();
  const before = (await until("the first lines", lines, (seen) => seen.length > 2)).length;
  const homeAsked = asked(home), pageAsked = asked(page);
  const seen = await until("more lines", lines, (now) => now.length >= before + LINES);
  check(seen.every((text, place) => text === `line ${place}\n`), `the log is not in order: ${seen}`);
  const parts = pageAsked.filter((path) => path === "/api/runs/mill-1/log").length;
  check(parts > 3 && parts <= LINES, `${parts} requests for ${LINES} lines`);
  // Something else may have changed once, such as that the page was opened.
  check(pageAsked.length - parts <= 2, `the run's page asked for ${pageAsked}`);
  check(homeAsked.length <= 2, `the first page asked for ${homeAsked}`);
  await checkMark(page, "the run's page");
});
