"use strict"; // stands before what is below the plots: they are drawn while that is read

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, text = "", attributes = {}) => {
  const element = Object.assign(document.createElement(tag), attributes);
  element.textContent = text;
  return element;
};

/* Explore: two plots of the same runs. */
const SHAPES = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
  "M-3.6 -3.6h7.2v7.2h-7.2z",
  "M0 -4.8l4.6 8h-9.2z",
  "M0 -5l4 5l-4 5l-4 -5z",
  "M0 4.8l4.6 -8h-9.2z",
  "M-5 -1.6h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4z",
];
const PATHS = SHAPES.map((shape) => new Path2D(shape));
// Seaborn's colour-blind safe palette, as in the figures, and a ramp that also orders in grey.
const PALETTE = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9"];
const RAMP = [[45, 30, 130], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 220, 40]];
const NONE = "#8a8a8a";
const FEW = 12; // different numbers that are shown as levels

const dark = matchMedia("screen and (prefers-color-scheme: dark)");
const number = (value) => (value === null ? "none" : `${Number(value.toPrecision(4))}`);

const ramp = (share) => {
  // Neither end may vanish in the paper.
  const [first, last] = dark.matches ? [0.3, 1] : [0, 0.88];
  const at = (first + share * (last - first)) * (RAMP.length - 1);
  const i = Math.min(Math.floor(at), RAMP.length - 2);
  return `rgb(${RAMP[i].map((c, k) => Math.round(c + (at - i) * (RAMP[i + 1][k] - c)))})`;
};

