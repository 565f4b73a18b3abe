// Every page, narrow and wide, light and dark: axe, the content security policy,
// the console, no scrolling sideways, and a screenshot of each.
//
// The last three lines are the sum, and are printed whatever it is.

import * as at from "./selectors.mjs";
import { ask, check, follows, go, open, scenario, shows, signIn, until } from "./lib.mjs";
import { faults, look, sum, wide } from "./views.mjs";

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

// A fleet with a history.
const fleet = async (person) => {
  const context = await person({ baseURL: process.env.DOORSTEP_FLEET_URL });
  const page = await open(context, "/");
  const paths = { fleet: "/", "fleet-run": "/runs/ffffffffffff0000", "fleet-project": "/projects/nas/media", "fleet-containers": "/containers" };
  for (const [name, path] of Object.entries(paths)) {
    await go(page, path);
    if (name === "fleet-project" || name === "fleet-containers") await until("a chart", () => page.locator(".used [data-values*=' ']").count());
    await look(page, name);
  }
  // From a service of all of them to what it prints.
  await page.getByRole("link", { name: "logs of db" }).click();
  await until("the output of one service", () => page.locator("#printed").innerText(), (text) => /db \| checkpoint/.test(text) && !/web \|/.test(text));
  await page.locator("#of-service").getByRole("link", { name: "all" }).click();
  await shows("the output of all", page.locator("#printed"), /web \| GET/);
};

await scenario(async ({ person, seen }) => {
  const context = await person();
  await signingIn(context, seen);
  await empty(person);
  await fleet(person);

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
    "run-rolled-back": `/runs/${sick}`, "run-succeeded": `/runs/${well}`, "run-running": running, hosts: "/hosts", audit: "/audit", settings: "/settings",
  };
  for (const [name, path] of Object.entries(paths)) {
    await page.goto(path);
    await follows(page);
    await look(page, name);
  }
  await go(page, "/deliveries");
  await page.getByRole("main").locator("a[href^='/deliveries/']").first().click();
  await page.waitForURL((to) => to.pathname.startsWith("/deliveries/"));
  await look(page, "delivery");
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
