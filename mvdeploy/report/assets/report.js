"use strict";
// What a report does in a browser: tables are sorted and filtered, cases are switched off, charts are
// drawn. Text from the data is only ever set as text, never as markup.
(() => {
  const root = document.documentElement;
  const held = document.getElementById("data");
  const data = held ? JSON.parse(held.textContent) : null;
  const cases = data ? data.cases : [];
  const off = new Set(); // keys of cases that are switched off
  const charts = [];
  let paper = false; // whether the page is being printed

  const NONE = "–";
  const ms = (value) => (value >= 100 ? value.toFixed(1) : value.toFixed(3)) + " ms";
  const percent = (share) => (100 * share).toFixed(1) + " %";
  const shown = (one) => !off.has(one.key);
  const named = (one) => (cases.length > 1 ? one.key + ": " + one.name : one.name);

  function make(tag, attributes = {}, ...content) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...content);
    return element;
  }

  // ---------------------------------------------------------------- tables

  const tables = [...document.querySelectorAll(".table")].map((box) => {
    const table = box.querySelector("table");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    return { box, body, rows, heads: [...table.tHead.rows[0].cells], kept: new Set(rows) };
  });

  // The first number that is no part of a name, as of "Top-1 73.3".
  function number(text) {
    const found = text.replaceAll("−", "-").replaceAll(",", "")
      .match(/(?:^|[^\w.-])([+-]?\d+(\.\d+)?(e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : NaN;
  }

  function compared(numeric, column) {
    const letters = new Intl.Collator("en", { numeric: true });
    const text = (row) => row.cells[column].textContent.trim();
    if (!numeric) return (a, b) => letters.compare(text(a), text(b));
    return (a, b) => number(text(a)) - number(text(b));
  }

  function sort(table, head, column) {
    const next = { none: "ascending", ascending: "descending", descending: "none" };
    const way = next[head.getAttribute("aria-sort") || "none"];
    for (const other of table.heads) other.removeAttribute("aria-sort");
    if (way !== "none") head.setAttribute("aria-sort", way);
    const numeric = head.classList.contains("n");
    const last = table.rows.filter((row) => row.classList.contains("total"));
    let rows = table.rows.filter((row) => !row.classList.contains("total"));
    if (way !== "none") {
      // What has no number comes last, whichever way.
      const empty = (row) =>
        row.cells[column].textContent.trim() === NONE ||
        (numeric && Number.isNaN(number(row.cells[column].textContent)));
      const order = compared(numeric, column);
      const full = rows.filter((row) => !empty(row)).sort(order);
      if (way === "descending") full.reverse();
      rows = [...full, ...rows.filter(empty)];
    }
    table.body.append(...rows, ...last);
  }

  function sieve(table) {
    const field = make("input", { type: "search", placeholder: "words" });
    const count = make("output");
    table.body.closest(".scroll").before(
      make("div", { class: "sieve" }, make("label", {}, "Filter rows ", field), count));
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      table.kept = new Set(table.rows.filter((row) => {
        const text = row.textContent.toLowerCase();
        return row.classList.contains("total") || words.every((word) => text.includes(word));
      }));
      count.textContent = words.length ? table.kept.size + " of " + table.rows.length + " rows" : "";
      showRows(table);
    });
  }

  function showRows(table) {
    const whose = (row) => (row.dataset.cases || "").split(" ").filter(Boolean);
    let any = false;
    for (const row of table.rows) {
      const on = whose(row).every((key) => !off.has(key));
      any = any || on;
      row.hidden = !on || !table.kept.has(row);
    }
    table.heads.forEach((head, column) => {
      if (!head.dataset.case) return;
      head.hidden = off.has(head.dataset.case);
      for (const row of table.rows) row.cells[column].hidden = head.hidden;
    });
    const columns = table.heads.filter((head) => head.dataset.case);
    table.box.hidden = (!any && table.rows.length > 0) ||
      (columns.length > 0 && columns.every((head) => head.hidden));
  }

  for (const table of tables) {
    table.heads.forEach((head, column) => {
      if (table.rows.length < 2 || !head.textContent.trim()) return;
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, head, column));
    });
    if (table.rows.length >= 10) sieve(table);
  }

  // ---------------------------------------------------------------- charts

  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();

  // Returns black or white, whichever is read better on a colour.
  function inkOn(fill) {
    const [r, g, b] = [1, 3, 5].map((at) => {
      const part = parseInt(fill.slice(at, at + 2), 16) / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
  }

  function legend(parts) {
    const list = make("ul", { class: "legend" });
    for (const part of parts) {
      const swatch = make("i");
      swatch.style.background = part.colour;
      list.append(make("li", {}, swatch, part.title));
    }
    return list;
  }

  // A plot: `draw(width)` returns its height, its option, and its marks in the order in which keys walk
  // through them; a mark has a series, an index in it, and lines of text.
  function plot(place, label, draw, keys = {}) {
    const area = make("div", {
      class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart",
      "aria-label": label + ". Arrow keys walk through its values.",
    });
    const readout = make("p", { class: "readout", "aria-live": "polite" });
    place.append(area, readout);
    let chart = null;
    let marks = [];
    let at = -1;

    const find = (params) =>
      marks.find((m) => m.series === params.seriesIndex && m.index === params.dataIndex);

    function tip(mark) {
      const [first, ...others] = mark.lines;
      const box = make("div", { class: "tip" }, make("b", {}, first));
      for (const line of others) box.append(make("div", {}, line));
      return box;
    }

    function redraw() {
      const width = paper ? 680 : area.clientWidth;
      if (!width) return;
      const drawn = draw(width);
      marks = drawn.marks;
      at = Math.min(at, marks.length - 1);
      area.style.height = drawn.height + "px";
      chart = chart || echarts.init(area, null, { renderer: "svg", width, height: drawn.height });
      chart.resize({ width, height: drawn.height });
      chart.setOption({
        animation: false,
        textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("ink") },
        tooltip: {
          trigger: "item", confine: true, transitionDuration: 0,
          backgroundColor: colour("paper"), borderColor: colour("strong"),
          textStyle: { color: colour("ink") },
          formatter: (params) => (find(params) ? tip(find(params)) : ""),
        },
        ...drawn.option,
      }, { notMerge: true });
      chart.off("mouseover");
      chart.on("mouseover", (params) => {
        const mark = find(params);
        if (mark) readout.textContent = mark.lines.join("; ");
      });
      chart.off("click");
      chart.on("click", (params) => {
        const mark = find(params);
        if (mark && keys.enter) keys.enter(mark);
      });
    }

    function go(to) {
      if (!marks.length) return;
      at = Math.max(0, Math.min(marks.length - 1, to));
      const mark = marks[at];
      readout.textContent = mark.lines.join("; ");
      chart.dispatchAction({ type: "downplay" });
      chart.dispatchAction({ type: "highlight", seriesIndex: mark.series, dataIndex: mark.index });
      chart.dispatchAction({ type: "showTip", seriesIndex: mark.series, dataIndex: mark.index });
    }

    function leave() {
      chart.dispatchAction({ type: "downplay" });
      chart.dispatchAction({ type: "hideTip" });
    }

    area.addEventListener("keydown", (event) => {
      const steps = {
        ArrowDown: () => go(at + 1), ArrowUp: () => go(at - 1),
        ArrowRight: () => go(keys.inside && marks[at] ? keys.inside(marks, at) : at + 1),
        ArrowLeft: () => go(keys.outside && marks[at] ? keys.outside(marks, at) : at - 1),
        Home: () => go(0), End: () => go(marks.length - 1),
        Enter: () => keys.enter && marks[at] && keys.enter(marks[at]),
        Escape: () => { leave(); if (keys.escape) keys.escape(); },
      };
      if (!chart || !steps[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      steps[event.key]();
    });
    area.addEventListener("blur", () => chart && leave());
    const one = { redraw, area, go };
    charts.push(one);
    return one;
  }

  const axis = () => ({
    axisLine: { lineStyle: { color: colour("strong") } },
    axisTick: { show: false },
    axisLabel: { color: colour("ink"), hideOverlap: true },
    splitLine: { lineStyle: { color: colour("line") }, showMinLine: false, showMaxLine: false },
    nameTextStyle: { color: colour("soft") },
  });

  // Leaves out the middle of a name, as its ends tell cases apart.
  function elided(text, width) {
    if (text.length <= width) return text;
    const head = Math.floor((width - 1) / 2);
    return text.slice(0, head) + "…" + text.slice(text.length - (width - 1 - head));
  }

  // Names of cases beside their rows.
  // On narrow screens they stand above these.
  function names(texts, width) {
    const narrow = width < 600;
    const room = Math.round(narrow ? width - 16 : Math.min(330, width * 0.32));
    return {
      room: narrow ? 8 : room + 12,
      step: narrow ? 46 : texts.length > 16 ? 20 : 30,
      axis: {
        ...axis(), type: "category", inverse: true, data: texts.map((_, i) => String(i)),
        splitLine: { show: false }, z: 10,
        axisLabel: {
          color: colour("ink"), interval: 0, width: room, overflow: "truncate",
          ...(narrow ? { inside: true, verticalAlign: "bottom", padding: [0, 0, 13, 4], margin: 0 } : {}),
          formatter: (i) => elided(texts[Number(i)], Math.floor(room / 6.9)),
        },
      },
    };
  }

  const digits = (value) => String(Number(value.toPrecision(6)));

  function latencyLines(one) {
    const times = one.latency_ms;
    return [
      named(one),
      "p50 " + ms(times.p50),
      ...(one.interval
        ? ["95 % interval within this run " + ms(one.interval[0]) + " to " + ms(one.interval[1])] : []),
      "p10 " + ms(times.p10) + ", p90 " + ms(times.p90) + ", p99 " + ms(times.p99),
      one.count.toLocaleString("en") + " samples",
      ...(one.verdict ? [one.verdict] : []),
    ];
  }

  function latency(host) {
    const rowsOf = () => cases.filter((c) => shown(c) && c.latency_ms)
      .sort((a, b) => a.latency_ms.p50 - b.latency_ms.p50);
    heading(host, "Points: medians, the fastest first; thick: the 95 % interval within this run; " +
      "thin: from p10 to p90. The axis does not start at 0.");
    plot(host, host.dataset.title, (width) => {
      const rows = rowsOf();
      const left = names(rows.map(named), width);
      const ends = rows.flatMap((c) => [c.latency_ms.p10, c.latency_ms.p90, ...(c.interval || [])]);
      const [low, high] = [Math.min(...ends), Math.max(...ends)];
      const pad = 0.06 * (high - low) || 0.05 * high || 1;
      return {
        height: rows.length * left.step + 48,
        marks: rows.map((c, i) => ({ series: 0, index: i, lines: latencyLines(c) })),
        option: {
          grid: { left: left.room, right: 78, top: 6, bottom: 42 },
          yAxis: left.axis,
          xAxis: {
            ...axis(), type: "value", min: Math.max(0, low - pad), max: high + pad,
            name: "milliseconds", nameLocation: "middle", nameGap: 28, splitNumber: width < 600 ? 3 : 6,
            axisLabel: {
              color: colour("ink"), hideOverlap: true, showMinLabel: false, showMaxLabel: false,
              formatter: digits,
            },
          },
          series: [{
            type: "custom", clip: false, encode: { x: [0, 1, 2], y: 3 },
            data: rows.map((c, i) => [c.latency_ms.p10, c.latency_ms.p50, c.latency_ms.p90, i]),
            renderItem: (_, api) => {
              const row = rows[api.value(3)];
              const x = (value) => api.coord([value, api.value(3)])[0];
              const y = api.coord([0, api.value(3)])[1] + (left.step > 40 ? 8 : 0);
              const [from, middle, to] = [0, 1, 2].map((i) => x(api.value(i)));
              const children = [{
                type: "rect", shape: { x: from, y: y - 1, width: Math.max(1, to - from), height: 2 },
                style: { fill: colour("strong") },
              }];
              if (row.interval) {
                const [a, b] = row.interval.map(x);
                children.push({
                  type: "rect", shape: { x: a, y: y - 5, width: Math.max(2, b - a), height: 10 },
                  style: { fill: colour("mark"), opacity: 0.45 },
                });
              }
              children.push({
                type: "circle", shape: { cx: middle, cy: y, r: 4.5 },
                style: { fill: colour("mark"), stroke: colour("paper"), lineWidth: 1 },
                emphasis: { style: { stroke: colour("ink"), lineWidth: 2 } },
              }, {
                type: "text",
                style: {
                  text: ms(api.value(1)), x: Math.max(to, middle + 5) + 7, y, verticalAlign: "middle",
                  fill: colour("ink"), fontSize: 12,
                },
              }, { // where the pointer may be
                type: "rect", style: { fill: "transparent" },
                shape: { x: from - 6, y: y - 12, width: to - from + 12, height: 24 },
              });
              return { type: "group", children };
            },
          }],
        },
      };
    });
  }

  function heading(host, note, title) {
    host.append(make("h3", {}, title || host.dataset.title));
    if (note) host.append(make("p", { class: "note" }, note));
  }

  function choice(label, options, chosen, changed) {
    const select = make("select");
    for (const [value, text] of options) select.append(make("option", { value }, text));
    select.value = chosen;
    select.addEventListener("change", () => changed(select.value));
    return make("label", {}, label + " ", select);
  }

  function shares(host) {
    let unit = "ms";
    const profiled = cases.filter((c) => c.breakdown);
    heading(host);
    const set = make("div", { class: "controls", role: "group", "aria-label": "Unit of the bars" });
    for (const [value, text] of [["ms", "milliseconds"], ["share", "shares"]]) {
      const button = make("input", { type: "radio", name: "unit", value });
      button.checked = value === unit;
      button.addEventListener("change", () => { unit = value; drawn.redraw(); });
      set.append(make("label", {}, button, text));
    }
    const used = data.parts.filter((_, i) => profiled.some((c) => c.breakdown.parts[i] > 0));
    host.append(set, legend(used));
    const drawn = plot(host, host.dataset.title, (width) => {
      const rows = profiled.filter(shown);
      const left = names(rows.map(named), width);
      const room = width - left.room - 82;
      const most = Math.max(...rows.map((c) => (unit === "ms" ? c.breakdown.total_ms : 1)), 1e-9);
      const size = (c, i) => c.breakdown.parts[i] / (unit === "ms" ? 1 : c.breakdown.total_ms || 1);
      const series = used.map((part) => {
        const i = data.parts.indexOf(part);
        return {
          type: "bar", stack: "all", barWidth: Math.min(19, left.step - 4), name: part.key,
          data: rows.map((c) => size(c, i)),
          itemStyle: { color: part.colour, borderColor: colour("paper"), borderWidth: 0.5 },
          emphasis: { itemStyle: { borderColor: colour("ink"), borderWidth: 2 } },
          label: {
            show: true, color: inkOn(part.colour), fontSize: 11,
            formatter: ({ dataIndex: row }) => {
              const share = rows[row].breakdown.parts[i] / (rows[row].breakdown.total_ms || 1);
              return (size(rows[row], i) / most) * room > 46 ? percent(share) : "";
            },
          },
        };
      });
      series.push({ // the whole, said at the end of the bar
        type: "bar", stack: "all", silent: true, data: rows.map(() => 0),
        label: {
          show: true, position: "right", color: colour("ink"), fontSize: 12,
          formatter: ({ dataIndex: row }) => ms(rows[row].breakdown.total_ms),
        },
      });
      const marks = rows.flatMap((c, row) => used.map((part, s) => {
        const time = c.breakdown.parts[data.parts.indexOf(part)];
        return {
          series: s, index: row,
          lines: [named(c), part.title,
            ms(time) + ", " + percent(time / (c.breakdown.total_ms || 1)) + " of " +
            ms(c.breakdown.total_ms) + " (" + c.breakdown.time_kind + ")"],
        };
      }));
      return {
        height: rows.length * left.step + 48, marks,
        option: {
          grid: { left: left.room, right: 82, top: left.step > 40 ? 14 : 6, bottom: 42 },
          yAxis: left.axis,
          xAxis: {
            ...axis(), type: "value", min: 0, max: most, splitNumber: width < 600 ? 2 : 6,
            name: unit === "ms" ? "milliseconds" : "share of the latency",
            nameLocation: "middle", nameGap: 28,
            axisLabel: {
              color: colour("ink"), hideOverlap: true, showMaxLabel: false,
              formatter: (value) => (unit === "ms" ? digits(value) : Math.round(100 * value) + " %"),
            },
          },
          series,
        },
      };
    });
  }

  // ---------------------------------------------------------------- the icicle of modules

  function node(name, path, outer) {
    return { name, path, outer, own: 0, total: 0, operators: 0, part: -1, inner: new Map() };
  }

  // The modules of a case as a tree; modules with a single one inside and no time of their own are one.
  function treeOf(one) {
    const { total_ms: total, modules, parts } = one.breakdown;
    const top = node(named(one), "", null);
    for (const [index, time, operators] of modules) {
      const path = data.modules[index];
      const steps = path.startsWith("(") ? [path] : path.split(".");
      let here = top;
      steps.forEach((step, i) => {
        if (!here.inner.has(step)) {
          here.inner.set(step, node(step, steps.slice(0, i + 1).join("."), here));
        }
        here = here.inner.get(step);
      });
      here.own += time;
      here.operators += operators;
      here.part = data.module_parts[index];
    }
    for (const key of ["unplaced", "outside"]) {
      const i = data.parts.findIndex((part) => part.key === key);
      if (i >= 0 && parts[i] > 0) {
        const rest = node(data.parts[i].title.replace("Unattributed: ", ""), "(" + key + ")", top);
        rest.own = parts[i];
        rest.part = i;
        top.inner.set(rest.path, rest);
      }
    }
    settle(top);
    top.total = total;
    return top;
  }

  function settle(one) {
    for (const [key, inner] of one.inner) {
      let only = inner;
      while (only.own === 0 && only.inner.size === 1) {
        const [next] = only.inner.values();
        next.name = only.name + "." + next.name;
        only = next;
      }
      only.outer = one;
      one.inner.set(key, only);
      settle(only);
    }
    const inside = [...one.inner.values()];
    one.total = one.own + inside.reduce((sum, n) => sum + n.total, 0);
    one.all = one.operators + inside.reduce((sum, n) => sum + n.all, 0);
    const parts = new Set(inside.map((n) => n.part));
    if (one.own > 0) parts.add(one.part);
    one.part = parts.size === 1 ? [...parts][0] : -1;
  }

  function find(tree, path) {
    if (!path) return tree;
    let here = tree;
    for (;;) {
      const next = [...here.inner.values()].find((n) =>
        n.path === path || path.startsWith(n.path + ".") || n.path.startsWith(path + "."));
      if (!next) return null;
      if (next.path === path || next.path.startsWith(path + ".")) return next;
      here = next;
    }
  }

  // What is seen: the module that is looked into, and some levels inside it.
  function seen(top, levels, least) {
    const found = [];
    (function visit(one, level, start) {
      found.push({ one, level, start, end: start + one.total });
      if (level === levels) return;
      let at = start;
      for (const inner of one.inner.values()) {
        if (inner.total >= least) visit(inner, level + 1, at);
        at += inner.total;
      }
    })(top, 0, 0);
    return found;
  }

  function moduleLines(one, tree, of) {
    const operators = one.all === 1 ? "1 operator" : one.all + " operators";
    return [
      of.name && one === tree ? "The whole latency" : one.path.startsWith("(") ? one.name : one.path,
      named(of),
      ms(one.total) + ", " + percent(one.total / (tree.total || 1)) + " of the latency",
      ...(one.all ? [operators] : []),
      ...(one.inner.size && one.own > 0 ? [ms(one.own) + " in its own code"] : []),
      of.breakdown.time_kind,
    ];
  }

  // The column of the module that is looked into is narrower than the others.
  const leftOf = (level) => (level ? level - 0.5 : 0);

  // What is written on a module: its name, and its time where there is room.
  function labelOf(one, whole, { width, height }) {
    if (height < 14 || width < 36) return "";
    const name = whole ? "all" : one.name;
    if (height >= 30) return name + "\n" + ms(one.total);
    const line = name + "  " + ms(one.total);
    return line.length * 6.4 < width - 9 ? line : name;
  }

  function icicle(host) {
    const profiled = cases.filter((c) => c.breakdown && c.breakdown.modules.length);
    const by = new Map(profiled.map((c) => [c.key, c]));
    const trees = new Map(profiled.map((c) => [c.key, treeOf(c)]));
    const pair = data.pairs.find((p) => p.every((key) => by.has(key)));
    const wanted = pair ? [...pair] : [profiled[0].key, ""];
    let [left, right] = wanted;
    let path = "";
    heading(host, "From the whole latency at the left to the modules inside; height is time, in the order " +
      "of the network, on one scale for both cases. A click or Enter looks into a module, Escape goes back.",
      "Modules by time");
    const set = make("div", { class: "controls" });
    const where = make("span", { "aria-live": "polite" });
    const back = make("button", { type: "button" }, "Back");
    back.addEventListener("click", () => out());
    const used = data.parts.filter((_, i) => profiled.some((c) => c.breakdown.parts[i] > 0));
    host.append(set);
    if (data.module_parts.some((part) => part >= 0)) {
      host.append(legend([...used, { title: "several of these", colour: "var(--mixed)" }]));
    }
    const area = make("div", { class: "plots" });
    host.append(area);

    function controls() {
      const options = profiled.filter(shown).map((c) => [c.key, named(c)]);
      set.replaceChildren();
      if (profiled.length > 1) {
        set.append(
          choice("Case", options, left, (key) => { wanted[0] = key; build(); }),
          choice("beside", [["", "none"], ...options], right, (key) => { wanted[1] = key; build(); }));
      }
      set.append(back, where);
    }

    function into(mark) {
      if (!mark.node.inner.size || mark.node.path === path) return;
      path = mark.node.path;
      show(0);
    }

    function out() {
      if (!path) return;
      const inside = [left, right].filter(Boolean).map((k) => find(trees.get(k), path)).find(Boolean);
      path = inside && inside.outer ? inside.outer.path : "";
      show(0);
    }

    let panels = [];

    function show(at) {
      back.hidden = !path;
      where.textContent = path ? "In " + path : "";
      for (const panel of panels) panel.redraw();
      const focused = panels.find((panel) => panel.area === document.activeElement);
      if (focused && at !== undefined) focused.go(at);
    }

    function build() {
      const ok = (key) => by.has(key) && shown(by.get(key));
      const first = profiled.find(shown);
      [left, right] = wanted;
      if (!ok(left)) left = first ? first.key : "";
      if (!ok(right) || right === left) right = "";
      for (const panel of panels) charts.splice(charts.indexOf(panel), 1);
      area.replaceChildren();
      panels = [];
      controls();
      for (const key of [left, right].filter(Boolean)) {
        const box = make("div", {}, make("p", { class: "whose" }, named(by.get(key))));
        area.append(box);
        panels.push(panel(box, key));
      }
      show();
    }

    function panel(box, key) {
      const tree = trees.get(key);
      return plot(box, "Modules of " + named(by.get(key)) + " by time", (width) => {
        const tops = [left, right].filter(Boolean).map((k) => find(trees.get(k), path));
        const scale = Math.max(...tops.map((top) => (top ? top.total : 0)), 1e-9);
        const top = find(tree, path);
        const levels = width < 420 ? 3 : 4;
        const height = 520;
        const nodes = top ? seen(top, levels, scale / height) : [];
        return {
          height,
          marks: nodes.map((n, i) => ({
            series: 0, index: i, node: n.one, lines: moduleLines(n.one, tree, by.get(key)),
          })),
          option: {
            grid: { left: 46, right: 4, top: 4, bottom: 8 },
            graphic: top ? [] : [{
              type: "text", left: "center", top: "middle",
              style: { text: "No time in this module.", fill: colour("soft") },
            }],
            xAxis: { type: "value", min: 0, max: leftOf(levels + 1), show: false },
            yAxis: {
              ...axis(), type: "value", min: 0, max: scale, inverse: true, splitLine: { show: false },
              axisLabel: {
                color: colour("ink"), hideOverlap: true, showMaxLabel: false,
                formatter: (value) => (value ? digits(value) : "ms"),
              },
            },
            series: [{
              type: "custom", clip: true, encode: { x: 0, y: [1, 2] },
              data: nodes.map((n) => [n.level, n.start, n.end]),
              renderItem: (params, api) => {
                const n = nodes[params.dataIndex];
                const [x, y] = api.coord([leftOf(n.level), n.start]);
                const [right, below] = api.coord([leftOf(n.level + 1), n.end]);
                const shape = { x, y, width: right - x, height: Math.max(0.5, below - y) };
                const part = data.parts[n.one.part];
                const fill = part ? part.colour : colour("mixed");
                const text = labelOf(n.one, n.one === tree, shape);
                const children = [{
                  type: "rect", shape,
                  style: { fill, stroke: colour("paper"), lineWidth: shape.height > 3 ? 1 : 0.3 },
                  emphasis: { style: { stroke: colour("ink"), lineWidth: 2 } },
                }];
                if (text) {
                  children.push({
                    type: "text", silent: true,
                    style: {
                      text, x: x + 5, y: y + shape.height / 2, lineHeight: 13,
                      verticalAlign: "middle", width: shape.width - 9, overflow: "truncate",
                      fill: part ? inkOn(part.colour) : colour("ink"), fontSize: 11,
                    },
                  });
                }
                return { type: "group", children };
              },
            }],
          },
        };
      }, {
        enter: into, escape: out,
        inside: (marks, at) => {
          const next = marks.findIndex((m) => m.node.outer === marks[at].node);
          return next < 0 ? at : next;
        },
        outside: (marks, at) => {
          const next = marks.findIndex((m) => m.node === marks[at].node.outer);
          return next < 0 ? at : next;
        },
      });
    }

    onCases.push(build);
    build();
  }

  // ---------------------------------------------------------------- samples

  function samples(host) {
    const measured = cases.filter((c) => c.latency_ms);
    let key = measured[0].key;
    heading(host, "Each point is one inference; sessions differ in colour. Of many samples, the smallest and " +
      "the largest of each stretch are shown.");
    const set = make("div", { class: "controls" });
    host.append(set);
    function controls() {
      const options = measured.filter(shown).map((c) => [c.key, named(c)]);
      if (!options.some(([value]) => value === key)) key = options.length ? options[0][0] : "";
      set.replaceChildren();
      if (measured.length > 1) {
        set.append(choice("Case", options, key, (value) => { key = value; drawn.redraw(); }));
      }
    }
    const drawn = plot(host, host.dataset.title, (width) => {
      const one = measured.find((c) => c.key === key);
      const sessions = one ? one.samples : [];
      const marks = sessions.flatMap((session, s) => session.map(([at, time], index) => ({
        series: s, index,
        lines: [named(one), ms(time), "sample " + (at + 1) + " of " + one.count + ", session " + (s + 1)],
      })));
      return {
        height: 300, marks,
        option: {
          grid: { left: 58, right: 14, top: 10, bottom: 44 },
          xAxis: {
            ...axis(), type: "value", min: 0, max: one ? Math.max(1, one.count) : 1,
            splitLine: { show: false }, splitNumber: width < 600 ? 3 : 8, minInterval: 1,
            name: "sample", nameLocation: "middle", nameGap: 28,
            axisLabel: { color: colour("ink"), hideOverlap: true, showMaxLabel: false },
          },
          yAxis: {
            ...axis(), type: "value", scale: true,
            axisLabel: { color: colour("ink"), hideOverlap: true, formatter: (v) => digits(v) + " ms" },
          },
          series: sessions.map((session, s) => ({
            type: "scatter", symbolSize: 4, data: session,
            itemStyle: { color: colour(s % 2 ? "other" : "mark"), opacity: 0.7 },
            emphasis: { scale: 2.5, itemStyle: { opacity: 1 } },
          })),
        },
      };
    });
    onCases.push(controls);
    controls();
  }

  // ---------------------------------------------------------------- pages that are of no single run

  function points(host, chart) {
    const named = Object.entries(chart.series).filter(([, of]) => of.length);
    if (!named.length) return;
    if (chart.title) host.append(make("p", { class: "whose" }, chart.title));
    const tint = (s) => colour(s ? "other" : "mark");
    host.append(legend(named.map(([title], s) => ({ title, colour: `var(--${s ? "other" : "mark"})` }))));
    plot(host, [host.dataset.title, chart.title].filter(Boolean).join(", "), (width) => {
      const all = named.flatMap(([, of]) => of);
      const xs = [...all.map((p) => p.x), ...chart.limits.map(([x]) => x)];
      const ys = all.flatMap((p) => [p.y, ...(p.ends || [])]).filter((y) => y !== null);
      const [low, high] = ys.length ? [Math.min(...ys), Math.max(...ys)] : [0, 1];
      const pad = 0.12 * (high - low) || 0.05 * Math.abs(high) || 1;
      const [left, right] = [Math.min(...xs), Math.max(...xs)];
      const log = chart.logarithmic && left > 0 && right / left > 20;
      const beside = 0.05 * (right - left) || 0.05 * Math.abs(right) || 1;
      const bottom = low - pad;
      const dates = chart.labels;
      const silent = (data) => ({
        type: "line", silent: true, symbol: "none", data, z: 1, tooltip: { show: false },
        lineStyle: { color: colour("ink"), width: 1.4 },
      });
      const limits = chart.limits.map(([x, said]) => ({
        xAxis: x, label: { formatter: said, color: colour("other"), position: "end", rotate: 0 },
      }));
      const round = [-3, -2, -1, 0, 1, 2, 3, 4, 5].flatMap((n) => [1, 2, 5].map((step) => step * 10 ** n));
      const ticks = log
        ? { customValues: round.filter((x) => x > left && x < right), showMinLabel: true, showMaxLabel: true } : {};
      const scattered = named.map(([, of], s) => ({
        type: "scatter", symbolSize: 9, clip: false, z: 3,
        data: of.map((p) => ({
          value: [p.x, p.y === null ? bottom : p.y],
          ...(p.y === null ? { symbol: "rect", symbolSize: [3, 16] } : {}),
        })),
        itemStyle: s ? { color: "transparent", borderColor: tint(s), borderWidth: 1.6 } : { color: tint(s) },
        label: {
          show: !s && !dates.length && width >= 600, position: "top", distance: 7, color: colour("ink"), fontSize: 11,
          formatter: ({ dataIndex: i }) => elided(of[i].lines[0], 28),
        },
        labelLayout: { hideOverlap: true },
        emphasis: { scale: 1.5, itemStyle: { borderColor: colour("ink"), borderWidth: 2 } },
        ...(s === 0 && limits.length ? {
          markLine: {
            silent: true, symbol: "none", data: limits,
            lineStyle: { color: colour("other"), type: "dashed" },
          },
        } : {}),
      }));
      const intervals = all.filter((p) => p.ends).map((p) => ({
        ...silent(p.ends.map((y) => [p.x, y])), lineStyle: { color: colour("mark"), width: 1.4 },
      }));
      const space = dates.length ? 0.6 : log ? 0 : beside;
      return {
        height: 340,
        marks: named.flatMap(([, of], s) => of.map((p, index) => ({ series: s, index, lines: p.lines, x: p.x })))
          .sort((a, b) => a.series - b.series || a.x - b.x),
        option: {
          grid: { left: 64, right: 24, top: 48, bottom: 44 },
          xAxis: {
            ...axis(), type: log ? "log" : "value", splitNumber: width < 600 ? 3 : 8,
            min: log ? left / 1.15 : left - space, max: log ? right * 1.15 : right + space,
            name: chart.x, nameLocation: "middle", nameGap: 28, splitLine: { show: false },
            ...(dates.length ? { minInterval: 1 } : {}),
            axisLabel: {
              color: colour("ink"), hideOverlap: true, showMinLabel: false, showMaxLabel: false, ...ticks,
              formatter: (x) => (dates.length ? dates[x - 1] || "" : digits(x)),
            },
          },
          yAxis: {
            ...axis(), type: "value", min: bottom, max: high + pad, name: chart.y, nameGap: 28,
            nameTextStyle: { color: colour("soft"), align: "left", padding: [0, 0, 0, -52] },
            axisLabel: {
              color: colour("ink"), hideOverlap: true, showMinLabel: false, showMaxLabel: false,
              formatter: digits,
            },
          },
          series: [
            ...scattered, ...intervals,
            ...chart.levels.map(([from, to, y]) => silent([[from, y], [to, y]])),
          ],
        },
      };
    });
  }

  function bars(host, chart) {
    const used = chart.parts.map(([title, colour], i) => ({ title, colour, i }))
      .filter(({ i }) => chart.rows.some((row) => row.shares[i] > 0));
    host.append(legend(used));
    plot(host, host.dataset.title, (width) => {
      const left = names(chart.rows.map((row) => row.name), width);
      const room = width - left.room - 24;
      return {
        height: chart.rows.length * left.step + 48,
        marks: chart.rows.flatMap((row, index) => used.flatMap(({ title, i }, series) =>
          (row.said[i] ? [{ series, index, lines: [row.name, title, row.said[i]] }] : []))),
        option: {
          grid: { left: left.room, right: 24, top: left.step > 40 ? 14 : 6, bottom: 42 },
          yAxis: left.axis,
          xAxis: {
            ...axis(), type: "value", min: 0, max: 1, splitNumber: width < 600 ? 2 : 6,
            name: chart.x, nameLocation: "middle", nameGap: 28,
            axisLabel: {
              color: colour("ink"), hideOverlap: true, showMaxLabel: false,
              formatter: (value) => Math.round(100 * value) + " %",
            },
          },
          series: used.map((part) => ({
            type: "bar", stack: "all", barWidth: Math.min(19, left.step - 4),
            data: chart.rows.map((row) => ({
              value: row.shares[part.i], itemStyle: { opacity: row.pale ? 0.55 : 1 },
            })),
            itemStyle: { color: part.colour, borderColor: colour("paper"), borderWidth: 0.5 },
            emphasis: { itemStyle: { borderColor: colour("ink"), borderWidth: 2 } },
            label: {
              show: true, fontSize: 11, color: inkOn(part.colour),
              formatter: ({ dataIndex: at }) =>
                (chart.rows[at].shares[part.i] * room > 46 && !chart.rows[at].pale
                  ? chart.rows[at].said[part.i] : ""),
            },
          })),
        },
      };
    });
  }

  function other(host) {
    heading(host);
    for (const chart of data.charts[host.dataset.chart]) ({ points, bars })[chart.kind](host, chart);
  }

  // ---------------------------------------------------------------- what acts on everything

  const onCases = [];
  const redrawAll = () => charts.slice().forEach((chart) => chart.redraw());

  function casesChanged() {
    for (const table of tables) showRows(table);
    for (const changed of onCases) changed();
    redrawAll();
  }

  function caseSwitches() {
    const summary = make("summary");
    const box = make("div", { class: "choice" });
    const inputs = [];
    const told = () => {
      const on = cases.length - off.size;
      summary.textContent =
        "Cases shown: " + (off.size ? on + " of " + cases.length : "all " + cases.length);
    };
    const all = (on) => {
      for (const input of inputs) {
        input.checked = on;
        if (on) off.delete(input.value); else off.add(input.value);
      }
      told();
      casesChanged();
    };
    const every = make("button", { type: "button" }, "All");
    const none = make("button", { type: "button" }, "None");
    every.addEventListener("click", () => all(true));
    none.addEventListener("click", () => all(false));
    box.append(make("div", { class: "controls" }, every, none));
    for (const one of cases) {
      const input = make("input", { type: "checkbox", value: one.key });
      input.checked = true;
      input.addEventListener("change", () => {
        if (input.checked) off.delete(one.key); else off.add(one.key);
        told();
        casesChanged();
      });
      inputs.push(input);
      box.append(make("label", {}, input, make("span", {}, named(one))));
    }
    told();
    const details = make("details", {}, summary, box);
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !details.open) return;
      details.open = false;
      summary.focus();
    });
    document.addEventListener("click", (event) => {
      if (!details.contains(event.target)) details.open = false;
    });
    return details;
  }

  function themeSwitch() {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const button = make("button", { type: "button", id: "theme" });
    const told = () => {
      button.textContent = dark() ? "Light" : "Dark";
      button.setAttribute("aria-label", (dark() ? "Light" : "Dark") + " colours");
    };
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      told();
      redrawAll();
    });
    system.addEventListener("change", () => { told(); redrawAll(); });
    told();
    return button;
  }

  // A link to a part that is folded opens it.
  function unfold() {
    const part = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = part && part.querySelector(":scope > details");
    if (folded) folded.open = true;
  }

  const tools = document.getElementById("tools");
  tools.classList.toggle("bare", cases.length < 2);
  tools.append(...(cases.length > 1 ? [caseSwitches()] : []), themeSwitch());
  tools.hidden = false;
  addEventListener("hashchange", unfold);
  unfold();

  const drawings = { latency, categories: shares, modules: icicle, timeline: samples };
  if (data && typeof echarts !== "undefined") {
    const some = {
      latency: (c) => c.latency_ms, categories: (c) => c.breakdown,
      modules: (c) => c.breakdown && c.breakdown.modules.length, timeline: (c) => c.latency_ms,
    };
    for (const host of document.querySelectorAll(".chart")) {
      const name = host.dataset.chart;
      const own = data.charts && data.charts[name];
      if (!own && !cases.some(some[name])) continue;
      host.hidden = false;
      (own ? other : drawings[name])(host);
      for (const picture of document.querySelectorAll(`figure[data-picture="${name}"]`)) {
        picture.classList.add("replaced");
      }
    }
    redrawAll();
    let width = innerWidth;
    addEventListener("resize", () => {
      if (width === innerWidth) return; // a phone's bars come and go as it scrolls
      width = innerWidth;
      redrawAll();
    });
  }

  // On paper everything is open, light, and as wide as the paper.
  let opened = [];
  let theme = "";
  addEventListener("beforeprint", () => {
    paper = true;
    theme = root.dataset.theme || "";
    root.dataset.theme = "light";
    opened = [...document.querySelectorAll("main details:not([open])")];
    for (const details of opened) details.open = true;
    redrawAll();
  });
  addEventListener("afterprint", () => {
    paper = false;
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    for (const details of opened) details.open = false;
    redrawAll();
  });
})();
