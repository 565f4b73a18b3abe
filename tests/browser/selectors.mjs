// Where things are on the pages: the one file to change when pages change.
//
// By role, label and visible text where there is one, so that what is found here
// is what somebody finds who cannot see the page. Each takes a page (or a part of
// one) and returns a locator.

// --- signing in ---------------------------------------------------------------

export const password = (page) => page.getByLabel("Password");
export const signIn = (page) => page.getByRole("button", { name: "Sign in" });
export const signOut = (page) => page.getByRole("button", { name: "Sign out" });
export const alert = (page) => page.getByRole("alert");

// --- every page -----------------------------------------------------------------

export const heading = (page) => page.getByRole("heading", { level: 1 });
// What the page says of its connection: "live" while it follows.
export const following = (page) => page.locator("#live");
export const followingWord = "live";

// --- the first page -------------------------------------------------------------

export const host = (page, name) => page.getByRole("region", { name, exact: true });
export const project = (page, onHost, name) =>
  host(page, onHost).getByRole("listitem").filter({ has: page.getByRole("heading", { name, exact: true }) });
export const projectLink = (page, onHost, name) => project(page, onHost, name).getByRole("link", { name, exact: true });

// --- buttons: their words begin so, and then say what they are for ----------------

const called = (words) => ({ name: new RegExp(`^${words}\\b`) });
export const button = (part, words) => part.getByRole("button", called(words));
export const words = {
  deploy: "Deploy", restart: "Restart", stop: "Stop", start: "Start", rollback: "Roll back", rebuild: "Rebuild", fetch: "Fetch",
  cancel: "Cancel", revive: "Try again", addHost: "Add a host",
};

// --- a project's page --------------------------------------------------------------

export const actions = (page) => page.getByRole("main");
export const table = (page, name) => page.getByRole("table", { name });
export const rows = (page, name) => table(page, name).getByRole("row").filter({ has: page.getByRole("rowheader") });
export const runs = (page) => rows(page, "Runs");
export const queue = (page) => rows(page, "Queue");
export const dead = (page) => rows(page, "Dead jobs");
// The state beside the heading.
export const state = (page) => page.locator("main .badge").first();
export const liveCommit = (page) => page.locator("main dd").filter({ has: page.locator("code") }).first();

// --- a run's page --------------------------------------------------------------------

export const steps = (page) => rows(page, "Steps");
export const log = (page) => page.getByRole("region", { name: "Log", exact: true });
export const searchLog = (page) => page.getByRole("searchbox", { name: "Search the log" });

// --- services --------------------------------------------------------------------------

export const service = (page, name) => page.getByRole("row").filter({ has: page.getByRole("rowheader", { name }) }).last();
