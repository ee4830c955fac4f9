// Requests to the API, which serves this page.
import { sessionEnded } from "./say.js";

const PATIENCE = 30000; // ms for an answer
const SHORT = 15000; // ms for a part of the page

// -> whether it was done, the answer or the problem document, and the queue that it waits in if somebody has paused that.
export async function request(method, url, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    return [false, { detail: "the API does not answer" }];
  }
  if (answer.status === 401) {
    sessionEnded(true);
    return [false, { detail: "the session has ended: log in again in another tab, and go on here" }];
  }
  const said = await answer.json().catch(() => ({ detail: `the API answers with status ${answer.status}` }));
  return [answer.ok, said, answer.headers.get("TQ-Paused") ?? ""];
}

// -> the answer with a part of the page, which the server has rendered.
export async function fetchPart(url) {
  const answer = await fetch(url, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(SHORT) });
  if (answer.status === 401) sessionEnded(true);
  return answer;
}

export const pathOf = (id) => `/messages/${encodeURIComponent(id)}`;
