// Who signs in, how, and what is seen when a session is over.

import * as at from "./selectors.mjs";
import { ask, back, check, follows, open, scenario, shows, signIn, until } from "./lib.mjs";

const path = (page) => new URL(page.url()).pathname;
const isAt = (page, wanted) => until(`the page to be ${wanted}`, () => path(page), (seen) => seen === wanted);

await scenario(async ({ person, seen }) => {
  const context = await person();
  const page = await context.newPage();

  // Whoever is not signed in is asked to be, and led to where they wanted to go.
  await page.goto("/projects/attic/shop");
  check(path(page) === "/login", `a stranger was let in at ${page.url()}`);
  seen.expect(401, "/login");
  await signIn(page, "not the password");
  await shows("the alert", at.alert(page), /not the password/i);
  const inside = await context.request.get("/projects/attic/shop");
  check(path(page) === "/login" && new URL(inside.url()).pathname === "/login", "a wrong password let somebody in");
  await signIn(page);
  await isAt(page, "/projects/attic/shop");
  await shows("the heading", at.heading(page), /shop/);
  await follows(page);

  // A session that is gone shows with the next thing that changes.
  const home = await open(context, "/");
  await context.clearCookies();
  await ask("push 2");
  await isAt(home, "/login");
  await isAt(page, "/login");
  await signIn(page);
  await isAt(page, "/projects/attic/shop");

  // After signing out nothing is shown, not even by the back button.
  await follows(page);
  await at.signOut(page).click();
  await isAt(page, "/login");
  await back(page);
  await isAt(page, "/login");
  await page.goto("/deliveries");
  await isAt(page, "/login");

  // Nobody is led to another site.
  for (const next of ["//evil.example/", "https://evil.example/"]) {
    await context.clearCookies();
    await page.goto(`/login?next=${encodeURIComponent(next)}`);
    await signIn(page);
    await isAt(page, "/");
    await follows(page);
  }
});
