"use strict";
// Sorting, filtering, the margin and the plots' colours. Without it the page still reads well.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;
  root.classList.add("scripted");

  // the margin: answers for each are on the page already
  const margin = document.getElementById("margin");
  margin.addEventListener("change", () => {
    for (const one of all(".answers")) {
      one.hidden = one.dataset.margin !== margin.value;
      if (!one.hidden) document.getElementById("margin-words").textContent = one.dataset.words;
    }
    for (const box of named("outside")) box.top = -Number(margin.value);
  });

  // sorting: numbers as numbers, missing values always last
  const order = new Intl.Collator("en", { numeric: true });
  function compare(a, b) {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? order.compare(a, b) : x - y;
  }
  for (const table of all("table.sortable")) {
    const heads = all("thead th[aria-sort]", table);
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort") === first ? other : first;
        for (const one of heads) one.setAttribute("aria-sort", one === head ? now : "none");
        const sign = now === "ascending" ? 1 : -1;
        const body = table.tBodies[0];
        const key = (row) => row.cells[column].dataset.sort;
        body.append(...[...body.rows].sort((a, b) => {
          const x = key(a), y = key(b);
          if (x === "" || y === "") return (x === "") - (y === "");
          return sign * compare(x, y);
        }));
      });
    });
  }

  // filtering: tables and plots alike; a row without a facet passes it
  const form = document.getElementById("filters");
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  function filter() {
    const wanted = all("[data-facet]", form).filter((one) => one.value)
      .map((one) => [one.dataset.facet, one.value]);
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const passes = (facets, text) => wanted.every(([name, value]) => !facets(name) || facets(name) === value)
      && words.every((word) => text.includes(word));
    let shown = 0;
    for (const row of all("table.sortable tbody tr")) {
      row.hidden = !passes((name) => row.dataset[name], row.textContent.toLowerCase());
      if (!row.hidden && row.closest("table").id.startsWith("cells-")) shown += 1;
    }
    for (const grid of all("section.grid")) {
      const rows = all("tbody tr", grid);
      grid.hidden = rows.length > 0 && rows.every((row) => row.hidden);
    }
    const total = Number(count.dataset.all);
    count.textContent = shown === total ? `${total} cells` : `${shown} of ${total} cells`;
    for (const doc of documents()) {
      const points = doc.get_model_by_name("points").data;
      const texts = points.name.map((name, at) => [
        name, points.task[at], points.method[at], points.run[at], points.workload[at],
      ].join(" ").toLowerCase());
      doc.get_model_by_name("shown").booleans = texts.map(
        (text, at) => passes((name) => points[name] && points[name][at], text));
    }
  }
  form.addEventListener("input", filter);
  form.addEventListener("change", filter);  // some drivers of a browser send only this one
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());

  // plots
  function documents() { return window.Bokeh ? window.Bokeh.documents : []; }
  function named(name) { return documents().flatMap((doc) => doc.get_model_by_name(name) || []); }
  function colour() {
    const style = getComputedStyle(root);
    const text = style.getPropertyValue("--text").trim();
    const quiet = style.getPropertyValue("--quiet").trim();
    const line = style.getPropertyValue("--line").trim();
    for (const doc of documents()) {
      for (const plot of doc.roots()) {
        for (const axis of [...plot.below, ...plot.left]) {
          axis.setv({
            axis_label_text_color: text, major_label_text_color: quiet, axis_line_color: quiet,
            major_tick_line_color: quiet, minor_tick_line_color: null,
          });
        }
        for (const part of plot.center) {
          if (part.type === "Grid") part.grid_line_color = line;
          if (part.type === "Span") part.line_color = quiet;
        }
      }
      const source = doc.get_model_by_name("points");
      const colours = source.data.base_colour.map((one) => (one === "dense" ? text : one));
      source.data = { ...source.data, colour: colours };
    }
  }
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  async function plots() {
    if (!window.Bokeh) return;
    for (const data of all("script.plot-data")) await window.Bokeh.embed.embed_item(JSON.parse(data.textContent));
    colour();
    dark.addEventListener("change", colour);
    window.addEventListener("beforeprint", colour);
    window.addEventListener("afterprint", colour);
    root.dataset.plots = documents().length;
  }
  plots();
})();
