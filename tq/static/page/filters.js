// Which messages the table shows: the filters, and how far back. The address has both.
import { letGo } from "./parts.js";

const $ = (id) => document.getElementById(id);
let cursor = $("table").dataset.cursor;

function filters() {
  const given = new URLSearchParams();
  for (const [name, value] of new FormData($("filters"))) if (value) given.set(name, value);
  return given;
}

export function placeOf() {
  const place = filters();
  if (cursor) place.set("cursor", cursor);
  return place;
}

export const urlOf = (place) => place.size ? `?${place}` : location.pathname;

function go(push) {
  history[push ? "pushState" : "replaceState"](null, "", urlOf(placeOf()));
  letGo();
}

// Exactly these, as a link says.
export function narrow(wanted) {
  for (const field of fields()) field.value = wanted[field.name] ?? "";
  cursor = "";
  go(true);
  $("messages").focus({ preventScroll: true });
  $("messages").scrollIntoView({ block: "start" });
}

export function openPage(from) {
  cursor = from;
  go(true);
  $("messages").focus();
}

const fields = () => $("filters").querySelectorAll("input, select");

// As the address says.
export function restore() {
  const given = new URLSearchParams(location.search);
  for (const field of fields()) field.value = given.get(field.name) ?? "";
  cursor = given.get("cursor") ?? "";
  letGo();
}

export function listenToFilters() {
  // What is no filter is not in the fields, and does not stay in the address either.
  const place = placeOf(), message = new URLSearchParams(location.search).get("message");
  if (message) place.set("message", message);
  history.replaceState(null, "", urlOf(place));
  let typing = 0;
  const begin = () => { clearTimeout(typing); cursor = ""; go(false); };
  $("filters").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(begin, 200); });
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
  $("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    for (const field of fields()) field.value = "";
    begin();
  });
}
