// One message in a dialog. Its texts enter it only when somebody asks for them, and only as text.
import { fetchPart, pathOf, request } from "./api.js";
import { urlOf } from "./filters.js";
import { onLook, patch } from "./parts.js";
import { onSession, toast, words } from "./say.js";

const $ = (id) => document.getElementById(id);
let asked = "", opened = "", pushed = false, shown = "", status = "", opener = null, busy = false;

export const detailOf = (search) => new URLSearchParams(search).get("message") ?? "";

// `keep`: the address says so already.
export async function openDetail(id, { keep = false } = {}) {
  if (asked === id) return; // a second click, while it is on its way
  asked = id;
  document.body.setAttribute("aria-busy", "true");
  const problem = await load(id, true);
  if (asked !== id) return;
  stopAsking();
  if (problem) {
    if (keep) forget();
    return toast(problem, { bad: true });
  }
  if (!keep) {
    const place = new URLSearchParams(location.search);
    place.set("message", id);
    history.pushState(null, "", `?${place}`);
  }
  pushed = !keep;
  if ($("detail").open) return;
  opener = document.activeElement;
  $("detail").showModal();
  $("detail-title").focus();
}

function stopAsking() {
  asked = "";
  document.body.removeAttribute("aria-busy");
}

// The address does not say any more that it is open.
function forget() {
  const place = new URLSearchParams(location.search);
  place.delete("message");
  history.replaceState(null, "", urlOf(place));
}

export function closeDetail({ keep = false } = {}) {
  stopAsking();
  if (keep) pushed = false;
  if ($("detail").open) $("detail").close(keep ? "kept" : "");
}

// -> what is wrong, in words, or "".
async function load(id, fresh) {
  let answer;
  try {
    answer = await fetchPart(`/page/messages/${encodeURIComponent(id)}`);
  } catch {
    return "The API does not answer.";
  }
  if (!answer.ok) return words(await answer.json().catch(() => ({ detail: `the API answers with status ${answer.status}` })));
  const html = await answer.text();
  if ((fresh ? asked : opened) !== id) return "";
  if (fresh && opened !== id) hideTexts();
  opened = id;
  if (html === shown) return "";
  shown = html;
  patch($("detail-body"), html);
  const now = $("detail-body").querySelector(".status").textContent;
  if (status !== now && !$("texts").hidden) reveal();
  status = now;
  return "";
}

// -- texts ---------------------------------------------------------------------------------------

async function reveal() {
  const id = opened;
  const [ok, message] = await request("GET", pathOf(id));
  if (opened !== id) return;
  if (!ok) return toast(words(message), { bad: true });
  const { context, instructions, glossary } = message.metadata;
  const terms = glossary && (typeof glossary === "string" ? glossary : JSON.stringify(glossary, null, 1));
  const found = [["Text", message.content], ["Translation", message.translation], ["Context", context], ["Instructions", instructions], ["Glossary", terms]];
  const blocks = found.filter(([, text]) => text).map(([name, text]) => block(name, text));
  // What is there stays, with its scroll and its selection.
  const there = new Map([...$("texts").children].map((each) => [each.dataset.name, each]));
  $("texts").replaceChildren(...blocks.map((each) => {
    const old = there.get(each.dataset.name);
    return old?.isEqualNode(each) ? old : each;
  }));
  setVisible(true);
}

function block(name, text) {
  const section = document.createElement("section"), head = document.createElement("h3"), body = document.createElement("pre");
  section.dataset.name = name;
  head.textContent = name;
  body.textContent = text;
  body.tabIndex = 0;
  body.dir = "auto";
  section.append(head, body);
  return section;
}

function hideTexts() {
  $("texts").replaceChildren();
  setVisible(false);
}

function setVisible(visible) {
  $("texts").hidden = !visible;
  $("d-texts").setAttribute("aria-expanded", String(visible));
  $("d-texts").textContent = visible ? "Hide the texts" : "Show the texts";
}

// -- the dialog ----------------------------------------------------------------------------------

export function listenToDetail() {
  const dialog = $("detail");
  let outside = false;
  // Beside it, not in it, and not with a selection that began in it.
  dialog.addEventListener("pointerdown", (event) => { outside = event.target === dialog; });
  dialog.addEventListener("click", (event) => { if (outside && event.target === dialog) dialog.close(); });
  $("d-texts").addEventListener("click", () => $("texts").hidden ? reveal() : hideTexts());
  dialog.addEventListener("close", () => {
    opened = shown = status = "";
    $("detail-body").replaceChildren();
    hideTexts();
    if (dialog.returnValue !== "kept") {
      if (pushed) history.back();
      else forget();
    }
    dialog.returnValue = "";
    pushed = false;
    const back = opener?.isConnected ? opener : $(opener?.id ?? "");
    (back ?? $("messages")).focus();
  });
  // Who comes next is not to read on; what says so stands behind the dialog.
  onSession((ended) => ended && closeDetail({ keep: true }));
  onLook(async () => {
    if (!dialog.open || !opened || busy) return;
    busy = true;
    await load(opened, false);
    busy = false;
  });
}
