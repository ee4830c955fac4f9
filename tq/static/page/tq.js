// What the server has rendered is kept current: parts are asked for again when the stream of changes says that
// something happened. Texts of messages only ever enter as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const STATUSES = ["queued", "running", "retrying", "completed", "failed", "cancelled"];
const QUIET = 5000; // ms between two looks when nothing happens
const BUSY = 700; // ms between two looks when much happens

// -- parts -------------------------------------------------------------------

let cursor = "";
const shown = new Map();

function query() {
  const given = new URLSearchParams();
  for (const [name, value] of new FormData($("filters"))) if (value) given.set(name, value);
  return given;
}

function address(part) {
  if (part.id !== "table") return part.dataset.part;
  const given = query();
  if (cursor) given.set("cursor", cursor);
  return `${part.dataset.part}?${given}`;
}

async function refresh(part) {
  const url = address(part);
  let answer;
  try {
    answer = await fetch(url, { headers: { Accept: "text/html" } });
  } catch {
    return; // the stream says that the connection is lost
  }
  if (answer.status === 401) return location.reload();
  if (!answer.ok || url !== address(part)) return;
  put(part, await answer.text());
}

// Escaped by the server. The focus stays where it was, on the element of the same id.
function put(part, html) {
  if (shown.get(part) === html) return;
  shown.set(part, html);
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = html;
  if (focused) ($(focused) || part.querySelector("button, a"))?.focus();
}

let due = 0, last = 0;
let failuresDue = 0, failuresStale = true; // they are looked for among many: less often
function soon(wait = BUSY) {
  if (due) return;
  due = setTimeout(look, Math.max(0, last + wait - Date.now()));
}
function look() {
  due = 0;
  last = Date.now();
  if (document.hidden) return;
  refresh($("overview"));
  refresh($("table"));
  if (failuresStale && last >= failuresDue) {
    failuresStale = false;
    failuresDue = last + 2500;
    refresh($("failures"));
  } else if (failuresStale) soon(failuresDue - last);
  if ($("detail").open && opened) show(opened, false);
}
setInterval(() => Date.now() - last >= QUIET && look(), 1000);
document.addEventListener("visibilitychange", look);

// -- the stream of changes ---------------------------------------------------

function say(text, how) {
  if ($("live").textContent === text) return;
  $("live").textContent = text;
  $("live").className = `live ${how}`;
}
// A browser keeps six connections to a host for all of its tabs: one that nobody sees gives its own back.
let stream = null;
function listen() {
  stream?.close();
  stream = null;
  if (document.hidden) return say("not shown, not listening", "");
  const opened = stream = new EventSource("/events");
  opened.onopen = () => { say("live", "on"); failuresStale = true; soon(0); };
  opened.onerror = () => {
    if (opened !== stream) return;
    say("connection lost, trying again", "off");
    if (opened.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  };
  for (const status of STATUSES) opened.addEventListener(status, () => {
    // What has failed, and what is queued again after that.
    failuresStale ||= status === "failed" || status === "queued";
    soon();
  });
}
document.addEventListener("visibilitychange", listen);
listen();

// -- filters -----------------------------------------------------------------

function filter() {
  cursor = "";
  history.replaceState(null, "", `?${query()}`);
  refresh($("table"));
}
let typing = 0;
$("filters").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 200); });
$("filters").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
$("filters").addEventListener("reset", (event) => {
  event.preventDefault();
  for (const field of $("filters").querySelectorAll("input, select")) field.value = "";
  filter();
});

// -- what buttons do ---------------------------------------------------------

function toast(text, bad = false) {
  const line = document.createElement("p");
  line.textContent = text;
  if (bad) line.className = "bad";
  $("toasts").append(line);
  setTimeout(() => line.remove(), bad ? 12000 : 4000);
}

async function post(url, body) {
  let answer;
  try {
    answer = await fetch(url, {
      method: "POST",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    return [false, { detail: "The API does not answer.", fix: "" }];
  }
  if (answer.status === 401) location.reload();
  return [answer.ok, await answer.json().catch(() => ({ detail: `status ${answer.status}` }))];
}

const words = (problem) => [problem.detail, problem.why, problem.fix].filter(Boolean).join(". ");

async function act(button) {
  const { post: url, body, done } = button.dataset;
  button.disabled = true;
  let [ok, answer] = await post(url, body && JSON.parse(body));
  if (!ok && String(answer.type).endsWith("missing-key")) {
    const key = await ask();
    if (!key) { button.disabled = false; return; }
    [ok, answer] = await post(url, { api_key: key });
  }
  button.disabled = false;
  if (!ok) return toast(words(answer), true);
  toast(done.replace("{n}", answer.retried));
  if (answer.refused) toast(`${answer.refused} could not be retried: they need their own key again, or a budget is spent.`, true);
  failuresStale = true;
  failuresDue = 0;
  look();
}

function ask() {
  const dialog = $("ask-key"), field = $("again-key");
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    resolve(dialog.returnValue === "retry" ? field.value : "");
    field.value = "";
  }, { once: true }));
}

// -- one message -------------------------------------------------------------

