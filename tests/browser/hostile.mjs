// Words that are out to do harm stand on every page that can show them, and are
// words.

import * as at from "./selectors.mjs";
import { check, go, open, scenario, shows, until } from "./lib.mjs";

const PAGES = ["/", "/projects/den/lair", "/projects/attic/shop", "/runs/den-1", "/deliveries", "/containers"];
// Each of these pages shows the words; the address is text, not a link.
const WORDS = "<script>window.__harm=1</script>";

// Everything on a page that our own pages never have. They may have drawings (svg),
// but none that does something.
const strange = () => {
  const found = [...document.querySelectorAll("body script, img, iframe, object, embed")].map((element) => element.outerHTML);
  for (const element of document.querySelectorAll("*")) {
    for (const { name, value } of element.attributes) {
      if (name.startsWith("on") || /^\s*javascript:/i.test(value)) found.push(`${element.localName} ${name}=${value}`);
    }
  }
  if (window.__harm) found.push(`script ${window.__harm} was run`);
  const text = document.documentElement.textContent;
  for (const control of ["\u001b", "\u0007", "\u202e", "\u2066"]) {
    if (text.includes(control) || document.documentElement.outerHTML.includes(control)) found.push(`control ${control.codePointAt(0).toString(16)}`);
  }
  return found;
};

await scenario(async ({ person }) => {
  const page = await open(await person(), "/");
  for (const path of PAGES) {
    await go(page, path);
    await until(`the words on ${path}`, () => page.locator("main").evaluate((main) => main.textContent), (text) => text.includes(WORDS));
    const found = await page.evaluate(strange);
    check(!found.length, `${path} has ${found.join("; ")}`);
  }
  // The run of the real host, whose hook printed them.
  await go(page, "/projects/attic/shop");
  await at.runs(page).first().getByRole("link").first().click();
  await shows("the log", at.log(page), /<script>window\.__harm=1<\/script>/);
  const found = await page.evaluate(strange);
  check(!found.length, `the run of the real host has ${found.join("; ")}`);
});
