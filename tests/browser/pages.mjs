// Every page, narrow and wide, light and dark: axe, the content security policy,
// the console, no scrolling sideways, and a screenshot of each.
//
// The last three lines are the sum, and are printed whatever it is.

import * as at from "./selectors.mjs";
import { serious } from "./axe.mjs";
import { ask, check, follows, open, say, scenario, screenshot, shows, signIn, until } from "./lib.mjs";

const WIDTHS = [390, 1280];
const SCHEMES = ["light", "dark"];
// The narrowest phone that is looked at, besides.
const NARROWEST = 360;

const faults = [], wide = [];
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
const look = async (page, name) => {
  await eachView(page, name, async (width, colorScheme) => screenshot(page, `${name}-${width}-${colorScheme}`));
  const folded = page.locator("details:not([open]) > summary");
  while (await folded.count()) await folded.first().click();
  await checkWidth(page, name, NARROWEST);
  await eachView(page, name, async (width, colorScheme) => {
    faults.push(...(await serious(page)).map((fault) => `${name}, ${width} px, ${colorScheme}: ${fault}`));
    looked += 1;
  });
};

const sum = (seen) => {
  say(`${looked} views of pages`);
  for (const fault of [...faults, ...wide, ...seen.csp, ...seen.errors()]) say(`  ${fault}`);
  say(`csp: ${seen.csp.length} violations`);
  say(`axe: ${faults.length} serious`);
  say(`console: ${seen.errors().length} errors`);
};

const signingIn = async (context, seen) => {
  const page = await context.newPage();
  await page.goto("/login");
  await look(page, "login");
  seen.expect(401, "/login");
  await signIn(page, "not the password");
  await shows("the alert", at.alert(page), /password/);
  await look(page, "login-wrong");
};

const empty = async (person) => {
  const context = await person({ baseURL: process.env.DOORSTEP_EMPTY_URL });
  const page = await open(context, "/");
  await look(page, "empty-home");
  for (const name of ["deliveries", "containers"]) {
    await page.goto(`/${name}`);
    await look(page, `empty-${name}`);
  }
};

await scenario(async ({ person, seen }) => {
  const context = await person();
  await signingIn(context, seen);
  await empty(person);

  await ask("push 2 sick");
  const sick = await ask("ended");
  await ask("push 3");
  const well = await ask("ended");
  await ask("push 4 held");
  const page = await open(context, "/");
  const link = at.project(page, "attic", "shop").getByRole("link", { name: "deploy" });
  const running = await until("the run", () => link.getAttribute("href", { timeout: 1000 }), (run) => run && !run.endsWith(well));
  const paths = {
    home: "/", project: "/projects/attic/shop", "project-services": "/projects/cellar/media", deliveries: "/deliveries", containers: "/containers",
    "run-rolled-back": `/runs/${sick}`, "run-succeeded": `/runs/${well}`, "run-running": running,
  };
  for (const [name, path] of Object.entries(paths)) {
    await page.goto(path);
    await follows(page);
    await look(page, name);
  }
  seen.expect(404, "/runs/none");
  await page.goto("/runs/none");
  await look(page, "no-such-run");
  await ask("open 4");

  await page.goto("/");
  await page.locator("#more > summary").click();
  await at.button(page, at.words.addHost).click();
  await shows("the code", page.getByRole("main"), /doorstep join http/);
  await look(page, "enrollment");

  await ask("host stop");
  await page.goto("/");
  await shows("the host", at.host(page, "attic"), /offline/);
  await look(page, "home-offline");
  await page.goto("/projects/attic/shop");
  await look(page, "project-offline");

  check(!faults.length && !wide.length, `${faults.length} of axe, ${wide.length} too wide`);
}, sum);
