// What axe has against a page, of those things that keep somebody out.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// The serious and the critical ones, a line each. The page's own policy stays on:
// axe is put in from outside, not by a script element.
export const serious = async (page) => {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    const found = await window.axe.run(document, { resultTypes: ["violations"] });
    return found.violations.filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, impact, help, nodes }) => `${impact}: ${id} (${help}): ${nodes.slice(0, 3).map((node) => node.target.join(" ")).join(", ")}`);
  });
  return violations;
};
