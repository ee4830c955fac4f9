// The stream of changes: it only says that something happened, what it was is asked for.
import { failuresChanged, lookAgain, soon } from "./parts.js";
import { connection, onSession, sessionEnded } from "./say.js";

const STATUSES = ["queued", "running", "retrying", "completed", "failed", "cancelled"];
const SHORTEST = 1000, LONGEST = 30000; // ms until the stream is opened again after it was refused

let stream = null, pause = SHORTEST, timer = 0;
let followed = "", tell = () => {};

export function listen() {
  document.addEventListener("visibilitychange", open);
  addEventListener("online", open);
  addEventListener("offline", () => connection("this device is offline", "off"));
  onSession(open);
  open();
}

// Have `follower` called with each change of one message. It has no stream of its own, of which a browser has six.
export function follow(id, follower) { [followed, tell] = [id, follower]; }

// A browser keeps six connections to a host for all of its tabs: one that nobody sees gives its own back.
export function open(ended = false) {
  clearTimeout(timer);
  stream?.close();
  stream = null;
  if (ended === true) return connection("the session has ended", "off");
  if (document.hidden) return connection("not shown, not listening", "");
  const opened = stream = new EventSource("/events");
  opened.onopen = () => {
    pause = SHORTEST;
    sessionEnded(false);
    connection("live", "on");
    lookAgain();
  };
  opened.onerror = () => opened === stream && lost(opened);
  for (const status of [...STATUSES, "gap"]) opened.addEventListener(status, ({ data }) => {
    if (followed && data.includes(followed)) {
      const change = JSON.parse(data);
      if (change.message_id === followed) tell(change);
    }
    // What has failed, and what is queued again after that.
    if (["failed", "queued", "gap"].includes(status)) failuresChanged();
    soon();
  });
}

// A browser opens it again by itself, unless it was refused: then nobody else does.
async function lost(opened) {
  connection("connection lost, trying again", "off");
  if (opened.readyState !== EventSource.CLOSED) return;
  timer = setTimeout(open, pause * (0.5 + Math.random()));
  pause = Math.min(pause * 2, LONGEST);
  const why = await refusal();
  if (opened === stream && why) connection(why, "off");
}

async function refusal() {
  try {
    const answer = await fetch("/queue/stats", { signal: AbortSignal.timeout(5000) });
    if (answer.status === 401) { sessionEnded(true); return "the session has ended"; }
    return answer.ok ? "too many pages listen: shown every few seconds" : "the queue does not answer, trying again";
  } catch {
    return "";
  }
}
