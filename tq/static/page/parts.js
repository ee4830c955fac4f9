// Parts of the page: asked for again when something happened, and patched into place, so that what somebody is about
// to click, has selected or has the focus on stays where it is.
import { fetchPart } from "./api.js";
import { answered, sessionEnded } from "./say.js";

const QUIET = 5000; // ms between two looks when nothing happens
const BUSY = 700; // ms between two looks when much happens
const SHARE = 10; // a look that took long is followed by a pause of so many times that
const SLOW = 4000; // ms without an answer after which that is said
const SETTLED = 400; // ms for which a new button is not clicked: the click was meant for what was there before

const $ = (id) => document.getElementById(id);
const parts = new Map(["overview", "table", "failures"].map((id) => [id, { element: $(id), busy: false, again: false, html: "" }]));
let place = () => "";
let back = () => {};
let pointerDown = false, touched = 0;

// `placeOf` says where in the list of messages somebody is: a query. `again` is called when the API answers once more.
export function watchParts(placeOf, again) {
  place = placeOf;
  back = again;
  // Of another button a browser may not tell the end, which its menu has.
  addEventListener("pointerdown", ({ button }) => { pointerDown = button === 0; }, true);
  for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => {
    // A click comes after it, and is to find what it was meant for.
    setTimeout(() => { pointerDown = false; }, 0);
    touched = Date.now();
  }, true);
  $("fresh").addEventListener("click", () => { release = true; lookAgain(); $("messages").focus(); });
  $("table").addEventListener("pointerleave", () => { if (held) soon(0); });
  $("table").addEventListener("focusout", () => { if (held) soon(0); });
  setInterval(() => Date.now() - last >= QUIET && look(), 1000);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}

export const isSettled = (element) => element.dataset.new === undefined;

// -- when ----------------------------------------------------------------------------------------

let due = 0, last = 0, took = 0;
let failuresDue = 0, failuresStale = true; // less often: they change seldom
const followers = new Set();

export function onLook(follower) { followers.add(follower); }

export function soon(wait = BUSY) {
  if (due) return;
  due = setTimeout(look, Math.max(0, last + Math.max(wait, took * SHARE) - Date.now()));
}

export function failuresChanged() { failuresStale = true; }

// At once, whatever was shown last.
export function lookAgain() {
  failuresStale = true;
  failuresDue = 0;
  clearTimeout(due);
  look();
}

export function look() {
  due = 0;
  last = Date.now();
  if (document.hidden) return;
  refresh("overview");
  refresh("table");
  if (failuresStale && last >= failuresDue) {
    failuresStale = false;
    failuresDue = last + 2500;
    refresh("failures");
  } else if (failuresStale) soon(failuresDue - last);
  for (const follower of followers) follower();
}

// -- what ----------------------------------------------------------------------------------------

function address(id) {
  const path = $(id).dataset.part;
  return id === "table" ? `${path}?${place()}` : path;
}

// One request for each part at a time; what comes meanwhile is asked for after it.
export async function refresh(id) {
  const part = parts.get(id);
  if (part.busy) { part.again = true; return; }
  part.busy = true;
  part.again = false;
  const url = address(id), began = performance.now();
  const slow = setTimeout(noAnswer, SLOW);
  try {
    const answer = await fetchPart(url);
    took = performance.now() - began;
    if (unanswered) back();
    unanswered = false;
    answered(true);
    if (answer.status !== 401) await take(id, url, answer);
  } catch {
    part.element.classList.add("stale");
    noAnswer();
  }
  clearTimeout(slow);
  part.busy = false;
  if (part.again) setTimeout(() => refresh(id), url === address(id) ? BUSY : 0);
}

async function take(id, url, answer) {
  const part = parts.get(id);
  if (url !== address(id)) { part.again = true; return; }
  part.element.classList.toggle("stale", !answer.ok);
  if (!answer.ok) return;
  sessionEnded(false);
  await show(id, await answer.text());
}

let unanswered = false;

function noAnswer() {
  unanswered = true;
  answered(false);
}