const explore = ({ kinds, numbers, commands }) => {
  const size = kinds.model.codes.length;
  const columns = Object.fromEntries(numbers.map((column) => [column.key, column]));
  const level = (key, run, words = false) => kinds[key][words ? "names" : "levels"][kinds[key].codes[run]];
  const name = (run) => `${level("model", run)}/${level("objective", run)}/seed${columns.seed.values[run]}`;
  const filters = $("#explore-filters");
  const { colour } = filters;
  let visible = []; // runs that the filters leave
  let selected = null; // a set of runs, or null
  let current = null;
  let kept = false; // whether the current run stays where the pointer goes on

  /* What colours and marks a run: levels, or a number on a ramp. */
  let look;
  const setLook = () => {
    const kind = kinds[colour.value];
    const legend = $("#legend");
    legend.replaceChildren();
    const entry = (text, fill, shape) => {
      const item = make("li", text);
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "-7 -7 14 14");
      svg.setAttribute("aria-hidden", "true");
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", SHAPES[shape]);
      path.setAttribute("fill", fill);
      svg.append(path);
      item.prepend(svg);
      legend.append(item);
    };
    const of = kind ? (run) => kind.codes[run] : (run) => columns[colour.value].values[run];
    const levels = [...new Set(visible.map(of))].filter((value) => value !== null).sort((a, b) => a - b);
    const none = visible.some((run) => of(run) === null);
    const label = (kind ?? columns[colour.value]).label;
    if (kind || levels.length <= FEW) {
      const fill = (i) => (kind ? PALETTE[i % PALETTE.length] : ramp(levels.length > 1 ? i / (levels.length - 1) : 0));
      const places = new Map(levels.map((value, i) => [value, i]));
      look = (run) => {
        const i = places.get(of(run));
        return i === undefined ? [NONE, 5] : [fill(i), i % 5];
      };
      levels.forEach((value, i) => entry(kind ? kind.names[value] : `${label} = ${number(value)}`, fill(i), i % 5));
    } else {
      const logarithmic = levels[0] > 0 && levels.at(-1) / levels[0] > 100;
      const on = logarithmic ? Math.log : (value) => value;
      const [low, high] = [on(levels[0]), on(levels.at(-1))];
      look = (run) => {
        const value = of(run);
        return value === null ? [NONE, 5] : [ramp((on(value) - low) / (high - low || 1)), 0];
      };
      const item = make("li", `${label}: ${number(levels[0])}`);
      const bar = make("span", "", { className: "ramp" });
      bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(ramp)})`;
      item.append(bar, `${number(levels.at(-1))}${logarithmic ? " (logarithmic)" : ""}`);
      legend.append(item);
    }
    if (none) entry(`no ${label}`, NONE, 5);
  };

  /* A plot: axes, points, selection, and a walk by keyboard. */
  const plot = (figure) => {
    const canvas = $("canvas", figure);
    const context = canvas.getContext("2d");
    const form = $("form", figure);
    const inset = { left: 58, right: 12, top: 10, bottom: 44 };
    let points = []; // [x, y, run] in pixels of the canvas
    let area = null; // [x, y, x, y] of the selection that is being drawn
    let begun = null;

    const axis = (key) => {
      const column = columns[form[key].value];
      const logarithmic = form[`${key}log`].checked;
      const drawn = visible.map((run) => column.values[run]).filter((value) => value !== null && (!logarithmic || value > 0));
      const on = logarithmic ? Math.log10 : (value) => value;
      let [low, high] = drawn.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]).map(on);
      if (!(low <= high)) [low, high] = [0, 1];
      const pad = (high - low) * 0.04 || Math.abs(high) * 0.1 || 0.5;
      [low, high] = [low - pad, high + pad];
      const share = (value) => (value === null || (logarithmic && value <= 0) ? NaN : (on(value) - low) / (high - low));
      return { column, logarithmic, low, high, share };
    };
    const ticks = ({ logarithmic, low, high }, most) => {
      if (logarithmic && high - low > 0.7) {
        const found = [];
        const steps = high - low < 2 ? [1, 2, 5] : [1];
        const every = Math.ceil((high - low) / most);
        for (let power = Math.floor(low); power <= high; power++)
          if (power % every === 0) for (const step of steps) found.push(step * 10 ** power);
        return found.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
      }
      const [from, to] = logarithmic ? [10 ** low, 10 ** high] : [low, high];
      const raw = (to - from) / most;
      const power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
      const found = [];
      for (let i = Math.ceil(from / step); i * step <= to; i++) found.push(i * step);
      return found;
    };

    const draw = () => {
      const ratio = devicePixelRatio || 1;
      const { clientWidth: width, clientHeight: height } = canvas;
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      context.scale(ratio, ratio);
      const style = getComputedStyle(canvas);
      const [ink, soft, line] = ["--ink", "--soft", "--line"].map((key) => style.getPropertyValue(key));
      context.font = `12px ${style.fontFamily}`;
      const [x, y] = [axis("x"), axis("y")];
      const across = width - inset.left - inset.right;
      const down = height - inset.top - inset.bottom;
      const left = (share) => inset.left + share * across;
      const top = (share) => inset.top + (1 - share) * down;
      context.lineWidth = 1;
      context.strokeStyle = line;
      context.fillStyle = soft;
      context.textAlign = "center";
      for (const value of ticks(x, across / 75)) {
        const at = left(x.share(value));
        context.strokeRect(at, inset.top, 0, down);
        context.fillText(number(value), at, height - inset.bottom + 16);
      }
      context.textAlign = "right";
      for (const value of ticks(y, down / 45)) {
        const at = top(y.share(value));
        context.strokeRect(inset.left, at, across, 0);
        context.fillText(number(value), inset.left - 6, at + 4);
      }
      context.fillStyle = ink;
      context.textAlign = "center";
      context.fillText(x.column.label, left(0.5), height - 8, across);
      context.save();
      context.rotate(-Math.PI / 2);
      context.fillText(y.column.label, -top(0.5), 12, down);
      context.restore();

      points = visible
        .map((run) => [left(x.share(x.column.values[run])), top(y.share(y.column.values[run])), run])
        .filter(([a, b]) => a === a && b === b);
      const mark = ([a, b, run], scale) => {
        const [fill, shape] = look(run);
        context.setTransform(ratio * scale, 0, 0, ratio * scale, a * ratio, b * ratio);
        context.fillStyle = fill;
        context.fill(PATHS[shape]);
      };
      const inside = (point) => !selected || selected.has(point[2]);
      context.globalAlpha = 0.12;
      for (const point of points) if (!inside(point)) mark(point, 0.7);
      context.globalAlpha = selected || points.length < 400 ? 0.85 : 0.55;
      for (const point of points) if (inside(point)) mark(point, points.length < 400 ? 1 : 0.8);
      context.globalAlpha = 1;
      const chosen = points.find((point) => point[2] === current);
      if (chosen) {
        mark(chosen, 1.5);
        context.lineWidth = 2 / 1.5;
        context.strokeStyle = ink;
        context.stroke(PATHS[look(current)[1]]);
      }
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      if (area) {
        context.strokeStyle = ink;
        context.setLineDash([4, 3]);
        context.strokeRect(area[0], area[1], area[2] - area[0], area[3] - area[1]);
        context.setLineDash([]);
      }
      const lost = visible.length - points.length;
      const said = `${y.column.label} against ${x.column.label}: ${points.length} runs${selected ? `, ${points.filter(inside).length} of them selected` : ""}`;
      canvas.setAttribute("aria-label", said);
      canvas.dataset.points = points.length;
      const means = [...new Set([x.column.means, y.column.means])].filter(Boolean).join(" ");
      $("figcaption", figure).textContent = `${said}.${lost ? ` ${lost} have no such number${x.logarithmic || y.logarithmic ? ", or none above zero" : ""}.` : ""} ${means}`;
    };

    const nearest = (a, b) => {
      let best = null;
      let least = 18 ** 2;
      for (const point of points) {
        const distance = (point[0] - a) ** 2 + (point[1] - b) ** 2;
        if (distance < least) [best, least] = [point[2], distance];
      }
      return best;
    };
    const select = () => {
      const [left, right] = [area[0], area[2]].sort((a, b) => a - b);
      const [top, bottom] = [area[1], area[3]].sort((a, b) => a - b);
      selected = new Set(points.filter(([a, b]) => a >= left && a <= right && b >= top && b <= bottom).map((point) => point[2]));
    };

    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = [event.offsetX, event.offsetY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", ({ offsetX: a, offsetY: b }) => {
      if (from && Math.hypot(a - from[0], b - from[1]) > 4) {
        area = [...from, a, b];
        select();
        redraw();
      } else if (!from && !kept) choose(nearest(a, b) ?? current);
    });
    canvas.addEventListener("pointerup", ({ offsetX: a, offsetY: b }) => {
      if (from && !area) {
        const run = nearest(a, b);
        kept = run !== null;
        if (kept) choose(run);
        else drop();
      }
      from = area = null;
      redraw();
      list();
    });
    canvas.addEventListener("pointercancel", () => { from = area = null; });
    canvas.addEventListener("keydown", (event) => {
      const along = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] }[event.key];
      const here = points.find((point) => point[2] === current);
      if (along) {
        const [way, step] = along;
        const order = [...points].sort((a, b) => a[way] - b[way] || a[2] - b[2]);
        const at = here ? order.indexOf(here) + step : 0;
        kept = true;
        if (order.length) choose(order[Math.min(Math.max(at, 0), order.length - 1)][2]);
        const now = points.find((point) => point[2] === current);
        if (begun && now) {
          area = [...begun, now[0], now[1]];
          select();
          redraw();
        }
      } else if (event.key === "s" && here) {
        if (begun) {
          begun = area = null;
          redraw();
          list();
        } else begun = [here[0], here[1]];
      } else if (event.key === "Escape") {
        kept = begun = area = null;
        drop();
      } else return;
      event.preventDefault();
    });

    const groups = Object.groupBy ? Object.groupBy(numbers, (column) => column.group) : { "": numbers };
    for (const key of ["x", "y"]) {
      for (const [group, members] of Object.entries(groups)) {
        const set = make("optgroup", "", { label: group });
        set.append(...members.map((column) => make("option", column.label, { value: column.key })));
        form[key].append(set);
      }
    }
    const set = (key, column) => {
      if (!columns[column]) return;
      form[key].value = column;
      const values = columns[column].values.filter((value) => value !== null);
      const [least, most] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
      form[`${key}log`].checked = least > 0 && most / least > 100;
    };
    form.addEventListener("change", ({ target }) => {
      if (target.name === "x" || target.name === "y") set(target.name, target.value);
      draw();
      list();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    return { draw, set, axes: () => [columns[form.x.value], columns[form.y.value]] };
  };

  const plots = ["left", "right"].map((side) => plot(document.getElementById(side)));
  const redraw = () => plots.forEach((one) => one.draw());
  const shownColumns = () => [...new Set(plots.flatMap((one) => one.axes()))];

  const choose = (run) => {
    if (run === current) return;
    current = run;
    const values = shownColumns().map((column) => `${column.label} ${number(column.values[run])}`);
    const experiment = level("experiment", run);
    $("#run").replaceChildren(
      `${experiment}: ${level("model", run, true)}, ${level("objective", run)}, seed ${columns.seed.values[run]}; ${values.join("; ")}`,
      make("code", commands[experiment].replaceAll("{run}", name(run))),
    );
    redraw();
  };
  const drop = () => {
    selected = null;
    redraw();
    list();
  };
  const MOST = 20;
  const list = () => {
    const table = $("#selection");
    table.hidden = !selected;
    $("#selected").textContent = selected ? `${selected.size} runs selected${selected.size > MOST ? `, the first ${MOST} below` : ""}.` : "No runs selected.";
    if (!selected) return;
    const row = (cells, tag) => {
      const found = make("tr");
      found.append(...cells.map((text) => make(tag, text)));
      return found;
    };
    table.tHead.replaceChildren(row(["Experiment", "Run", ...shownColumns().map((column) => column.label)], "th"));
    table.tBodies[0].replaceChildren(
      ...[...selected].slice(0, MOST).map((run) => row([level("experiment", run), name(run), ...shownColumns().map((column) => number(column.values[run]))], "td")),
    );
  };
  const filter = () => {
    visible = [];
    for (let run = 0; run < size; run++)
      if (["experiment", "model", "arm"].every((key) => !filters[key].value || level(key, run) === filters[key].value)) visible.push(run);
    selected = current = null;
    kept = false;
    $("#run").textContent = "No run chosen.";
    setLook();
    redraw();
    list();
  };

  colour.append(
    ...Object.entries(kinds).map(([key, kind]) => make("option", kind.label, { value: key })),
    ...numbers.map((column) => make("option", column.label, { value: column.key })),
  );
  for (const key of ["experiment", "model", "arm"])
    filters[key].append(
      make("option", "all", { value: "" }),
      ...kinds[key].levels.map((value, i) => make("option", kinds[key].names[i], { value })),
    );
  if (columns.gamma) colour.value = "gamma";
  const defaults = { left: ["trace_objective", "ece"], right: ["trace_cross_entropy", "ece"] };
  Object.values(defaults).forEach(([x, y], i) => {
    plots[i].set("x", x);
    plots[i].set("y", y);
  });
  filters.addEventListener("change", ({ target }) => {
    if (target === colour) {
      setLook();
      redraw();
    } else filter();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  $("button", filters).addEventListener("click", drop);
  document.addEventListener("click", ({ target }) => {
    const link = target.closest("a.draw");
    if (!link) return;
    const { x, y, experiment } = link.dataset;
    filters.experiment.value = experiment ?? "";
    filters.model.value = filters.arm.value = "";
    plots[0].set("x", x);
    plots[0].set("y", y);
    filter();
  });

  const repaint = () => {
    setLook();
    redraw();
  };
  $("#explore-failed").hidden = true;
  $("#explore-controls").hidden = false;
  filter();
  performance.mark("drawn");
  document.dispatchEvent(new Event("drawn"));
  let width = innerWidth;
  addEventListener("resize", () => {
    if (width !== innerWidth) redraw();
    width = innerWidth;
  });
  dark.addEventListener("change", repaint);
  matchMedia("print").addEventListener("change", repaint);
};

(async () => {
  const packed = $("#runs");
  if (!packed || !globalThis.DecompressionStream) return;
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  explore(await new Response(stream).json());
})();
