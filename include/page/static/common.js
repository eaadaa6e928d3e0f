/** What all pages share: requests, numbers, Airflow's theme, charts and tables. */

export const byId = (id) => document.getElementById(id);
export const query = new URLSearchParams(location.search);

/** An element with text (never HTML: names are other people's) or children, and attributes. */
export function element(tag, content = "", attributes = {}) {
  const made = document.createElement(tag);
  made.append(...[content].flat());
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Requests

/** The address of a table of the page: a list gives its name more than once, what is null not at all. */
export function dataUrl(name, parameters) {
  const pairs = Object.entries(parameters).flatMap(([key, values]) => [values].flat().map((value) => [key, value]));
  return `data/${name}?${new URLSearchParams(pairs.filter(([, value]) => value !== null))}`;
}

const MAX_RETRIES = 5;

/** A table as JSON; asks again when the server says so. Throws an Error whose message is for the visitor. */
export async function get(name, parameters = {}, retries = MAX_RETRIES) {
  const answer = await fetch(dataUrl(name, parameters), { headers: { Accept: "application/json" } }).catch(() => {
    throw new Error("Airflow's web server does not answer. Is it running?");
  });
  const seconds = Number(answer.headers.get("Retry-After"));
  if (answer.status === 503 && seconds && retries) {
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    return get(name, parameters, retries - 1);
  }
  if (answer.status === 401) throw new Error("You are not logged in any more: reload the whole page.");
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.detail ?? `The server answered ${answer.status}.`);
  return content;
}

