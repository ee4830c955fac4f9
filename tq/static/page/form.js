// The form that submits a text and shows its translation arriving.
import { pathOf, request } from "./api.js";
import { soon } from "./parts.js";
import { words } from "./say.js";
import { STATUSES } from "./stream.js";

const $ = (id) => document.getElementById(id);
let following = null;
let attempt = null; // what was sent, and the key that makes sending it again harmless

export function listenToForm() {
  $("submit").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("content").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("submit").requestSubmit();
  });
}

function read() {
  const value = (id) => $(id).value.trim();
  const body = { content: $("content").value, priority: Number(value("priority")), metadata: { target_language: value("target") } };
  if (value("source")) body.metadata.source_language = value("source");
  if (value("model")) body.model_name = value("model");
  if (value("key")) body.api_key = value("key");
  return body;
}

async function submit() {
  const button = $("submit-button");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  const body = read(), text = JSON.stringify(body);
  // The same again after no answer is the same message.
  if (attempt?.text !== text) attempt = { text, key: [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
  const [ok, answer] = await request("POST", "/messages", body, { "Idempotency-Key": attempt.key });
  button.removeAttribute("aria-disabled");
  mark(ok ? [] : answer.errors ?? []);
  if (!ok) return say(words(answer) + (answer.errors ?? []).map((each) => `; ${each.field}: ${each.message}`).join(""), "bad");
  attempt = null;
  $("key").value = "";
  follow(answer.message_id);
  soon(0);
}

// Which fields were refused.
function mark(errors) {
  const fields = new Set(errors.map((error) => error.field));
  let first = null;
  for (const each of $("submit").querySelectorAll("input, select, textarea")) {
    if (fields.has(each.name)) {
      each.setAttribute("aria-invalid", "true");
      first ??= each;
    } else each.removeAttribute("aria-invalid");
  }
  first?.focus();
}

function say(text, how, id = "", translation = "") {
  const place = $("result-text"), link = $("result-id");
  if (place.textContent !== text) place.textContent = text;
  place.className = how;
  link.hidden = !id;
  link.textContent = id;
  link.href = `?message=${encodeURIComponent(id)}`;
  link.dataset.message = id;
  $("result-translation").textContent = translation;
  $("result").hidden = false;
}

function follow(id) {
  following?.close();
  say("queued …", "dim", id);
  const events = following = new EventSource(`${pathOf(id)}/events`);
  for (const status of STATUSES) {
    events.addEventListener(status, (event) => {
      if (["completed", "failed", "cancelled"].includes(status)) {
        events.close();
        wait(id, events);
      } else say(status === "retrying" ? `↻ retrying: ${JSON.parse(event.data).info}` : `${status} …`, "dim", id);
    });
  }
  // Refused, it is not opened again: the end is asked for instead.
  events.onerror = () => events.readyState === EventSource.CLOSED && wait(id, events);
}

async function wait(id, events) {
  for (let tries = 0; following === events; tries += 1) {
    const [ok, message] = await request("GET", `${pathOf(id)}?wait=30`);
    if (following !== events) return;
    if (ok && message.finished_at) return end(message);
    if (ok) say(`${message.status} …`, "dim", id);
    else if (message.status === 404) return say(words(message), "bad", id);
    else await new Promise((done) => setTimeout(done, Math.min(30000, 1000 * 2 ** tries)));
  }
}

function end(message) {
  const id = message.message_id;
  if (message.status === "completed") {
    const took = ((new Date(message.finished_at) - new Date(message.created_at)) / 1000).toFixed(1);
    const note = message.provider === "pseudo" ? ", NOT a translation (pseudo)" : message.cached ? ", from memory" : "";
    say(`✔ completed in ${took} s${note}`, "good", id, message.translation);
  } else if (message.status === "failed") say(`✘ failed: ${message.error.message}`, "bad", id);
  else say(`– ${message.status}`, "dim", id);
}
