// Without JavaScript: every page can be read, and a button does what it says.

import * as at from "./selectors.mjs";
import { ask, check, scenario, shows, signIn, until } from "./lib.mjs";

await scenario(async ({ person }) => {
  await ask("push 2");
  const run = await ask("ended");
  const page = await (await person({ javaScriptEnabled: false })).newPage();
  await page.goto("/");
  await signIn(page);
  await shows("the project", at.project(page, "attic", "shop"), /running/);
  const pages = { "/projects/attic/shop": /shop/, [`/runs/${run}`]: /deploy/, "/deliveries": /Deliveries/, "/containers": /Containers/ };
  for (const [path, heading] of Object.entries(pages)) {
    await page.goto(path);
    await shows(path, at.heading(page), heading);
    check((await page.getByRole("main").innerText()).length > 40, `${path} is empty`);
  }

  await page.goto("/projects/attic/shop");
  const newest = () => at.runs(page).first().getByRole("link").first().getAttribute("href", { timeout: 1000 });
  const before = await newest();
  await at.button(at.actions(page), at.words.restart).first().click();
  await until("the restart", async () => {
    await page.goto("/projects/attic/shop");
    return (await newest()) !== before && (await at.runs(page).first().innerText());
  }, (text) => /restart[^]*succeeded/.test(text));
  await at.signOut(page).click();
  await page.goto("/");
  check(new URL(page.url()).pathname === "/login", "signing out by form does nothing");
});