/** The rows of a table that came as columns. */
export function rows(columns) {
  const names = Object.keys(columns);
  return columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

/** Says something in the page's status line; an Error is shown as one. */
export function say(message = "") {
  const status = byId("status");
  status.classList.toggle("error", message instanceof Error);
  status.textContent = message instanceof Error ? message.message : message;
}

// Numbers and names

const formats = new Map();
const number = (options) => (value) => {
  if (value === null || value === undefined) return "–";
  const key = JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat("en", options));
  return formats.get(key).format(value);
};
const whole = number({ maximumFractionDigits: 0 });
const tenths = number({ maximumFractionDigits: 1 });
/** Counts: with thousands separators; small averages with a digit more. */
export const count = (value) => (Math.abs(value) < 100 ? tenths : whole)(value);
const share = { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 };
export const percent = number(share);
export const gini = number({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
/** A difference: "+12.3 %", "−4.0 %". */
export const change = number({ ...share, signDisplay: "exceptZero" });
export const compact = number({ notation: "compact", minimumFractionDigits: 1, maximumFractionDigits: 1 });

const dates = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const dayFormat = dates({ weekday: "short", day: "numeric", month: "short" });
/** A day or a time of the data, which is UTC without saying so. */
export const utc = (text) => new Date(text.length > 10 ? `${text}Z` : `${text}T00:00Z`);
export const day = (text) => dayFormat.format(utc(text)).replace(",", "");
export const hour = (text) => text.slice(11, 16);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Other people's text without the marks that turn the direction of what follows. */
export const plain = (text) => text.replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
export const gameName = (game) =>
  plain(game.game_name ?? (game.game_key === -1 ? "(no category)" : `category ${game.game_id}`));
const languageNames = new Intl.DisplayNames("en", { type: "language", fallback: "code" });
/** The name of a language, by Helix's code; some of these codes stand for no language. */
export function languageName(code) {
  const others = { "": "(none)", other: "Other", asl: "American Sign Language", "zh-hk": "Chinese (Hong Kong)" };
  return others[code] ?? (/^[a-z]{2,3}$/.test(code) ? languageNames.of(code) : plain(code));
}
export const shorten = (text, length = 26) => (text.length > length ? `${text.slice(0, length - 1).trimEnd()}…` : text);
/** For Plotly, which reads some HTML in texts. */
export const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

export const channelName = (channel) => plain(channel.user_name ?? channel.user_login ?? String(channel.user_id));
export const channelUrl = (channel, range) => `channel?${new URLSearchParams({ channel, start: range.start, end: range.end })}`;
/** The page that compares: `kind` is "games" or "channels". */
export const compareUrl = (kind, keys, range) =>
  `compare?${new URLSearchParams([...keys.map((key) => [kind, key]), ["start", range.start], ["end", range.end]])}`;
export const gameUrl = (key, range) => `game?${new URLSearchParams({ key, start: range.start, end: range.end })}`;

// The range of days

/**
 * Fills in the form, its presets and the sentence below it.
 * @param about what else the address says, as pairs
 */
export function showRange(status, range, action, about = []) {
  byId("start").value = range.start;
  byId("end").value = range.end;
  const back = (days) => {
    const start = new Date(utc(status.last_day) - (days - 1) * 86_400_000).toISOString().slice(0, 10);
    return start < status.first_day ? status.first_day : start;
  };
  const presets = { "1 day": back(1), "7 days": back(7), "30 days": back(30), all: status.first_day };
  const links = Object.entries(presets).map(([label, start]) => {
    const parameters = new URLSearchParams([...about, ["start", start], ["end", status.last_day]]);
    const link = element("a", label, { href: `${action}?${parameters}` });
    if (start === range.start && status.last_day === range.end) link.setAttribute("aria-current", "true");
    return link;
  });
  byId("presets").replaceChildren(...links);
  const shown = range.start === range.end ? range.start : `${range.start} to ${range.end}`;
  const summary = byId("range-summary");
  const there = `There is data from ${status.first_day} to ${status.last_day}.`;
  summary.textContent = `${shown}, UTC. ${there}`;
  return get("coverage", range).then(({ coverage }) => {
    const [{ nb_hours: known, nb_hours_due: due }] = rows(coverage);
    const without = known < due ? " Missing hours count nowhere." : "";
    summary.textContent = `${shown}, UTC: ${count(known)} of ${plural(due, "hour")} with a snapshot.${without} ${there}`;
  });
}

/**
 * The search field with links to what is found, by any part of the name; arrow keys go from one to the next.
 * @param address gives that of something found; its `kind` is "game" or "channel"
 * @param kind what alone is looked for
 */
export function search(address, kind = null) {
  let newest = 0;
  const [field, list] = [byId("q"), byId("found")];
  const show = async () => {
    const asked = (newest += 1);
    const q = field.value.trim();
    const all = q ? rows((await get("search", { q })).search) : [];
    const found = all.filter((one) => !kind || one.kind === kind);
    if (asked !== newest) return; // more has been typed since
    const nothing = { game: "No category", channel: "No channel" }[kind] ?? "Nothing";
    byId("found-summary").textContent = q && !found.length ? `${nothing} has “${plain(q)}” in its name.` : "";
    list.replaceChildren(
      ...found.map((one) => {
        const isGame = one.kind === "game";
        const label = isGame
          ? gameName({ game_key: one.key, game_id: one.key, game_name: one.name })
          : channelName({ user_id: one.key, user_name: one.name });
        const link = element("a", element("bdi", label), { href: address(one) });
        const what = isGame ? "category" : "channel";
        const words = one.viewer_hours ? `${what}, ${compact(one.viewer_hours)} viewer-hours on the newest day` : what;
        return element("li", [link, " ", element("span", words, { class: "note" })]);
      }),
    );
  };
  let waiting;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => show().catch(say), 150);
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("a")?.click();
  });
  byId("search").parentElement.addEventListener("keydown", (event) => {
    const places = [field, ...list.querySelectorAll("a")];
    const at = places.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (at < 0 || !step || !places[at + step]) return;
    event.preventDefault();
    places[at + step].focus();
  });
}

