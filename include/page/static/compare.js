/** The page that compares up to five categories, or channels, by its address: ?games=1&games=2, or ?channels=3. */

import {
  DASHES, HOUR, SERIES, amountAxis, byId, channelName, channelUrl, chart, compareUrl, count, day, element, escaped, gameName,
  gameUrl, get, hour, isDaily, plural, query, rows, say, search, shorten, showDownloads, showRange, table, timeAxis, withGaps,
} from "./common.js";

const MOST = 5;

function showLines(lines, range, step) {
  const at = (text) => day(text.slice(0, 10)) + (step === HOUR ? ` ${hour(text)}` : "");
  const each = lines.map(({ name, points }) => {
    const values = points.map((point) => point.avg_viewers);
    return { name, times: points.map((point) => point.time), values };
  });
  const times = each[0].times.length;
  const summary = byId("lines-summary");
  byId("lines-chart").hidden = times < 2;
  summary.textContent = times
    ? `Viewers on average, by ${step === HOUR ? "hour" : "day"}, from ${plural(times, step === HOUR ? "hour" : "day")} with this measure.`
    : "No day of this range has this measure; days that were made before it have none.";
  if (times === 1) summary.textContent += ` One is no line: ${at(each[0].times[0])}.`;
  if (times < 2) return;
  const label = `Lines of viewers: ${each.map(({ name, values }) => `${name}, up to ${count(Math.max(...values))}`).join("; ")}.`;
  chart("lines-chart", label, (theme, width) => ({
    traces: each.map(({ name, times: x, values }, i) => ({
      ...withGaps(x, values, step), name: escaped(shorten(name, 24)),
      line: { color: SERIES[i], width: 2, dash: DASHES[i % 3] },
      // Not in the template, which would read a name's own %{…}.
      meta: escaped(name),
      hovertemplate: `%{meta}<br>%{y:,.0f} viewers<br>%{x|${step === HOUR ? "%a %-d %b, %H:%M" : "%a %-d %b %Y"}}<extra></extra>`,
    })),
    layout: {
      xaxis: timeAxis(range, width),
      yaxis: amountAxis("viewers", each.flatMap(({ values }) => values)),
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: theme.fg } },
      margin: { l: 8, r: 12, t: 36, b: 8 },
    },
  }));
}

function showTable(lines, range, { kind, link, step }) {
  const keys = lines.map(({ key }) => key);
  // A category's point counts as often as it has hours; a channel's as often as snapshots saw it on air.
  const weight = (point) => (kind === "games" ? point.nb_hours : point.nb_observations);
  const total = (points, of) => points.reduce((sum, point) => sum + of(point), 0);
  const found = lines.map(({ key, name, points }) => {
    // Nobody's highest hour is none.
    const most = Math.max(0, ...points.map((point) => point.avg_viewers)) || null;
    const all = total(points, weight);
    return {
      key, name, most,
      average: all ? total(points, (point) => weight(point) * point.avg_viewers) / all : null,
      when: most === null ? null : points.find((point) => point.avg_viewers === most).time,
    };
  });
  const out = ({ key, name }) =>
    element("a", "remove", { href: compareUrl(kind, keys.filter((other) => other !== key), range), "aria-label": `Remove ${name}` });
  const time = (text) => (text === null ? "–" : day(text.slice(0, 10)) + (step === HOUR ? ` ${hour(text)}` : ""));
  table(
    "compared-table",
    [
      { key: "name", label: kind === "games" ? "Category" : "Channel", isText: true, cell: link },
      { key: "average", label: kind === "games" ? "Average viewers" : "Average viewers while live" },
      { key: "most", label: step === HOUR ? "Highest hour" : "Highest day" },
      { key: "when", label: "When (UTC)", show: time },
      { key: "key", label: "Remove", cell: out },
    ],
    found,
    { caption: "What is compared" },
  );
}

async function showPage() {
  say("Loading…");
  const status = await get("status");
  const kind = query.has("channels") ? "channels" : "games";
  const isGames = kind === "games";
  const keys = [...new Set(query.getAll(kind))].slice(0, MOST);
  const range = { start: query.get("start") || status.start, end: query.get("end") || status.end };
  byId("back").href = `./?${new URLSearchParams(range)}`;
  const pairs = keys.map((key) => [kind, key]);
  byId("range").append(...pairs.map(([name, value]) => element("input", "", { type: "hidden", name, value })));
  if (status.last_day) showRange(status, range, "compare", pairs).catch(say);
  byId("search").hidden = keys.length >= MOST;
  const only = keys.length ? kind.slice(0, -1) : null;
  if (only) byId("search-label").textContent = isGames ? "Add a category" : "Add a channel";
  search((one) => compareUrl(`${one.kind}s`, one.kind === only ? [...keys, one.key] : [one.key], range), only);
  if (!keys.length) return say("Look for a category or a channel to begin with.");
  const asked = { ...range, [kind]: keys };
  const name = `compared-${kind}`;
  const { compared, [name]: columns } = await get(name, asked);
  const points = Object.groupBy(rows(columns), (point) => point.key);
  const lines = compared.map((one) => ({
    key: String(one.key),
    name: isGames ? gameName({ ...one, game_key: one.key }) : channelName({ ...one, user_id: one.key }),
    points: points[one.key] ?? [],
  }));
  byId("content").hidden = false;
  byId("lines-get").dataset.name = name;
  showDownloads(asked);
  // Channels are known by day.
  const step = isGames && !isDaily(range) ? HOUR : 24 * HOUR;
  const link = (one) => element("a", element("bdi", one.name), { href: isGames ? gameUrl(one.key, range) : channelUrl(one.key, range) });
  showLines(lines, range, step);
  showTable(lines, range, { kind, link, step });
  say();
}

showPage().catch(say);
