// What the page tells people: notices in a corner, questions, and whether it is connected.
const $ = (id) => document.getElementById(id);
const PASSES = 6000; // ms that good news stand there; bad ones stay until they are closed

export function toast(text, { bad = false, line = null } = {}) {
  const box = $("toasts");
  if (line?.isConnected) {
    line.firstChild.textContent = text;
    return line;
  }
  line = document.createElement("p");
  const words = document.createElement("span"), close = document.createElement("button");
  words.textContent = text;
  close.textContent = "×";
  close.className = "quiet";
  close.setAttribute("aria-label", "Close this notice");
  close.addEventListener("click", () => end(line));
  line.append(words, close);
  if (bad) line.className = "bad";
  box.append(line);
  float(box);
  return bad ? line : passing(line);
}

// Above all else, and within the dialog that is open: what is outside of that can be neither clicked nor heard.
function float(box) {
  const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
  if (box.matches(":popover-open")) box.hidePopover();
  (dialog ?? document.body).append(box);
  if (box.childElementCount) box.showPopover();
  dialog?.addEventListener("close", () => float(box), { once: true });
}

// It goes by itself, unless somebody points at it.
export function passing(line) {
  setTimeout(() => line.matches(":hover") ? passing(line) : end(line), PASSES);
  return line;
}

function end(line) {
  line.remove();
  if (!$("toasts").childElementCount && $("toasts").matches(":popover-open")) $("toasts").hidePopover();
}

// A question in a dialog: its answer, "" when there is none.
export function ask(dialog, field = null) {
  const focused = document.activeElement;
  if (field) field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    resolve(dialog.returnValue && (field ? field.value : dialog.returnValue));
    if (field) field.value = "";
    if (focused?.isConnected) focused.focus();
  }, { once: true }));
}

// Whether the page is connected: what its stream says, unless what is asked for gets no answer.
let stream = ["connecting …", ""], silent = false;

export function connection(text, how) {
  stream = [text, how];
  showConnection();
}

export function answered(yes) {
  silent = !yes;
  showConnection();
}

function showConnection() {
  const [text, how] = silent ? ["the API does not answer, trying again", "off"] : stream;
  const place = $("live");
  if (place.textContent === text) return;
  place.textContent = text;
  place.className = `live ${how}`;
}

const followers = new Set();

// Called with whether the session has ended, each time that this changes.
export function onSession(follower) { followers.add(follower); }

export function sessionEnded(ended) {
  if ($("ended").hidden !== ended) return;
  $("ended").hidden = !ended;
  for (const follower of followers) follower(ended);
}

// A problem document in a sentence or two.
export function words(problem) {
  return [problem.detail, problem.why, problem.fix].filter(Boolean).map((text) => text[0].toUpperCase() + text.slice(1)).join(". ");
}
