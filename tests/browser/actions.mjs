// Each button that a page offers is pressed, and what it did is seen on the page
// that it leads to.

import * as at from "./selectors.mjs";
import { ask, check, checkMark, follows, go, mark, open, scenario, say, shows, until } from "./lib.mjs";

const PROJECT = "/projects/attic/shop";

await scenario(async ({ person, seen }) => {
  const page = await open(await person(), PROJECT);
  const first = (await at.liveCommit(page).innerText()).slice(0, 7);
  const second = (await ask("push 2")).slice(0, 7);
  await ask("ended");
  await shows("the second version", at.liveCommit(page), new RegExp(`^${second}`));

  const newest = async () => (await at.runs(page).first().getByRole("link").first().getAttribute("href", { timeout: 1000 }));
  const said = page.locator("#said");
  const press = async (words, action, end = "succeeded") => {
    await ask("idle");
    const before = await until("a run", newest);
    await at.button(at.actions(page), words).first().click();
    await until(`the run of ${action}`, newest, (run) => run !== before);
    await shows("the newest run", at.runs(page).first(), new RegExp(`${action}[^]*${end}`));
    if (words !== at.words.revive) await shows("how it ended, where it was asked", said, new RegExp(`^${words}[^]*: ${end}`));
    say(`${words}: seen`);
  };
  const offers = (words) => at.button(at.actions(page), words).count();

  const live = () => at.liveCommit(page).innerText();
  await press(at.words.restart, "restart");
  await press(at.words.rollback, "rollback");
  await until("the first version to be live", live, (seen) => seen.startsWith(first));
  await press(at.words.deploy, "deploy");
  await until("the second version to be live", live, (seen) => seen.startsWith(second));
  await press(at.words.stop, "stop");
  await shows("the state", at.state(page), /stopped/);
  await until("Start instead of Stop", async () => [await offers(at.words.start), await offers(at.words.stop)].join(), (seen) => seen === "1,0");
  await press(at.words.start, "start");
  await shows("the state", at.state(page), /running/);
  await press(at.words.rebuild, "rebuild");
  if (await offers(at.words.fetch)) await press(at.words.fetch, "fetch");

  // A job that died is tried again: a person may want even a commit that was bad there.
  await ask("push 3 sick");
  await ask("ended");
  await shows("what is kept away", page.locator("#kept-away"), /was bad here as release \d+/);
  await shows("the dead job", at.dead(page).first(), /deploy[^]*dead/);
  await press(at.words.revive, "deploy", "rolled back");

  // One service of another host, on the page of all of them; the job stays, since
  // that host does not carry it out.
  await go(page, "/containers");
  await at.button(at.service(page, "web"), at.words.restart).click();
  await shows("the page of services", page.getByRole("main"), /restart[^]*of web|restart web/);
  check(new URL(page.url()).pathname === "/containers", `the button led to ${page.url()}`);
  await follows(page);
  say("one service: seen");

  // The first page answers in place, a yes and a no.
  await go(page, "/");
  const card = at.project(page, "attic", "shop");
  await mark(page);
  await at.button(card, at.words.deploy).click();
  await shows("the answer", said, /^Asked: Deploy shop on attic$/);
  await shows("how it ended", said, /^Deploy shop on attic: rolled back: /);
  await shows("the run", card, /Last run\s+deploy ✓ succeeded|Last run\s+deploy ↺ rolled back/);
  seen.expect(404, "/projects/attic/nothing/deploy");
  // At once, since the page puts right what differs.
  await at.button(card, at.words.deploy).evaluate((button) => {
    button.form.action = "/projects/attic/nothing/deploy";
    button.click();
  });
  await shows("the refusal", said, /^no host announced a project of this name$/);
  check(new URL(page.url()).pathname === "/", `the buttons led to ${page.url()}`);
  await checkMark(page, "the first page");
  say("the first page: seen");

  // A code for one more host.
  const more = page.getByText(at.words.addHost).first();
  if (!(await at.button(page, at.words.addHost).isVisible())) await more.click();
  await at.button(page, at.words.addHost).click();
  await shows("the code", page.getByRole("main"), /doorstep join http/);
});
