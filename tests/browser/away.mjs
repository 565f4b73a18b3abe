// A host goes away, is asked for something meanwhile, and comes back.

import * as at from "./selectors.mjs";
import { ask, checkMark, follows, mark, open, scenario, shows, until } from "./lib.mjs";

await scenario(async ({ person }) => {
  const context = await person();
  const home = await open(context, "/"), page = await open(context, "/projects/attic/shop");
  const host = at.host(home, "attic");
  await mark(home);
  await shows("the host", host, /online/);

  await ask("host stop");
  await shows("the host", host, /offline/);
  await shows("the host", host, /last known: running/);
  await shows("the project", at.state(page), /last known: running/);

  // What is asked now waits, and can be taken back.
  await at.button(at.actions(page), at.words.deploy).first().click();
  await shows("the queue", at.queue(page).first(), /deploy[^]*waiting[^]*its host is away/);
  await shows("the first page", host, /1 deploy[^]*waiting/);
  await at.button(at.queue(page).first(), at.words.cancel).click();
  await until("an empty queue", () => at.queue(page).count(), (count) => count === 0);
  await until("an empty queue on the first page", () => host.innerText(), (text) => !/waiting/.test(text));

  // What is not taken back is done when the host is there again.
  await at.button(at.actions(page), at.words.restart).first().click();
  await shows("the queue", at.queue(page).first(), /restart[^]*waiting/);
  await follows(page);
  await mark(page);
  await ask("host start");
  await shows("the host", host, /online/);
  await until("the project as it is", () => host.innerText(), (text) => /running/.test(text) && !/last known/.test(text));
  await shows("the newest run", at.runs(page).first(), /restart[^]*succeeded/);
  await until("an empty queue", () => at.queue(page).count(), (count) => count === 0);
  await checkMark(home, "the first page");
  await checkMark(page, "the project's page");
});
