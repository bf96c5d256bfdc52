"use strict";
// Keeps the marked sections fresh, follows a log, cancels a job. Without it the pages still read.

const MAX_LINES = 5000;

function refreshing(id) {
  const section = document.getElementById(id);
  const seconds = Number(section?.dataset.refresh);
  if (!seconds) return;
  setTimeout(async () => {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(id);
      const focused = section.contains(document.activeElement) || section.querySelector("input:checked");
      if (fresh && !focused) {
        // What was opened stays open, unless there are others now.
        const [shown, coming] = [section, fresh].map((part) => [...part.querySelectorAll("details")]);
        if (shown.length === coming.length) coming.forEach((each, n) => { each.open = shown[n].open; });
        section.replaceWith(fresh);
      }
      if (!answer.ok) throw new Error(answer.statusText);
      section.classList.remove("stale");
    } catch {
      // The server is away for a moment; the next round tries again. A screen on a wall says so.
      section.classList.toggle("stale", id === "wall");
    }
    refreshing(id);
  }, seconds * 1000);
}

function follow(log) {
  const [live, search, member, times, wrap] = ["live", "log-search", "log-member", "log-times", "log-wrap"]
    .map((id) => document.getElementById(id));
  const fits = (row) => (!member.value || row.dataset.whose === member.value)
    && row.textContent.toLowerCase().includes(search.value.toLowerCase());
  const filter = () => { [...log.children].forEach((row) => { row.hidden = !fits(row); }); };
  [search, member].forEach((each) => each.addEventListener("input", filter));
  times.addEventListener("change", () => log.classList.toggle("times", times.checked));
  wrap.addEventListener("change", () => log.classList.toggle("long", !wrap.checked));
  const source = new EventSource(log.dataset.follow);
  let ended = false;
  // A chunk may end within a line: the row of a line that has not ended is kept for each log.
  const unfinished = new Map();
  const rowOf = (whose, name, at) => {
    if (unfinished.has(whose)) return unfinished.get(whose);
    const [time, who] = [document.createElement("time"), document.createElement("span")];
    time.dateTime = at;
    time.textContent = at.slice(11, 19) + "  ";
    who.className = "who";
    who.textContent = name + "  ";
    const row = { element: document.createElement("div"), line: new Text(), text: "" };
    row.element.dataset.whose = whose;
    row.element.append(time, who, row.line);
    log.append(row.element);
    unfinished.set(whose, row);
    return row;
  };
  source.addEventListener("open", () => { live.textContent = "live"; setTimeout(() => log.classList.add("open"), 3000); });
  source.addEventListener("log", (event) => {
    const { member: name, incarnation, text, at } = JSON.parse(event.data);
    const whose = incarnation > 1 ? name + ", incarnation " + incarnation : name;
    if (![...member.options].some((each) => each.value === whose)) member.add(new Option(whose));
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    text.split("\n").forEach((piece, n, pieces) => {
      const last = n === pieces.length - 1;
      if (last && piece === "") return;
      const row = rowOf(whose, name, at);
      row.text += piece;
      // As on a terminal, a carriage return begins the line anew.
      const shown = row.text.replace(/\r+$/, "");
      row.line.data = shown.slice(shown.lastIndexOf("\r") + 1);
      row.element.hidden = !fits(row.element);
      if (!last) unfinished.delete(whose);
    });
    while (log.childElementCount > MAX_LINES) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("end", (event) => {
    ended = true;
    source.close();
    live.textContent = "ended: " + JSON.parse(event.data).state;
  });
  source.addEventListener("error", () => { if (!ended) live.textContent = "reconnecting…"; });
  // A member's row in the timeline leads to its log, a bar to what was printed from then on.
  document.addEventListener("click", (event) => {
    const row = event.target.closest?.("a[data-log]");
    if (!row) return;
    event.preventDefault();
    const at = event.target.closest("[data-at]")?.dataset.at;
    const known = [...member.options].map((each) => each.value).filter((each) => each.split(",")[0] === row.dataset.log);
    member.value = known.length === 1 ? known[0] : "";
    filter();
    const since = [...log.children].filter((each) => known.includes(each.dataset.whose));
    const place = since.find((each) => !at || Date.parse(each.firstChild.dateTime) >= Date.parse(at) - 1000) ?? since.at(-1);
    log.querySelectorAll(".jumped").forEach((each) => each.classList.remove("jumped"));
    place?.classList.add("jumped");
    if (place) log.scrollTop = place.offsetTop - log.offsetTop;
    log.scrollIntoView({ block: "center" });
    log.focus({ preventScroll: true });
  });
}

document.addEventListener("click", async (event) => {
  const job = event.target.dataset?.cancel;
  if (!job || !confirm("Stop " + job + "? What it has done so far is stored.")) return;
  event.target.disabled = true;
  await fetch("/api/v1/jobs/" + encodeURIComponent(job) + "/cancel", { method: "POST" });
  event.target.blur();
});

document.addEventListener("change", ({ target }) => target.matches("[data-all]")
  && target.form.querySelectorAll(".pick input").forEach((each) => { each.checked = target.checked; }));

document.addEventListener("submit", (event) => {
  const asked = event.submitter?.dataset.confirm;
  if (asked && !confirm(asked)) event.preventDefault();
});

// Drawing over a plot of a series' page shows that part of the time; its links do the same.
let drawn = null;

function placeOf(event) {
  const plot = event.target.closest?.("#curve svg.plot");
  if (!plot) return null;
  const box = plot.getBoundingClientRect();
  const { left, right, first, last } = plot.dataset;
  const x = ((event.clientX - box.left) / box.width) * plot.viewBox.baseVal.width;
  const at = Math.min(Math.max(x, Number(left)), Number(right));
  const time = Number(first) + ((at - left) / (right - left)) * (last - first);
  return { plot, at, time };
}

document.addEventListener("pointerdown", (event) => {
  const place = event.button === 0 && event.pointerType === "mouse" ? placeOf(event) : null;
  if (!place) return;
  event.preventDefault();
  const chosen = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  chosen.setAttribute("class", "chosen");
  chosen.setAttribute("height", place.plot.viewBox.baseVal.height);
  place.plot.append(chosen);
  drawn = { ...place, chosen };
});

document.addEventListener("pointermove", (event) => {
  const place = drawn && placeOf(event);
  if (!place) return;
  drawn.chosen.setAttribute("x", Math.min(place.at, drawn.at));
  drawn.chosen.setAttribute("width", Math.abs(place.at - drawn.at));
});

document.addEventListener("pointerup", (event) => {
  if (!drawn) return;
  const from = drawn;
  drawn = null;
  from.chosen.remove();
  const place = placeOf(event);
  if (!place || Math.abs(place.at - from.at) < 8) return;
  const way = new URL(location.href);
  const [begin, end] = [from.time, place.time].sort((a, b) => a - b);
  way.searchParams.set("from", new Date(begin).toISOString().slice(0, 19));
  way.searchParams.set("until", new Date(end).toISOString().slice(0, 19));
  location.assign(way);
});

document.querySelectorAll("section[data-refresh]").forEach((section) => refreshing(section.id));
const log = document.getElementById("log");
if (log) follow(log);
