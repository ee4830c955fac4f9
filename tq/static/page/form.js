// The form that submits a text and shows its translation arriving.
import { pathOf, request } from "./api.js";
import { onLook, soon } from "./parts.js";
import { words } from "./say.js";
import { follow as followChanges } from "./stream.js";

const $ = (id) => document.getElementById(id);
const SETTLED = 1000; // ms for which the same button submits nothing more
const QUIET = 4000; // ms without news of the message after which it is asked for
let following = "", ended = false, heard = 0;
let attempt = null; // what was sent, and the key that makes sending it again harmless

export function listenToForm() {
  $("submit").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("content").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) $("submit").requestSubmit();
  });
  onLook(() => following && !ended && Date.now() - heard > QUIET && check());
  $("submit-button").disabled = false;
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
  const slow = setTimeout(() => say("sending …", "dim"), 300);
  const [ok, answer, paused] = await request("POST", "/messages", body, { "Idempotency-Key": attempt.key });
  clearTimeout(slow);
  // A second click, or a key that is held, means the same message.
  setTimeout(() => button.removeAttribute("aria-disabled"), ok ? SETTLED : 0);
  mark(ok ? [] : answer.errors ?? []);
  if (!ok) return say(answer.errors?.length ? answer.errors.map(refusal).join("; ") : words(answer), "bad");
  attempt = null;
  $("key").value = "";
  follow(answer.message_id, paused);
  soon(0);
}

// In the words of the form.
function refusal({ field, message }) {
  const label = [...$("submit").elements].find((each) => each.name === field)?.labels[0];
  return `${label?.firstChild.textContent.trim() ?? field}: ${message}`;
}

// Which fields were refused.
function mark(errors) {
  const fields = new Set(errors.map((error) => error.field));
  let first = null;
  for (const each of $("submit").querySelectorAll("input, select, textarea")) {
    if (fields.has(each.name)) {
      each.setAttribute("aria-invalid", "true");
      each.setAttribute("aria-errormessage", "result-text");
      first ??= each;
    } else for (const name of ["aria-invalid", "aria-errormessage"]) each.removeAttribute(name);
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
  $("result").classList.add("shown");
}

// Until another one is submitted: one that has failed may be tried again.
function follow(id, paused) {
  following = id;
  ended = false;
  say(paused ? `queued: ${paused} is paused, nothing of it begins until it is resumed` : "queued …", "dim", id);
  followChanges(id, (change) => {
    heard = Date.now();
    if (["completed", "failed", "cancelled"].includes(change.status)) check();
    else {
      ended = false;
      say(change.status === "retrying" ? `↻ retrying: ${change.info}` : `${change.status} …`, "dim", id);
    }
  });
  check(); // it may have ended before this was heard
}

// What the stream did not tell, or tells less of.
async function check() {
  const id = following;
  heard = Date.now();
  const [ok, message] = await request("GET", pathOf(id));
  if (following !== id) return;
  if (ok && message.finished_at) end(message);
  else if (ok && !ended && message.status !== "queued") say(message.status === "retrying" ? `↻ retrying: ${message.error?.type}` : `${message.status} …`, "dim", id);
  else if (message.status === 404) {
    following = "";
    say(words(message), "bad", id);
  }
}

function end(message) {
  const id = message.message_id;
  ended = true;
  if (message.status === "completed") {
    const took = ((new Date(message.finished_at) - new Date(message.created_at)) / 1000).toFixed(1);
    const note = message.provider === "pseudo" ? ", NOT a translation (pseudo)" : message.cached ? ", from memory" : "";
    say(`✔ completed in ${took} s${note}`, "good", id, message.translation);
  } else if (message.status === "failed") say(`✘ failed: ${message.error.message}`, "bad", id);
  else say(`– ${message.status}`, "dim", id);
}
