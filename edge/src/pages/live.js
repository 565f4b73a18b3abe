// Keeps an open page true: when the hub says that something changed, fetches
// the page again and carries over what differs. Every page is whole without
// this. Text only ever moves from one document to another, never through a
// string of markup.
(() => {
  "use strict";
  const DEBOUNCE_MS = 150, SPREAD_MS = 100; // many pages need not come at once
  const FETCH_MS = 15000;   // a fetch that takes longer has failed
  const REST_MS_MAX = 3000;
  const RETRY_MS = 5000;
  const PING_MS = 25000;
  const WATCH_MS = 20000;   // a host shows what an app prints for 60 s
  const LINES_MAX = 2000;   // of it that are kept
  const SILENCE_MS = 60000; // nothing heard for this long: the socket is dead
  const BACKOFF_MS = [500, 30000];

  const marker = document.getElementById("live");
  const say = (word) => {
    if (!marker || marker.textContent === word) return;
    marker.textContent = marker.dataset.state = word;
  };

  // --- the page -----------------------------------------------------------

  let timer = 0, fetching = false, stale = false, rested = 0, skew = 0;

  // At most one fetch at a time, none for a tab that nobody sees, and after each
  // a rest of four times its length, so that a chatty build keeps no phone busy.
  const refresh = (wait) => {
    stale = true;
    if (timer || fetching || document.hidden) return;
    timer = setTimeout(fetchPage, Math.max(wait || DEBOUNCE_MS + Math.random() * SPREAD_MS, rested - performance.now()));
  };

  const fetchPage = async () => {
    timer = 0, fetching = true, stale = false;
    const began = performance.now();
    let failed = false;
    try {
      const answer = await fetch(location.href, {
        cache: "no-store", headers: { accept: "text/html", ...had() }, signal: AbortSignal.timeout(FETCH_MS),
      });
      if (answer.status === 401 || new URL(answer.url).pathname === "/login") {
        location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
        return;
      }
      failed = answer.status >= 500;
      if (!failed) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      failed = true;
    } finally {
      const ended = performance.now();
      fetching = false, rested = ended + Math.min(4 * (ended - began), REST_MS_MAX);
    }
    follow();
    // Without a socket the next one brings a fetch; with one, try again ourselves.
    if (failed && socket.readyState === WebSocket.OPEN) refresh(RETRY_MS);
    else if (stale) refresh();
  };

  // A page whose parts have versions is sent without those that are here.
  const had = () => {
    const parts = document.querySelectorAll("main [data-v]");
    return parts.length ? { "x-doorstep-have": [...parts].map((part) => part.dataset.v).join(" ") } : {};
  };

  const show = (fresh) => {
    const old = document.querySelector("main"), next = fresh.querySelector("main");
    if (!old || !next) return;
    const log = document.getElementById("log");
    const follow = log ? log.scrollHeight - log.scrollTop - log.clientHeight < 24 : true;
    const focused = document.activeElement;
    document.title = fresh.title;
    morph(old, next);
    if (follow) toEnd("#log");
    if (focused && !focused.isConnected) old.focus({ preventScroll: true });
    synchronise();
    document.dispatchEvent(new Event("shown"));
  };

  const toEnd = (which) => {
    const log = document.querySelector(which);
    if (log) log.scrollTop = log.scrollHeight;
  };

  // Makes `old` equal to `next` and keeps the nodes that are in both, and with
  // them focus, selection and scroll position. Rows are told apart by their id,
  // so that a button never turns into another row's under the pointer.
  const morph = (old, next) => {
    if (old.id === "printed" && next.id === "printed") return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (next.data === old.data) return;
      if (next.data.startsWith(old.data)) old.appendData(next.data.slice(old.data.length));
      else old.data = next.data;
      return;
    }
    if (next.hasAttribute("data-same")) {
      if (next.dataset.end) old.dataset.end = next.dataset.end;
      return;
    }
    const kept = (name) => name === "open" && old.localName === "details";
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
    for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);

    const staying = new Set(), known = new Map();
    for (const child of next.children) if (child.id) staying.add(child.id);
    for (const child of [...old.children]) {
      if (staying.has(child.id)) known.set(child.id, child);
      else if (child.id) child.remove();
    }
    let at = old.firstChild;
    for (const child of [...next.childNodes]) {
      const same = child.id ? known.get(child.id) : at && !at.id ? at : null;
      if (!same || same.nodeName !== child.nodeName) {
        old.insertBefore(child, at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      morph(same, child);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  // --- what a person presses ---------------------------------------------------

  // What is asked of a project is answered in place, and what came of it is said
  // there too, once its run has ended.
  const asked = new Map(); // jobs of this page, and how they are called

  const ask = async (event) => {
    const form = event.target, button = event.submitter;
    if (!button) return;
    const to = new URL(form.action).pathname;
    if (!/^\/(projects|jobs)\//.test(to)) return;
    event.preventDefault();
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", true);
    try {
      const answer = await fetch(form.action, {
        method: "POST", headers: { accept: "application/json, text/html;q=0.5" },
        body: new URLSearchParams(new FormData(form)), redirect: "manual", signal: AbortSignal.timeout(FETCH_MS),
      });
      const isJson = answer.headers.get("content-type")?.startsWith("application/json");
      // A redirect is a yes, or leads to the sign-in, which the next fetch shows.
      if (answer.type === "opaqueredirect" || answer.ok) took(button.textContent, isJson ? await answer.json() : {}, to);
      else if (isJson) tell((await answer.json()).message || "This was refused.", true);
      else tell(refusal(new DOMParser().parseFromString(await answer.text(), "text/html")), true);
    } catch {
      tell("The edge did not answer. Whether it heard this is not known; the queue will show it.", true);
    }
    button.removeAttribute("aria-busy");
    refresh();
  };

  const took = (words, { job, host_online: online }, to) => {
    // From a run one goes on to its project, where the next run shows.
    if (job && location.pathname.startsWith("/runs/")) {
      try { sessionStorage.setItem("asked", JSON.stringify({ words, job, online, to })); } catch { /* it is not told there */ }
      location.assign(to.split("/").slice(0, 4).join("/"));
      return;
    }
    if (job) asked.set(job, { words, of: to.split("/").slice(2, 4) });
    tell("Asked: " + words + (online === false ? " (its host is away)" : ""), false, job && online ? 0 : 8000);
  };

  const carriedOver = () => {
    try {
      const { words, job, online, to } = JSON.parse(sessionStorage.getItem("asked"));
      sessionStorage.removeItem("asked");
      if (to.startsWith(location.pathname + "/")) took(words, { job, host_online: online }, to);
    } catch { /* nothing was */ }
  };

  // The runs of what was asked for here: one that has ended is told.
  const follow = async () => {
    for (const [job, { words, of: [host, project] }] of asked) {
      const answer = await fetch(`/api/runs?host=${host}&project=${project}&limit=20`, { cache: "no-store", signal: AbortSignal.timeout(FETCH_MS) }).catch(() => null);
      const run = answer?.ok && (await answer.json()).runs.find((run) => run.job === job);
      if (run?.state === "running") tell(words + ": under way", false, 0);
      if (!run || run.state === "running") continue;
      asked.delete(job);
      const word = run.failure?.kind === "cancelled" ? "cancelled" : run.state.replace("_", " ");
      const why = run.failure && word !== "cancelled" ? ": " + run.failure.message.split("\n", 1)[0].replace(/; its last lines:$/, "") : "";
      tell(`${words}: ${word}${why}`, run.state !== "succeeded" && word !== "cancelled", 8000);
    }
  };

  const refusal = (page) => {
    const words = page.querySelectorAll("main h1, main p:not(.muted, :has(a))");
    return [...words].map((part) => part.textContent).join(": ") || "This was refused.";
  };

  let telling = 0;
  const tell = (words, isBad, ms) => {
    let place = document.getElementById("said");
    if (!place) {
      place = Object.assign(document.createElement("p"), { id: "said" });
      place.setAttribute("role", "status");
      document.body.append(place);
    }
    place.toggleAttribute("data-bad", isBad);
    place.textContent = words;
    clearTimeout(telling);
    telling = ms === 0 ? 0 : setTimeout(() => { place.textContent = ""; }, isBad ? 15000 : ms || 4000);
  };

  // --- the clock: the same words as the pages', see when.rs ----------------

  const synchronise = () => {
    const now = Number(document.querySelector("main")?.dataset.now);
    if (now) skew = now - Date.now();
  };

  const lasted = (s) =>
    s < 60 ? `${s} s` : s < 3600 ? `${s / 60 | 0} min ${s % 60} s` :
    s < 86400 ? `${s / 3600 | 0} h ${s % 3600 / 60 | 0} min` : `${s / 86400 | 0} d ${s % 86400 / 3600 | 0} h`;

  const ago = (s) =>
    s < 10 ? "just now" : s < 60 ? `${s} s ago` : s < 3600 ? `${s / 60 | 0} min ago` :
    s < 86400 ? `${s / 3600 | 0} h ago` : s < 172800 ? "1 day ago" : `${s / 86400 | 0} days ago`;

  const tick = () => {
    for (const time of document.querySelectorAll("time[data-tick]")) {
      const s = Math.max(0, (Date.now() + skew - Date.parse(time.dateTime)) / 1000 | 0);
      if (s >= 30 * 86400) continue;
      const words = time.dataset.tick === "ago" ? ago(s) : lasted(s);
      if (time.textContent !== words) time.textContent = words;
    }
  };

  // --- what the app prints ---------------------------------------------------

  let watched = 0, printed = [];

  // Asked again and again, since a host stops when nobody does.
  const watch = (tail) => {
    const place = document.getElementById("printed");
    if (!place || document.hidden || socket.readyState !== WebSocket.OPEN) return;
    watched = Date.now();
    const { host, project } = place.dataset;
    socket.send(JSON.stringify({ watch: { host, project, tail: tail || !printed.length } }));
  };

  const print = ({ host, project, first, lines }) => {
    const place = document.getElementById("printed");
    if (!place || place.dataset.host !== host || place.dataset.project !== project) return;
    const follow = place.scrollHeight - place.scrollTop - place.clientHeight < 24;
    const kept = first ? lines : printed.concat(lines);
    if (!first && kept.length <= LINES_MAX) place.append(ofService(lines));
    else place.textContent = ofService(kept.slice(-LINES_MAX / 2));
    printed = first || kept.length > LINES_MAX ? kept.slice(-LINES_MAX / 2) : kept;
    if (follow) toEnd("#printed");
  };

  // The page's address may name the one service whose lines are wanted. A line
  // begins with its service, or with its container, of which there may be many.
  const service = () => decodeURIComponent(location.hash).match(/^#output\/(.+)/)?.[1];
  const ofService = (lines) => {
    const wanted = service(), has = (head) => head === wanted || head.replace(/-\d+$/, "").endsWith("-" + wanted);
    return lines.filter((line) => !wanted || has(line.split(" | ", 1)[0])).map((line) => line + "\n").join("");
  };

  const chosen = () => {
    const place = document.getElementById("printed");
    if (!place) return;
    place.hidden = false; // without this script nothing of it is known
    place.textContent = ofService(printed);
    for (const link of document.querySelectorAll("#of-service a")) {
      if (link.hash === location.hash || !service() && link.hash === "#output") link.setAttribute("aria-current", true);
      else link.removeAttribute("aria-current");
    }
    if (service()) document.getElementById("output").scrollIntoView();
    toEnd("#printed");
  };

  // --- what everything uses: the same words and points as in used.rs ----------

  const MIB = 2 ** 20, POINTS = 60, HEIGHT = 16;
  let measured = 0;

  const measure = () => {
    if (document.hidden || socket.readyState !== WebSocket.OPEN || !document.querySelector("[data-measure]")) return;
    measured = Date.now();
    socket.send('{"measure":true}');
  };

  const inMemory = (bytes) =>
    bytes < 10 * MIB ? (Math.floor(bytes * 10 / MIB) / 10).toFixed(1) + " MiB" :
    bytes < 10240 * MIB ? (bytes / MIB | 0) + " MiB" : (bytes / MIB / 1024 | 0) + " GiB";

  const plot = (part, value, words) => {
    if (!part) return;
    const values = part.dataset.values.split(" ").filter(Boolean).concat(value).slice(-POINTS);
    const top = Math.max(part.dataset.floor, ...values), first = POINTS - values.length + 1;
    part.dataset.values = values.join(" ");
    part.querySelector(".n").textContent = words;
    part.querySelector("polyline").setAttribute("points",
      values.map((v, place) => `${first + place},${HEIGHT - Math.floor(v * (HEIGHT - 1) / top)}`).join(" "));
  };

  const use = ({ host, round_trip_ms: trip, used }) => {
    for (const one of used) {
      const place = document.getElementById(`used/${host}/${one.project}/${one.service || ""}`);
      plot(place?.querySelector(".cpu"), one.cpu_permille, (one.cpu_permille / 10).toFixed(1) + " %");
      plot(place?.querySelector(".memory"), one.memory_bytes, inMemory(one.memory_bytes));
    }
    const way = document.getElementById(`trip/${host}`);
    if (way && trip != null) way.textContent = `${trip} ms away`;
  };

  // --- the socket -----------------------------------------------------------

  let socket = null, heard = 0, pinged = 0, failures = 0, waiting = 0;

  const connect = () => {
    clearTimeout(waiting);
    waiting = 0;
    heard = pinged = Date.now();
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/live");
    socket.onopen = () => {
      say("live");
      refresh(); // what changed while nobody listened
      watch(true);
      measure();
    };
    socket.onmessage = ({ data }) => {
      heard = Date.now();
      failures = 0;
      if (data === "pong") return;
      try {
        const told = JSON.parse(data);
        if (told.logs) document.dispatchEvent(new CustomEvent("logged", { detail: told.logs }));
        if (told.changed?.some((part) => part === "*" || location.pathname.startsWith(part))) refresh();
        if (told.printed) print(told.printed);
        if (told.used) use(told.used);
      } catch { /* not for us */ }
    };
    socket.onclose = lost;
  };

  const lost = () => {
    say("reconnecting");
    socket.onclose = socket.onmessage = socket.onopen = null;
    socket.close();
    refresh(); // a session that ended shows here, not in the socket
    const ceiling = Math.min(BACKOFF_MS[1], BACKOFF_MS[0] * 2 ** failures++);
    waiting = setTimeout(connect, BACKOFF_MS[0] + Math.random() * ceiling);
  };

  // Browsers slow the timers of hidden tabs, so silence only counts when a
  // ping has stayed unanswered.
  const beat = () => {
    if (!document.hidden) tick();
    if (waiting) return;
    const now = Date.now();
    if (now - heard > SILENCE_MS && heard <= pinged && now - pinged > 5000) lost();
    else if (socket.readyState === WebSocket.OPEN && now - pinged >= PING_MS) {
      pinged = now;
      socket.send("ping");
    }
    if (now - watched >= WATCH_MS) watch();
    if (now - measured >= WATCH_MS) measure();
  };

  const awake = () => {
    if (document.hidden) return;
    if (waiting) connect();
    else if (Date.now() - watched >= WATCH_MS) watch(true);
    if (!waiting) measure();
    if (stale) refresh();
  };

  synchronise();
  carriedOver();
  chosen();
  addEventListener("hashchange", chosen);
  if (!location.hash) toEnd("#log[data-follow]");
  connect();
  setInterval(beat, 5000);
  document.addEventListener("submit", ask);
  document.addEventListener("visibilitychange", awake);
  addEventListener("online", awake);
})();

// The bars of a run's steps are drawn in milliseconds; the section has the scale.
document.addEventListener("shown", () => {
  const span = document.getElementById("steps")?.dataset.span;
  if (span) for (const bar of document.querySelectorAll("svg.span")) bar.setAttribute("viewBox", `0 0 ${span} 10`);
});

// What lies over other things closes when one goes on elsewhere.
const closeMore = (but) => {
  for (const more of document.querySelectorAll(".asks > details[open]")) if (!more.contains(but)) more.open = false;
};
document.addEventListener("click", (event) => closeMore(event.target));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeMore(null); });

// The arrow keys lead from bar to bar; only one is a stop of the Tab key.
document.addEventListener("keydown", (event) => {
  const bar = event.target.closest?.(".bars a");
  const next = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
  const to = bar && next && bar[next];
  if (!to) return;
  event.preventDefault();
  bar.setAttribute("tabindex", "-1");
  to.removeAttribute("tabindex");
  to.focus();
});

