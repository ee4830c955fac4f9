// The page as the server has rendered it, kept current. Each module has one noun; none of them puts HTML together.
import { act } from "./actions.js";
import { readCharts } from "./charts.js";
import { openDetail, closeDetail, listenToDetail, detailOf } from "./detail.js";
import { listenToFilters, narrow, openPage, placeOf, restore } from "./filters.js";
import { lookAgain, watchParts } from "./parts.js";
import { listen, open } from "./stream.js";
import { listenToForm } from "./form.js";

// What a click on a link or a button means; with a modifier a link opens elsewhere, as links do.
document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-post], [data-retry], [data-message], [data-filter], [data-cursor], [data-close]");
  if (!target || (target.href && (event.ctrlKey || event.metaKey || event.shiftKey))) return;
  event.preventDefault();
  const { message, filter, cursor, close } = target.dataset;
  if (message !== undefined) openDetail(message);
  else if (filter !== undefined) narrow(JSON.parse(filter));
  else if (cursor !== undefined) openPage(cursor);
  else if (close !== undefined) closeDetail();
  else act(target);
});

// Links within the page leave no trace in the address, which says what is shown.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  const place = link && document.querySelector(link.getAttribute("href"));
  if (!place) return;
  event.preventDefault();
  place.focus({ preventScroll: true });
  place.scrollIntoView({ block: "start" });
});

// The address says what is shown, so that Back leads where people expect.
addEventListener("popstate", () => {
  restore();
  const id = detailOf(location.search);
  if (id) openDetail(id, { keep: true });
  else closeDetail({ keep: true });
});

watchParts(placeOf, () => open());
listenToFilters();
listenToForm();
listenToDetail();
readCharts();
listen();
lookAgain();
const asked = detailOf(location.search);
if (asked) openDetail(asked, { keep: true });