/** Links to exactly what a chart or a table shows. */
export function showDownloads(parameters) {
  for (const place of document.querySelectorAll(".get")) {
    const more = Object.fromEntries(new URLSearchParams(place.dataset.query ?? ""));
    const links = ["CSV", "Parquet"].map((format) =>
      element("a", format, {
        href: dataUrl(place.dataset.name, { ...parameters, ...more, format: format.toLowerCase() }),
        download: "",
        "aria-label": `${format}: ${place.dataset.title}`,
      }),
    );
    place.replaceChildren(`Download ${place.dataset.title}: `, links[0], " ", links[1]);
  }
}

// Theme: Airflow's, when this is a frame of its UI, else the page's own

const VARIABLES = {
  "--bg": "bg",
  "--bg-subtle": "bg-subtle",
  "--fg": "fg",
  "--fg-muted": "fg-muted",
  "--border": "border",
  "--link": "brand-fg",
};

function airflow() {
  try {
    return window.parent !== window ? window.parent.document : null;
  } catch {
    return null; // a frame of some other site's
  }
}

function applyTheme() {
  const root = document.documentElement;
  const outer = airflow()?.documentElement;
  const saved = localStorage.getItem("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const isDark = outer ? outer.classList.contains("dark") : saved === "dark" || (saved !== "light" && prefersDark);
  root.dataset.theme = isDark ? "dark" : "light";
  if (outer) {
    const style = getComputedStyle(outer);
    for (const [own, theirs] of Object.entries(VARIABLES)) {
      const value = style.getPropertyValue(`--chakra-colors-${theirs}`).trim();
      if (value) root.style.setProperty(own, value);
      else root.style.removeProperty(own);
    }
    root.style.setProperty("--font", getComputedStyle(airflow().body).fontFamily);
  }
  for (const draw of charts.values()) draw();
}

/** A colour of the style sheet as Plotly understands it, whatever way CSS says it. */
function colour(name) {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return `rgb(${red},${green},${blue})`;
}

// Charts

const charts = new Map();
const plotly = new Promise((resolve, reject) => {
  if (window.Plotly) resolve(window.Plotly);
  byId("plotly").addEventListener("load", () => resolve(window.Plotly));
  byId("plotly").addEventListener("error", () => reject(new Error("The charts' library cannot be loaded.")));
});
const canZoom = matchMedia("(pointer: fine)").matches;
/** Told apart by dashes as well as by colour. */
export const SERIES = [
  "#7c4dff", "#d9480f", "#0c8599", "#c2255c", "#5c940d", "#1971c2", "#a8650a", "#ae3ec9", "#2b8a3e", "#868e96",
];
export const DASHES = ["solid", "dash", "dot"];

/**
 * Draws a chart, and again whenever the theme or the place changes.
 * @param id of its container, which gets `label`, a sentence, for who does not see it
 * @param make gets the theme's colours, returns Plotly's traces and what differs from the common layout
 */
export function chart(id, label, make) {
  const place = byId(id);
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", label);
  const draw = async () => {
    const Plotly = await plotly;
    const theme = { fg: colour("--fg"), muted: colour("--fg-muted"), bg: colour("--bg"), subtle: colour("--bg-subtle") };
    const grid = colour("--border");
    const { traces, layout } = make(theme, place.clientWidth);
    const family = getComputedStyle(document.body).fontFamily;
    const lines = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, tickcolor: grid };
    const axis = { ...lines, automargin: true, fixedrange: !canZoom };
    await Plotly.react(
      place,
      traces,
      {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family, size: 12, color: theme.muted },
        margin: { l: 8, r: 12, t: 12, b: 8 },
        hoverlabel: { bgcolor: theme.bg, bordercolor: theme.muted, font: { color: theme.fg, family }, align: "left" },
        showlegend: false,
        ...layout,
        xaxis: { ...axis, ...layout.xaxis },
        yaxis: { ...axis, ...layout.yaxis },
      },
      { displayModeBar: false, displaylogo: false, doubleClick: "reset" },
    );
  };
  charts.set(id, () => draw().catch(say));
  return charts.get(id)();
}

