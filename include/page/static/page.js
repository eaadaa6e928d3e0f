/** The page of all categories. */

import {
  DASHES, HOUR, SERIES, amountAxis, byId, change, channelUrl, chart, compact, count, day, dayAxis, element, escaped, gameName,
  gameUrl, get, gini, hour, isDaily, languageName, percent, plain, plural, query, rows, say, search, shorten, showDownloads, showRange,
  table, timeAxis, utc, withGaps,
} from "./common.js";

const STATES = {
  there: ["●", "there"],
  missing: ["✕", "missing"],
  due: ["…", "not yet"],
  future: ["", "in the future"],
  before: ["–", "before the first snapshot"],
};

/** "12 minutes ago"; exact enough for a glance. */
function ago(milliseconds) {
  const minutes = Math.max(0, Math.round(milliseconds / 60_000));
  if (minutes < 120) return `${plural(minutes, "minute")} ago`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} hours ago` : `${Math.floor(minutes / 60 / 24)} days ago`;
}

function showFreshness(status, hours) {
  const last = status.last_snapshot;
  byId("warnings").hidden = !status.warnings.length;
  byId("warnings").replaceChildren(...status.warnings.map((warning) => element("li", plain(warning))));
  const place = byId("freshness");
  place.classList.toggle("stale", status.is_stale);
  if (!last) {
    place.textContent = "No snapshot so far.";
    return;
  }
  const there = hours.filter((h) => h.state === "there").length;
  const due = there + hours.filter((h) => h.state === "missing").length;
  const text =
    `Last snapshot ${ago(utc(status.now) - utc(last))}, ${last.slice(0, 10)} ${hour(last)} UTC; ` +
    `${there} of the last ${plural(due, "hour")}.`;
  const advice = " Stale: over 2 hours old. Is the DAG twitch_streams switched on, and do its runs succeed?";
  const sign = element("span", status.is_stale ? "! " : "✓ ", { "aria-hidden": "true" });
  place.replaceChildren(sign, text, status.is_stale ? advice : "");
}

/** Hours in a row as one: "Tue 24 Nov 03:00 to 04:00 (2 hours)". */
function runsOf(hours) {
  const runs = [];
  for (const text of hours) {
    const run = runs.at(-1);
    if (run && utc(text) - utc(run.at(-1)) === HOUR) run.push(text);
    else runs.push([text]);
  }
  return runs.map((run) => {
    const [from, to] = [run[0], run.at(-1)];
    if (run.length === 1) return `${day(from.slice(0, 10))} ${hour(from)}`;
    const other = from.slice(0, 10) === to.slice(0, 10) ? "" : `${day(to.slice(0, 10))} `;
    return `${day(from.slice(0, 10))} ${hour(from)} to ${other}${hour(to)} (${run.length} hours)`;
  });
}

/** What is on air, each against the same hour a week before. */
function showNow({ snapshots }) {
  const found = rows(snapshots);
  const [now, before] = [found[0], found.length > 1 ? found.at(-1) : null];
  const tile = (term, key) => {
    const value = element("dd", count(now[key]));
    const than = before ? change(before[key] ? now[key] / before[key] - 1 : null) : null;
    const words = before ? `${than} against ${day(before.snapshot_at)} ${hour(before.snapshot_at)}` : "nothing a week before";
    return element("div", [element("dt", term), value, element("dd", words, { class: "note" })]);
  };
  const tiles = { Viewers: "nb_viewers", Streams: "nb_streams", Channels: "nb_channels", Categories: "nb_games" };
  byId("now").replaceChildren(...(now ? Object.entries(tiles).map(([term, key]) => tile(term, key)) : []));
}

/** A row a day, a column an hour; newest day first. */
function showGaps(hours) {
  const missing = hours.filter((h) => h.state === "missing").map((h) => h.hour);
  const runs = runsOf(missing).reverse();
  const named = runs.slice(0, 6).join("; ") + (runs.length > 6 ? `; and ${runs.length - 6} more gaps` : "");
  const summary = byId("gaps-summary");
  summary.classList.toggle("bad", missing.length > 0);
  summary.textContent = missing.length
    ? `${plural(missing.length, "hour is", "hours are")} missing: ${named}.`
    : "No hour is missing.";
  const days = Object.entries(Object.groupBy(hours, (h) => h.hour.slice(0, 10))).sort().reverse();
  const heads = Array.from({ length: 24 }, (_, i) => element("th", String(i).padStart(2, "0"), { scope: "col" }));
  const body = days.map(([date, cells]) =>
    element("tr", [
      element("th", day(date), { scope: "row" }),
      ...cells.map(({ state, hour: at, nb_streams: streams }) => {
        const [sign, words] = STATES[state];
        const title = `${day(date)} ${hour(at)}: ${words}${streams === null ? "" : `, ${plural(streams, "stream")}`}`;
        const content = [element("span", sign, { "aria-hidden": "true" }), element("span", words, { class: "hidden" })];
        return element("td", content, { class: state, title });
      }),
    ]),
  );
  byId("gaps").replaceChildren(
    element("caption", "Hours with a snapshot, UTC", { class: "hidden" }),
    element("thead", element("tr", [element("td", "UTC"), ...heads])),
    element("tbody", body),
  );
}

function showViewers({ time, nb_viewers, nb_streams }, range) {
  const byDay = isDaily(range);
  const at = (text) => day(text.slice(0, 10)) + (byDay ? "" : ` ${hour(text)}`);
  const isOne = time.length === 1;
  byId("viewers-summary").textContent = isOne
    ? `${plural(nb_viewers[0], "viewer")} of ${plural(nb_streams[0], "stream")} on ${at(time[0])}: ${byDay ? "a day's average" : "one snapshot"}, and no line yet.`
    : "";
  for (const id of ["viewers-chart", "streams-chart"]) byId(id).hidden = isOne;
  if (isOne) return;
  const draw = (id, values, name, color) => {
    const most = values.indexOf(Math.max(...values));
    const label =
      `Line: ${name} ${byDay ? "by day" : "by snapshot"}, from ${count(Math.min(...values))} to ` +
      `${count(values[most])}, most on ${at(time[most])}.`;
    chart(id, label, (_, width) => ({
      traces: [{
        ...withGaps(time, values, byDay ? 24 * HOUR : HOUR), line: { color, width: 2 },
        hovertemplate: `%{y:,.0f} ${name}<br>%{x|${byDay ? "%a %-d %b %Y" : "%a %-d %b, %H:%M"}}<extra></extra>`,
      }],
      layout: {
        xaxis: timeAxis(range, width),
        yaxis: { ...amountAxis(name, values), nticks: id === "streams-chart" ? 4 : 6, automargin: false },
        margin: { l: 64, r: 16, t: 12, b: 8 }, // the same, so that one chart's hours are above the other's
      },
    }));
  };
  draw("viewers-chart", nb_viewers, "viewers", SERIES[0]);
  draw("streams-chart", nb_streams, "streams", SERIES[2]);
}

const TOO_FEW = "No day with viewers and enough channels: see How to read this";

const gameLink = (range) => (game) =>
  element("a", element("bdi", gameName(game)), { href: gameUrl(game.game_key, range), title: gameName(game) });

const gameColumns = (range) => [
  { key: "rank", label: "Rank" },
  { key: "game_name", label: "Category", isText: true, cell: gameLink(range) },
  { key: "avg_viewers", label: "Average viewers" },
  { key: "peak_viewers", label: "Peak" },
  { key: "viewer_hours", label: "Viewer hours", show: compact },
  { key: "viewer_share", label: "Share", show: percent },
  { key: "nb_channels", label: "Channels (busiest day)" },
  { key: "gini", label: "Gini", show: gini, without: TOO_FEW },
];
const spreadColumns = [
  { key: "channel_median", label: "Median" },
  { key: "channel_p90", label: "P90" },
  { key: "channel_p99", label: "P99" },
  { key: "top_1_share", label: "Top 1", show: percent, without: TOO_FEW },
  { key: "top_10_share", label: "Top 10", show: percent, without: TOO_FEW },
];

/** A line a game, or bars where there is but one day. */
function showTopGames(days, games, range) {
  const byGame = Object.values(Object.groupBy(days, (row) => row.rank));
  const dates = byGame[0].map((row) => row.day);
  const averages = games.map((game) => `${gameName(game)} ${compact(game.avg_viewers)}`).join(", ");
  const label = `${dates.length > 1 ? "Lines by day" : "Bars"}: average viewers of ${averages}.`;
  const name = (row) => escaped(shorten(gameName(row), 24));
  chart("top-games-chart", label, (theme, width) =>
    dates.length > 1
      ? {
          traces: byGame.map((line, i) => ({
            type: "scatter", mode: dates.length < 40 ? "lines+markers" : "lines", name: name(line[0]),
            x: dates, y: line.map((row) => row.avg_viewers),
            line: { color: SERIES[i], width: 2, dash: DASHES[i % 3] }, marker: { size: 5 },
            customdata: line.map((row) => escaped(gameName(row))),
            hovertemplate: `%{customdata}<br>%{y:,.0f} viewers on average<br>%{x|%a %-d %b %Y}<extra></extra>`,
          })),
          layout: {
            xaxis: dayAxis(dates.length, width),
            yaxis: amountAxis("average viewers", days.map((row) => row.avg_viewers)),
            showlegend: true,
            legend: {
              font: { color: theme.fg, size: 11 },
              ...(width > 800 ? { x: 1.01, y: 1 } : { orientation: "h", y: -0.12, yanchor: "top" }),
            },
          },
        }
      : {
          traces: [{
            type: "bar", orientation: "h", marker: { color: SERIES[0] },
            x: games.map((game) => game.avg_viewers), y: games.map((game) => `${game.rank}. ${name(game)}`),
            hovertemplate: "%{y}<br>%{x:,.0f} viewers on average<extra></extra>",
          }],
          layout: {
            xaxis: amountAxis("average viewers", games.map((game) => game.avg_viewers)),
            yaxis: { autorange: "reversed" },
          },
        },
  );
  table("top-games-table", gameColumns(range), games, { caption: "The ten categories with most viewer hours" });
}

const GAP = 8;
const LETTER = 6.2; // pixels, of the labels' font on average

/**
 * An axis on which no circle is cut off.
 * @param values of the circles, in the axis' own steps
 * @param pixels its length
 * @param radius of the largest circle, in pixels
 */
function roomy(values, pixels, radius) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = ((high - low || 1) * (radius + GAP)) / Math.max(pixels - 2 * (radius + GAP), 1);
  return [low - room, high + room];
}

/**
 * Games whose names have room above or below their circles, and where it is; the most watched first.
 * @param at gives a game's place and its circle's radius, in pixels; y upwards
 * @returns of each such game, Plotly's text position
 */
function labelled(games, width, at) {
  const all = games.map((game) => ({ game, ...at(game) }));
  const isFree = (box, others) =>
    others.every((other) => box.right < other.left || other.right < box.left || box.top < other.bottom || other.top < box.bottom);
  const circle = ({ x, y, radius }) => ({ left: x - radius, right: x + radius, bottom: y - radius, top: y + radius });
  const named = [];
  for (const one of all) {
    const length = LETTER * shorten(gameName(one.game), 20).length;
    const side = { center: length / 2, left: length + one.radius, right: -one.radius };
    const positions = ["top", "bottom"].flatMap((end) => Object.keys(side).map((name) => [end, name]));
    const position = positions.find(([end, name]) => {
      const left = one.x - side[name];
      const bottom = end === "top" ? one.y + one.radius : one.y - one.radius - 16;
      const box = { left: left - GAP / 2, right: left + length + GAP / 2, bottom, top: bottom + 16 };
      const others = all.filter((other) => other !== one).map(circle);
      if (left < 0 || left + length > width || !isFree(box, [...others, ...named.map((other) => other.box)])) return false;
      one.box = box;
      return true;
    });
    if (position && named.length < (width > 800 ? 15 : 5)) named.push({ ...one, position: position.join(" ") });
  }
  return new Map(named.map(({ game, position }) => [game, position]));
}

/**
 * Draws games as circles with names where there is room; a click on one opens its page.
 * @param x and y: a game's `value` on the axis, its `title` for a wide or narrow chart, perhaps `isLog` and `tickformat`
 * @param size of a game's circle; `words`: the lines of its hover text, after its name
 */
function circles(id, label, games, range, { x, y, size, words }) {
  const most = Math.max(1, ...games.map(size));
  const place = byId(id);
  const drawn = chart(id, label, (theme, width) => {
    const diameter = width > 800 ? 48 : 32;
    const pixels = { x: width - 72, y: place.clientHeight - 64 };
    const steps = (axis, game) => (axis.isLog ? Math.log10(axis.value(game)) : axis.value(game));
    const [across, up] = [["x", x], ["y", y]].map(([name, axis]) => {
      const ends = roomy(games.map((game) => steps(axis, game)), pixels[name], diameter / 2);
      return { ends, at: (game) => (pixels[name] * (steps(axis, game) - ends[0])) / (ends[1] - ends[0]) };
    });
    const radius = (game) => Math.max(3, diameter * Math.sqrt(size(game) / most)) / 2;
    const named = labelled(games, pixels.x, (game) => ({ x: across.at(game), y: up.at(game), radius: radius(game) }));
    const axisOf = (axis, { ends }) => ({
      // Less than two tens: with the numbers between them.
      ...(axis.isLog ? { type: "log", dtick: ends[1] - ends[0] < 2 ? "D2" : 1 } : {}),
      tickformat: axis.tickformat ?? "~s", title: { text: axis.title(width > 500), standoff: 8 }, range: ends,
    });
    return {
      traces: [{
        type: "scatter", mode: "markers+text", cliponaxis: false, x: games.map(x.value), y: games.map(y.value),
        text: games.map((game) => (named.has(game) ? escaped(shorten(gameName(game), 20)) : "")),
        textposition: games.map((game) => named.get(game) ?? "top center"), textfont: { color: theme.fg, size: 11 },
        marker: {
          color: SERIES[0], opacity: 0.6, line: { color: theme.fg, width: 1 },
          sizemode: "area", sizemin: 3, sizeref: (2 * most) / diameter ** 2, size: games.map(size),
        },
        customdata: games.map((game) => [escaped(gameName(game)), ...words(game)].join("<br>")),
        hovertemplate: "%{customdata}<extra></extra>",
      }],
      layout: { hovermode: "closest", xaxis: axisOf(x, across), yaxis: axisOf(y, up) },
    };
  });
  drawn.then(() => {
    place.removeAllListeners("plotly_click");
    place.on("plotly_click", ({ points }) => location.assign(gameUrl(games[points[0].pointIndex].game_key, range)));
  });
}

function showScatter(games, range) {
  const shown = games.filter((g) => g.avg_viewers > 0 && g.gini !== null);
  byId("scatter-chart").hidden = !shown.length;
  if (!shown.length) return;
  const even = shown.reduce((a, b) => (b.gini < a.gini ? b : a));
  const label =
    `Circles: ${plural(shown.length, "category", "categories")} by average viewers and Gini. Most viewer hours: ` +
    `${gameName(shown[0])} with ${count(shown[0].avg_viewers)} viewers on average and a Gini of ${gini(shown[0].gini)}. ` +
    `Most even: ${gameName(even)} with a Gini of ${gini(even.gini)}.`;
  circles("scatter-chart", label, shown, range, {
    x: {
      value: (g) => g.avg_viewers, isLog: true,
      title: (isWide) => `average viewers${isWide ? " at the same time (each step: ten times as many)" : " (steps of ten times)"}`,
    },
    y: {
      value: (g) => g.gini, tickformat: ".2~f",
      title: (isWide) => (isWide ? "Gini: 0 all channels alike, 1 one channel has all" : "Gini (0 even, 1 uneven)"),
    },
    size: (g) => g.nb_channels,
    words: (g) => [
      `${count(g.avg_viewers)} viewers on average`,
      `Gini ${gini(g.gini)}, top channel ${percent(g.top_1_share)}`,
      `${plural(g.nb_channels, "channel")} on the busiest day`,
    ],
  });
}

// The languages that Twitch knows; `other` and sign language have no name of their own.
const LANGUAGES =
  "ar asl bg ca cs da de el en es fi fr hi hu id it ja ko ms nl no other pl pt ro ru sk sv th tl tr uk vi zh zh-hk".split(" ");

/** The size of a channel and its language, which the address keeps. */
function placesAsked() {
  return { viewers: byId("viewers").value, language: byId("language").value };
}

function fillPlacesForm() {
  const languages = LANGUAGES.map((code) => [code, languageName(code)]).sort((a, b) => a[1].localeCompare(b[1], "en"));
  byId("language").append(...languages.map(([code, name]) => element("option", name, { value: code })));
  const [viewers, language] = [query.get("viewers"), query.get("language")];
  if (/^\d{1,7}$/.test(viewers ?? "")) byId("viewers").value = viewers;
  if (language && ![...byId("language").options].some((option) => option.value === language)) {
    byId("language").append(element("option", plain(language), { value: language }));
  }
  byId("language").value = language ?? "*";
}

async function showPlaces(range) {
  if (!byId("viewers").reportValidity()) return;
  const asked = placesAsked();
  const { places } = await get("places", { ...range, ...asked });
  const found = rows(places);
  byId("places-viewers").textContent = count(Number(asked.viewers));
  byId("small-size").textContent = asked.viewers <= 10 ? "10" : asked.viewers <= 50 ? "50" : "100";
  const all = found[0]?.nb_games ?? 0;
  const cut = all > found.length ? ` The ${count(found.length)} most watched are shown.` : "";
  byId("places-summary").textContent = found.length
    ? `${plural(all, "category", "categories")}, from ${plural(found[0].nb_hours, "hour")} with this measure.${cut}`
    : "No hour of this range has such streams; days that were made before this measure have none.";
  document.querySelector("[data-name=places]").dataset.query = new URLSearchParams(asked);
  showDownloads(range);
  const shown = found.filter((place) => place.viewers_per_stream > 0);
  const best = shown.filter((place) => place.seen_share > 0.5).slice(0, 3).map(gameName);
  const label =
    `Circles: ${plural(shown.length, "category", "categories")} by the share of hours in which the channel is seen and by ` +
    `viewers per stream. ${best.length ? `Most watched of those that show it in most hours: ${best.join(", ")}.` : ""}`;
  byId("places-chart").hidden = !shown.length;
  if (shown.length) {
    circles("places-chart", label, shown, range, {
      x: { value: (p) => p.seen_share, tickformat: ".0%", title: () => "hours in which it is seen" },
      y: { value: (p) => p.viewers_per_stream, isLog: true, title: () => "viewers per stream" },
      size: (p) => p.avg_viewers,
      words: (p) => [
        `among the first 30 in ${percent(p.seen_share)} of the hours`,
        `${count(p.viewers_per_stream)} viewers per stream, ${count(p.avg_viewers)} in all`,
        `${percent(p.small_stream_share)} of them on small streams`,
      ],
    });
  }
  const columns = [
    { key: "rank", label: "Rank" },
    { key: "game_name", label: "Category", isText: true, cell: gameLink(range) },
    { key: "seen_share", label: "Seen", show: percent },
    { key: "viewers_at_rank_30", label: "30th stream" },
    { key: "viewers_per_stream", label: "Viewers per stream" },
    { key: "small_stream_share", label: "On small streams", show: percent },
    { key: "gini", label: "Gini", show: gini, without: TOO_FEW },
    { key: "avg_viewers", label: "Average viewers" },
    { key: "change", label: "Change", show: change, without: "Nothing to compare with in the days before" },
  ];
  table("places-table", columns, found, { sort: "avg_viewers", first: 25, caption: "Categories, sortable" });
}

async function showGames(range, status) {
  const least = byId("min-channels");
  if (!least.reportValidity()) return;
  const { games } = await get("games", { ...range, min_channels: least.value });
  const found = rows(games);
  const all = found[0]?.nb_games ?? 0;
  const cut = all > found.length ? ` The ${count(found.length)} with most viewer hours are shown.` : "";
  const without = found.filter((game) => game.gini === null).length;
  const undrawn = without
    ? ` ${plural(without, "category has", "categories have")} no circle: no day with viewers and at least ` +
      `${plural(status.concentration_min_channels, "channel")}.`
    : "";
  byId("scatter-summary").textContent =
    `${plural(all, "category has", "categories have")} at least ${plural(Number(least.value), "channel")}.${cut}${undrawn}`;
  showScatter(found, range);
  const options = { sort: "viewer_hours", first: 50, caption: "Categories, sortable" };
  table("games-table", [...gameColumns(range), ...spreadColumns], found, options);
  document.querySelector("[data-name=games][data-query*='300']").dataset.query = `limit=300&min_channels=${least.value}`;
  showDownloads(range);
}

/** What is about now, whatever the range. */
async function showToday() {
  const [status, { hours }] = await Promise.all([get("status"), get("hours")]);
  showFreshness(status, rows(hours));
  showGaps(rows(hours));
  showNow(status);
  return status;
}

async function showPage() {
  say("Loading…");
  const status = await showToday();
  byId(status.last_day ? "content" : "empty-state").hidden = false;
  byId(status.has_facts ? "empty-fresh" : "empty-old").hidden = true;
  setInterval(() => document.hidden || showToday().catch(say), 60_000);
  if (!status.last_day) return say();
  const range = { start: query.get("start") || status.start, end: query.get("end") || status.end };
  showRange(status, range, "./").catch(say);
  search((found) => (found.kind === "game" ? gameUrl(found.key, range) : channelUrl(found.key, range)));
  showDownloads(range);
  const asked = [get("viewers", range), get("top-games", range), get("games", { ...range, limit: 10 })];
  const [{ viewers }, days, { games }] = await Promise.all(asked);
  if (!viewers.time.length && !games.rank.length) {
    const choice = `choose days from ${status.first_day} to ${status.last_day}.`;
    return say(`There is no data from ${range.start} to ${range.end}: ${choice}`);
  }
  byId("figures").hidden = false;
  if (viewers.time.length) showViewers(viewers, range);
  if (games.rank.length) showTopGames(rows(days["top-games"]), rows(games), range);
  fillPlacesForm();
  await showPlaces(range);
  byId("places-form").addEventListener("submit", (event) => event.preventDefault());
  byId("places-form").addEventListener("change", () => {
    const address = new URL(location);
    for (const [name, value] of Object.entries(placesAsked())) address.searchParams.set(name, value);
    history.replaceState(null, "", address);
    showPlaces(range).catch(say);
  });
  await showGames(range, status);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("min-channels").addEventListener("change", () => showGames(range, status).catch(say));
  say();
}

showPage().catch(say);
