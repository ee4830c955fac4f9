// Requests to the API, which serves this page.
import { sessionEnded } from "./say.js";

// -> whether it was done, and the answer or the problem document.
export async function request(method, url, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    return [false, { detail: "the API does not answer" }];
  }
  if (answer.status === 401) sessionEnded(true);
  return [answer.ok, await answer.json().catch(() => ({ detail: `the API answers with status ${answer.status}` }))];
}

export const pathOf = (id) => `/messages/${encodeURIComponent(id)}`;
