// The log of a run: what is new is fetched and put at its end; tools to follow,
// wrap and search. Without this the page has the log as it was, and no tools.
(() => {
  "use strict";
  const CHUNK = 200;      // lines of one list, as in log.rs
  const MARKS_MAX = 2000; // words that are marked within lines
  const TYPING_MS = 150;
  const DEBOUNCE_MS = 150, SPREAD_MS = 100, REST_MS_MAX = 3000; // as for the page
  const AGAIN_MS = 5000;
  const NEAR_PX = 24;     // so near to its end the log is followed

  const log = document.getElementById("log");
  if (!log) return;
  const section = document.getElementById("output");
  let next = Number(log.dataset.next), fetching = false, timer = 0;
  let following = log.hasAttribute("data-follow") && !location.hash;

  // --- what is new ------------------------------------------------------------

  const lines = () => log.lastElementChild ? log.lastElementChild.start - 1 + log.lastElementChild.childElementCount : 0;

  // Lines as another document has them, with their colours.
  const append = (those) => {
    document.getElementById("log-empty")?.remove();
    let list = log.lastElementChild, number = lines();
    const fresh = [];
    for (const that of those) {
      if (!list || list.childElementCount >= CHUNK) {
        list = document.createElement("ol");
        list.start = number + 1;
        log.append(list);
      }
      const line = document.createElement("li");
      line.id = "L" + ++number;
      if (!list.firstChild) line.value = number; // a list laid out for itself counts for itself
      line.append(...that.childNodes);
      list.append(line);
      fresh.push(line);
    }
    search(fresh);
    if (following) toEnd();
  };

  const fetchSoon = (ms) => {
    timer ||= setTimeout(() => {
      timer = 0;
      fetchNew();
    }, ms);
  };

  const fetchNew = async () => {
    const { end } = section.dataset, began = performance.now();
    if (fetching || document.hidden || Number(end) <= next) return;
    fetching = true;
    let wait = 0;
    try {
      const answer = await fetch(`${log.dataset.from}?format=html&after=${next}`, { cache: "no-store", signal: AbortSignal.timeout(15000) });
      if (!answer.ok) throw answer.status;
      const part = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("ol");
      append([...part.children]);
      next = Number(part.dataset.next);
      // Unless it grew meanwhile, this is all of it.
      const isAll = !part.hasAttribute("data-more");
      if (isAll && section.dataset.end === end) section.dataset.end = next;
      if (isAll) wait = Math.min(4 * (performance.now() - began), REST_MS_MAX);
    } catch {
      wait = AGAIN_MS;
    }
    fetching = false;
    fetchSoon(wait);
  };

  const grew = ({ detail }) => {
    const end = detail[log.dataset.from.split("/")[3]];
    if (!(end > section.dataset.end)) return;
    section.dataset.end = end;
    fetchSoon(DEBOUNCE_MS + Math.random() * SPREAD_MS);
  };

  // --- following ----------------------------------------------------------------

  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;

  const follow = (on) => {
    following = on;
    followButton.setAttribute("aria-pressed", on);
    if (on) toEnd();
  };

  // --- tools ----------------------------------------------------------------------

  const make = (name, more) => Object.assign(document.createElement(name), more);
  const button = (words, press) => {
    const made = make("button", { type: "button", className: "small", textContent: words });
    made.addEventListener("click", () => press(made));
    return made;
  };
  const toggle = (words, on, press) => {
    const made = button(words, () => {
      const now = made.getAttribute("aria-pressed") !== "true";
      made.setAttribute("aria-pressed", now);
      press(now);
    });
    made.setAttribute("aria-pressed", on);
    return made;
  };
  const remember = (on) => { try { localStorage.setItem("wrap", on ? "1" : ""); } catch { /* not kept */ } };
  const remembered = () => { try { return localStorage.getItem("wrap") === "1"; } catch { return false; } };

  const wrap = (on) => {
    log.classList.toggle("wrap", on);
    remember(on);
  };
  const followButton = toggle("Follow", following, follow);
  const field = make("input", { type: "search", placeholder: "Search", spellcheck: false, autocomplete: "off" });
  field.setAttribute("aria-label", "Search the log");
  const count = make("span", { className: "muted" });
  count.setAttribute("role", "status");
  const only = toggle("Only these", false, (on) => log.classList.toggle("only", on));
  const previousButton = button("Previous", () => go(-1)), nextButton = button("Next", () => go(1));
  const found = [previousButton, nextButton, only];

  // --- search -----------------------------------------------------------------------

  let wanted = "", hits = [], current = -1, typing = 0;
  const marks = globalThis.Highlight && CSS.highlights ? new Highlight() : null;
  if (marks) CSS.highlights.set("found", marks);

  // A place in a line's text: colours cut it into several nodes.
  const place = (line, at) => {
    const nodes = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
    let node = nodes.nextNode();
    for (; at > node.length; node = nodes.nextNode()) at -= node.length;
    return [node, at];
  };

  const mark = (line, text) => {
    if (!marks || marks.size >= MARKS_MAX) return;
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      const range = document.createRange();
      range.setStart(...place(line, at));
      range.setEnd(...place(line, at + wanted.length));
      marks.add(range);
    }
  };

  // In these lines; the ones before were looked at.
  const search = (fresh) => {
    if (!wanted) return;
    for (const line of fresh) {
      const text = line.textContent.toLowerCase();
      if (!text.includes(wanted)) continue;
      line.classList.add("hit");
      hits.push(line);
      // Some letters are longer in small: then only the line is marked.
      if (text.length === line.textContent.length) mark(line, text);
    }
    say();
  };

  const say = () => {
    for (const tool of found) tool.hidden = !wanted;
    count.textContent = !wanted ? "" : !hits.length ? "nothing found" :
      current < 0 ? `${hits.length} ${hits.length === 1 ? "line" : "lines"}` : `${current + 1} of ${hits.length}`;
  };

  const look = () => {
    typing = 0;
    for (const line of hits) line.classList.remove("hit", "now");
    marks?.clear();
    wanted = field.value.toLowerCase(), hits = [], current = -1;
    if (!wanted) log.classList.remove("only"), only.setAttribute("aria-pressed", false);
    search(log.querySelectorAll("li"));
    say();
  };

  const go = (by) => {
    if (typing) clearTimeout(typing), look();
    if (!hits.length) return;
    hits[current]?.classList.remove("now");
    current = current < 0 && by < 0 ? hits.length - 1 : (current + by + hits.length) % hits.length;
    hits[current].classList.add("now");
    follow(false);
    hits[current].scrollIntoView({ block: "center" });
    say();
  };

  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(look, TYPING_MS);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape" && field.value) field.value = "", look();
    else return;
    event.preventDefault();
  });

  // A click at a line's number makes it the page's address.
  log.addEventListener("click", (event) => {
    const line = event.target.closest("li");
    if (!line || event.clientX > line.getBoundingClientRect().left + parseFloat(getComputedStyle(line).paddingLeft)) return;
    follow(false);
    const { scrollTop } = log, { scrollX, scrollY } = window;
    location.hash = line.id;
    log.scrollTop = scrollTop, scrollTo(scrollX, scrollY);
  });

  let before = 0;
  log.addEventListener("scroll", () => {
    if (following && log.scrollTop < before - NEAR_PX) follow(false);
    else if (!following && log.hasAttribute("data-follow") && isAtEnd() && log.scrollTop > before) follow(true);
    before = log.scrollTop;
  }, { passive: true });

  const tools = make("div", { className: "line tools" });
  tools.append(field, count, previousButton, nextButton, only, followButton, toggle("Wrap", remembered(), wrap));
  document.getElementById("log-head").after(tools);
  wrap(remembered());
  say();
  document.addEventListener("logged", grew);
  for (const event of ["shown", "visibilitychange"]) document.addEventListener(event, () => fetchSoon(0));
  fetchNew();
})();