/** The days of a range on an axis of `width` pixels; Plotly's own steps may be parts of a day, and its labels lean. */
export const dayAxis = (days, width) => ({
  type: "date",
  tickformat: "%-d %b",
  tickangle: 0,
  tick0: "2000-01-01",
  dtick: Math.ceil((days * 64) / Math.max(width, 64)) * 86_400_000,
});

/** An axis from 0 on for these values, in short: 1.2M. */
export const amountAxis = (title, values) => ({
  title: { text: title, standoff: 8 },
  tickformat: Math.max(0, ...values) < 10 ? ".2~f" : "~s",
  rangemode: "tozero",
  nticks: 6,
});

export const HOUR = 3_600_000;

/**
 * A line's values with a hole where snapshots are missing; one between two holes is a dot, since no line shows it.
 * @param step milliseconds from one time to the next
 */
export function withGaps(times, values, step) {
  const [x, y, size] = [[], [], []];
  const isHole = (i) => i === 0 || i === times.length || utc(times[i]) - utc(times[i - 1]) > 1.6 * step;
  times.forEach((time, i) => {
    if (i && isHole(i)) {
      x.push(times[i - 1]);
      y.push(null);
      size.push(0);
    }
    x.push(time);
    y.push(values[i]);
    size.push(isHole(i) && isHole(i + 1) ? 6 : 0);
  });
  return { type: "scatter", x, y, mode: "lines+markers", marker: { size, opacity: 1 } };
}

/** Whether lines have a point a day, since the points of hours would run together: HOURLY_DAYS in data.py. */
export const isDaily = (range) => (utc(range.end) - utc(range.start)) / HOUR / 24 >= 62;

/** The days of a range as an axis of time: whole days, or the hours of one, never closer than they can be read. */
export function timeAxis(range, width) {
  const days = (utc(range.end) - utc(range.start)) / HOUR / 24 + 1;
  const whole = { range: [range.start, `${range.end} 23:59`] };
  if (days > 1) return { ...dayAxis(days, width), ...whole };
  const hours = [1, 2, 3, 6, 12].find((step) => (24 / step) * 56 < width) ?? 12;
  return { type: "date", tickformat: "%H:%M", tickangle: 0, tick0: range.start, dtick: hours * HOUR, ...whole };
}

/** Bars of a day's average viewers, with its peak above. */
export function dayBars(id, label, { day: days, avg_viewers: averages, peak_viewers: peaks }) {
  const hover = (what) => `%{y:,.0f} ${what}<br>%{x|%a %-d %b %Y}<extra></extra>`;
  return chart(id, label, (theme, width) => ({
    traces: [
      {
        type: "bar", name: "average", x: days, y: averages,
        marker: { color: SERIES[0] }, hovertemplate: hover("on average"),
      },
      {
        // A day without it has no peak, and not half a diamond on the axis.
        type: "scatter", mode: "markers", name: "peak", x: days, y: peaks.map((peak) => peak || null), cliponaxis: false,
        marker: { color: SERIES[1], symbol: "diamond", size: 8 }, hovertemplate: hover("at the peak"),
      },
    ],
    layout: {
      xaxis: dayAxis(days.length, width),
      yaxis: amountAxis("viewers", peaks),
      bargap: 0.35,
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: theme.fg } },
      margin: { l: 8, r: 12, t: 36, b: 8 },
    },
  }));
}

export const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
export const WEEK = 7 * 24;

/** A map of the hours of a week: `values` has them from Monday 00:00 on, null where nothing is known. */
export function weekMap(id, label, values, name) {
  const hours = Array.from({ length: 24 }, (_, i) => i);
  const every3 = hours.filter((i) => i % 3 === 0);
  return chart(id, label, (theme) => ({
    traces: [{
      type: "heatmap", z: WEEKDAYS.map((_, i) => values.slice(24 * i, 24 * (i + 1))), y: WEEKDAYS, x: hours, xgap: 1, ygap: 1,
      // Its scale is in words: Plotly's own bar wants styles that the page forbids.
      colorscale: [[0, theme.subtle], [1, SERIES[0]]], zmin: 0, hoverongaps: false, showscale: false,
      hovertemplate: `%{y} %{x}:00<br>%{z:,.1f} ${name}<extra></extra>`,
    }],
    layout: {
      xaxis: { tickvals: every3, ticktext: every3.map((i) => String(i).padStart(2, "0")) },
      yaxis: { autorange: "reversed" },
    },
  }));
}

