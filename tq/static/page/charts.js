// What a chart says at the minute under the pointer.
export function readCharts() {
  document.addEventListener("pointermove", ({ target, clientX }) => {
    const plot = target.closest?.(".plot");
    for (const each of document.querySelectorAll(".chart output")) if (!plot?.parentElement.contains(each)) each.textContent = "";
    if (!plot) return;
    const chart = plot.parentElement, readings = JSON.parse(chart.dataset.readings);
    const { left, width } = plot.getBoundingClientRect();
    const index = Math.min(readings.length - 1, Math.max(0, Math.floor(((clientX - left) / width) * readings.length)));
    const moment = new Date(new Date(chart.dataset.from).getTime() + index * 60000);
    chart.querySelector("output").textContent = `${moment.toLocaleTimeString(undefined, { timeStyle: "short" })}: ${readings[index]}`;
  }, { passive: true });
}
