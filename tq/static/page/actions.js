// What buttons do: one request each, or one after the other until nothing is left to do.
import { request } from "./api.js";
import { isSettled, lookAgain } from "./parts.js";
import { ask, passing, toast, words } from "./say.js";

const $ = (id) => document.getElementById(id);
const MANY = 100; // messages that are not tried again without a question

export async function act(button) {
  // Not `disabled`, which would take the focus away.
  if (button.getAttribute("aria-disabled") === "true" || !isSettled(button)) return;
  button.setAttribute("aria-disabled", "true");
  try {
    await (button.dataset.retry === undefined ? post(button.dataset) : retryFailures(button.dataset));
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

async function post({ post: url, done }) {
  let [ok, answer] = await request("POST", url);
  if (!ok && String(answer.type).endsWith("missing-key")) {
    const key = await ask($("ask-key"), $("again-key"));
    if (!key) return;
    [ok, answer] = await request("POST", url, { api_key: key });
  }
  if (ok) toast(done);
  else toast(words(answer), { bad: true });
  lookAgain();
}

// A thousand at a time, as the API does.
async function retryFailures({ retry: type, count }) {
  const number = Number(count);
  if (number > MANY) {
    $("confirm-title").textContent = `Retry ${number.toLocaleString()} messages?`;
    if (!await ask($("confirm"))) return;
  }
  let retried = 0, refused = 0, line = null, cursor = null;
  do {
    const [ok, answer] = await request("POST", "/queue/failures/retry", { type: type || null, cursor });
    if (!ok) { toast(words(answer), { bad: true }); break; }
    retried += answer.retried;
    refused += answer.refused;
    cursor = answer.next_cursor;
    if (retried) line = toast(`${retried.toLocaleString()} queued again${cursor ? " …" : ""}`, { line });
  } while (cursor);
  if (line) passing(line);
  if (refused) toast(`${refused.toLocaleString()} not queued again: such a message needs its own key (retry it alone), or its budget is spent.`, { bad: true });
  lookAgain();
}