/** "Fri 19:00", of an hour of the week. */
export const weekHour = (at) => `${WEEKDAYS[Math.floor(at / 24)]} ${String(at % 24).padStart(2, "0")}:00`;

// Tables

/**
 * Fills a table.
 * @param columns each with `key`, `label`, and perhaps `show` (a value's text), `cell` (a row's node), `isText`,
 *   `without` (why there may be no value)
 * @param options `sort`: the key to begin with, in descending order, which makes the heads buttons; `first`: rows shown
 *   at first; `caption`
 */
export function table(id, columns, data, { sort = null, first = Infinity, caption = "" } = {}) {
  const place = byId(id);
  let order = { key: sort, sign: -1 };
  const fill = () => {
    const compare = (a, b) => {
      const [x, y] = [a[order.key], b[order.key]];
      if (x === null || y === null) return (x === null) - (y === null);
      return order.sign * (typeof x === "string" ? x.localeCompare(y, "en") : x - y);
    };
    const shown = order.key === null ? data : [...data].sort(compare);
    place.tBodies[0].replaceChildren(
      ...shown.slice(0, first).map((row) =>
        element(
          "tr",
          columns.map((column, i) => {
            const content = column.cell ? column.cell(row) : (column.show ?? count)(row[column.key]);
            const isHead = i === columns.findIndex((c) => c.isText);
            const more = isHead ? { scope: "row" } : {};
            if (column.without && row[column.key] === null) more.title = column.without;
            return element(isHead ? "th" : "td", content, { ...more, class: column.isText ? "text" : "number" });
          }),
        ),
      ),
    );
    for (const head of place.tHead.rows[0].cells) {
      const isSorted = head.dataset.key === order.key;
      const direction = order.sign < 0 ? "descending" : "ascending";
      if (sort !== null) head.setAttribute("aria-sort", isSorted ? direction : "none");
    }
  };
  const heads = columns.map((column) => {
    const label = sort === null ? column.label : element("button", column.label, { type: "button" });
    if (sort !== null) {
      label.addEventListener("click", () => {
        const sign = order.key === column.key ? -order.sign : column.isText ? 1 : -1;
        order = { key: column.key, sign };
        fill();
      });
    }
    return element("th", label, { scope: "col", "data-key": column.key, class: column.isText ? "text" : "number" });
  });
  const title = element("caption", caption, { class: "hidden" });
  place.replaceChildren(title, element("thead", element("tr", heads)), element("tbody"));
  if (data.length > first) {
    const more = element("button", `Show all ${count(data.length)}`, { type: "button" });
    more.addEventListener("click", () => {
      first = Infinity;
      place.tFoot.remove();
      fill();
    });
    place.append(element("tfoot", element("tr", element("td", more, { colspan: columns.length }))));
  }
  fill();
}

/** Terms and their values, as `[term, value]`. */
export function numbers(id, pairs) {
  const made = pairs.map(([term, value]) => element("div", [element("dt", term), element("dd", value)]));
  byId(id).replaceChildren(...made);
}

applyTheme();
const outside = { attributeFilter: ["class", "style"] };
if (airflow()) new MutationObserver(applyTheme).observe(airflow().documentElement, outside);
window.addEventListener("storage", applyTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
let redraw;
new ResizeObserver(() => {
  clearTimeout(redraw);
  redraw = setTimeout(() => charts.forEach((draw) => draw()), 100);
}).observe(document.documentElement);