let opened = "";
async function show(id, fresh = true) {
  let answer;
  try {
    answer = await fetch(`/page/messages/${encodeURIComponent(id)}`, { headers: { Accept: "text/html" } });
  } catch {
    return;
  }
  if (!answer.ok) return fresh && toast(`There is no message ${id}.`, true);
  const html = await answer.text();
  if (!fresh && opened !== id) return;
  const texts = fresh ? null : $("texts");
  const visible = texts && !texts.hidden ? texts : null;
  if (shown.get($("detail-body")) !== html || fresh) {
    put($("detail-body"), html);
    if (visible) reveal(id);
  }
  if (!fresh) return;
  opened = id;
  const url = new URLSearchParams(location.search);
  url.set("message", id);
  history.replaceState(null, "", `?${url}`);
  if (!$("detail").open) $("detail").showModal();
}

$("detail").addEventListener("close", () => {
  const id = opened;
  opened = "";
  shown.delete($("detail-body"));
  $("detail-body").replaceChildren();
  const url = query();
  history.replaceState(null, "", `?${url}`);
  $(`m-${id}`)?.focus();
});
$("detail").addEventListener("click", (event) => event.target === $("detail") && $("detail").close());

async function reveal(id) {
  const place = $("texts");
  const answer = await fetch(`/messages/${encodeURIComponent(id)}`);
  if (!answer.ok || !place.isConnected) return;
  const message = await answer.json();
  place.replaceChildren(...[["Text", message.content], ["Translation", message.translation]]
    .filter(([, text]) => text !== null)
    .map(([name, text]) => {
      const block = document.createElement("section"), head = document.createElement("h3"), body = document.createElement("pre");
      head.textContent = name;
      body.textContent = text;
      body.tabIndex = 0;
      body.dir = "auto";
      block.append(head, body);
      return block;
    }));
  place.hidden = false;
  const button = document.querySelector("[data-texts]");
  button.setAttribute("aria-expanded", "true");
  button.textContent = "Hide the texts";
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-post], [data-message], [data-cursor], [data-close], [data-texts]");
  if (!target) return;
  if (target.dataset.message !== undefined && (event.ctrlKey || event.metaKey || event.shiftKey)) return;
  event.preventDefault();
  if (target.dataset.post) act(target);
  else if (target.dataset.message) show(target.dataset.message);
  else if (target.dataset.cursor !== undefined) { cursor = target.dataset.cursor; refresh($("table")); $("messages").focus(); }
  else if (target.dataset.close !== undefined) $("detail").close();
  else if ($("texts").hidden) reveal(target.dataset.texts);
  else {
    $("texts").hidden = true;
    $("texts").replaceChildren();
    target.setAttribute("aria-expanded", "false");
    target.textContent = "Show the texts";
  }
});

// -- submit ------------------------------------------------------------------

let following = null;
$("submit").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = (name) => $("submit").elements[name].value.trim();
  const body = { content: $("content").value, priority: Number(field("priority")), metadata: { target_language: field("target") } };
  if (field("source")) body.metadata.source_language = field("source");
  if (field("model")) body.model_name = field("model");
  if (field("key")) body.api_key = field("key");
  $("key").value = "";
  const button = event.submitter;
  if (button) button.disabled = true;
  const [ok, answer] = await post("/messages", body);
  if (button) button.disabled = false;
  if (!ok) return result(words(answer), "bad");
  follow(answer.message_id);
  soon(0);
});

function result(text, how, id = "", translation = null) {
  const place = $("result"), line = document.createElement("p");
  line.textContent = text;
  line.className = how;
  place.replaceChildren(line);
  if (id) {
    const link = document.createElement("a");
    link.href = `?message=${encodeURIComponent(id)}`;
    link.dataset.message = id;
    link.textContent = id;
    line.append(" ", link);
  }
  if (translation !== null) {
    const block = document.createElement("p");
    block.className = "translation";
    block.dir = "auto";
    block.textContent = translation;
    place.append(block);
  }
  place.hidden = false;
}

function follow(id) {
  following?.close();
  result("queued …", "dim", id);
  const events = following = new EventSource(`/messages/${encodeURIComponent(id)}/events`);
  const end = async () => {
    events.close();
    const answer = await fetch(`/messages/${encodeURIComponent(id)}`);
    if (!answer.ok || following !== events) return;
    const message = await answer.json();
    if (message.status === "completed") {
      const took = ((new Date(message.finished_at) - new Date(message.created_at)) / 1000).toFixed(1);
      const note = message.provider === "pseudo" ? ", NOT a translation (pseudo)" : message.cached ? ", from memory" : "";
      result(`✔ completed in ${took} s${note}`, "good", id, message.translation);
    } else if (message.status === "failed") result(`✘ failed: ${message.error.message}`, "bad", id);
    else result(`– ${message.status}`, "dim", id);
  };
  for (const status of STATUSES) {
    events.addEventListener(status, (event) => {
      const change = JSON.parse(event.data);
      if (["completed", "failed", "cancelled"].includes(status)) end();
      else result(status === "retrying" ? `↻ retrying: ${change.info}` : `${status} …`, "dim", id);
    });
  }
}

const asked = new URLSearchParams(location.search).get("message");
if (asked) show(asked);
look();