async function show(id, html) {
  const part = parts.get(id);
  while (pointerDown) await new Promise((done) => setTimeout(done, 50));
  if (id === "table" && isHeld(part.element)) return patchRows(part.element, html);
  if (id === "table") {
    unhold();
    waiting(false);
  }
  if (part.html === html) return;
  part.html = html;
  patch(part.element, html);
  if (id === "overview") document.title = [$("title")?.dataset.title, "tq"].filter(Boolean).join(" · ");
}

// -- how -----------------------------------------------------------------------------------------

const callbacks = {
  afterNodeAdded(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    for (const each of node.matches("button") ? [node] : node.querySelectorAll("button")) {
      each.dataset.new = "";
      setTimeout(() => delete each.dataset.new, SETTLED);
    }
    localise(node);
  },
  beforeNodeMorphed(old, fresh) {
    // Said in the reader's own time already.
    if (old.nodeName === "TIME" && old.dateTime === fresh.getAttribute?.("datetime")) return false;
    // What is read in a chart is under the pointer.
    return old.nodeName !== "OUTPUT";
  },
  beforeAttributeUpdated: (name) => name !== "data-new" && name !== "aria-disabled",
  afterNodeMorphed(node) { if (node.nodeName === "TIME") localise(node); },
};

// Escaped by the server. The focus stays on the element of the same id, or goes to what is nearest in meaning.
export function patch(element, html, style = "innerHTML") {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const near = focused && [focused.id, focused.closest("tr")?.querySelector("a")?.id, focused.closest("section")?.querySelector("[tabindex]")?.id];
  Idiomorph.morph(element, html, { morphStyle: style, callbacks });
  if (near && !element.contains(document.activeElement)) near.map((id) => id && $(id)).find(Boolean)?.focus();
}

// Times as the reader's clock has them; the day only where it is not today.
export function localise(root) {
  for (const each of root.matches?.("time") ? [root] : root.querySelectorAll("time")) {
    const moment = new Date(each.dateTime);
    const today = moment.toDateString() === new Date().toDateString();
    each.textContent = moment.toLocaleString(undefined, today ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "medium" });
    each.title = moment.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
  }
}

// -- a table that somebody is busy with ----------------------------------------------------------

let held = false, release = false;

function isHeld(table) {
  if (release || !table.querySelector("tr")) { release = false; return false; }
  const selection = getSelection();
  return table.matches(":hover") && matchMedia("(hover: hover)").matches
    || Date.now() - touched < 2000 && table.contains(document.activeElement)
    || table.querySelector(":focus-visible") !== null
    || !selection.isCollapsed && table.contains(selection.anchorNode);
}

// Rows stay where they are: each is kept current, and new ones are announced.
async function patchRows(table, html) {
  const rows = rowsOf(html), there = [...table.querySelectorAll("tbody tr")];
  const above = rows.findIndex((row) => row.id === there[0]?.id);
  held = true;
  parts.get("table").html = "";
  patchThose(table, rows);
  // Those that are not in the list any more: they have left the filter, or the page.
  const left = there.filter((row) => !rows.some((each) => each.id === row.id));
  $("fresh").hidden = above === 0 && !left.length;
  $("fresh").textContent = above > 0 ? `${above} new: show` : above === 0 ? "Show as it is now" : "Show the newest";
  if (!left.length) return;
  const asked = new URLSearchParams(left.map((row) => ["id", row.querySelector("[data-message]").dataset.message]));
  const answer = await fetchPart(`/page/rows?${asked}`);
  if (answer.ok && held) patchThose(table, rowsOf(await answer.text()));
}

function rowsOf(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  return [...fresh.content.querySelectorAll("tbody tr")];
}

function patchThose(table, rows) {
  for (const row of rows) {
    const old = $(row.id);
    if (old && table.contains(old)) patch(old, row.outerHTML, "outerHTML");
  }
}

// What is shown is not what was asked for, which is said unless it is there at once.
let late = 0;

function waiting(yes) {
  clearTimeout(late);
  const table = $("table");
  if (yes) late = setTimeout(() => { table.classList.add("stale"); table.setAttribute("aria-busy", "true"); }, 300);
  else table.removeAttribute("aria-busy");
}

function unhold() {
  held = false;
  $("fresh").hidden = true;
}

// Somebody asks for something else: what was held is not what they look at any more.
export function letGo() {
  release = true;
  waiting(true);
  parts.get("table").html = "";
  refresh("table");
}
