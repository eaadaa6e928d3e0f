/** The page of all games. */

import {
  DASHES, SERIES, amountAxis, byId, change, channelName, channelUrl, chart, compact, count, day, dayAxis, element, escaped, gameName, gameUrl, get,
  gini, hour, languageName, percent, plain, plural, query, rows, say, shorten, showDownloads, showRange, table, utc,
} from "./common.js";

const HOUR = 3_600_000;
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

/** The line's values with a hole where snapshots are missing; one between two holes is a dot, since no line shows it. */
function withGaps(times, values, step) {
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
    size.push(isHole(i) && isHole(i + 1) ? 5 : 0);
  });
  return { x, y, mode: "lines+markers", marker: { size, opacity: 1 } };
}

function showViewers({ time, nb_viewers, nb_streams }, range) {
  const isDaily = (utc(range.end) - utc(range.start)) / HOUR / 24 >= 62;
  const days = (utc(range.end) - utc(range.start)) / HOUR / 24 + 1;
  const draw = (id, values, name, color) => {
    const most = values.indexOf(Math.max(...values));
    const label =
      `Line: ${name} ${isDaily ? "by day" : "by snapshot"}, from ${count(Math.min(...values))} to ` +
      `${count(values[most])}, most on ${day(time[most].slice(0, 10))}.`;
    chart(id, label, (_, width) => ({
      traces: [{
        ...withGaps(time, values, isDaily ? 24 * HOUR : HOUR),
        type: "scatter", mode: time.length < 3 ? "markers" : "lines", line: { color, width: 2 },
        hovertemplate: `%{y:,.0f} ${name}<br>%{x|${isDaily ? "%a %-d %b %Y" : "%a %-d %b, %H:%M"}}<extra></extra>`,
      }],
      layout: {
        xaxis: {
          ...(days === 1
            ? { type: "date", tickformat: "%H:%M", nticks: Math.floor(width / 70) }
            : dayAxis(days, width)),
          // Around a single point, Plotly's own range is milliseconds.
          ...(time.length === 1 ? { range: [range.start, `${range.end} 23:59`] } : {}),
        },
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
  { key: "game_name", label: "Game", isText: true, cell: gameLink(range) },
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
  table("top-games-table", gameColumns(range), games, { caption: "The ten games with most viewer hours" });
}

const WIDE = {
  x: "average viewers at the same time (each step: ten times as many)",
  y: "Gini: 0 all channels alike, 1 one channel has all",
};
const NARROW = { x: "average viewers (steps of ten times)", y: "Gini (0 even, 1 uneven)" };

/** Games whose names have room beside their circles; the most watched first. `at` gives their place, in steps of a name. */
function labelled(games, width, at) {
  const placed = [];
  for (const game of games) {
    const [x, y] = at(game);
    const hasRoom = placed.every((other) => Math.abs(other.x - x) > 0.9 || Math.abs(other.y - y) > 0.05);
    if (hasRoom && placed.length < (width > 800 ? 12 : 4)) placed.push({ x, y, game });
  }
  return new Set(placed.map((p) => p.game));
}

/** Plotly's trace of circles, a game each. `of` tells of a game its place, its size, and what is said of it. */
function circles(games, named, theme, width, of) {
  return {
    type: "scatter", mode: "markers+text", cliponaxis: false,
    x: games.map(of.x), y: games.map(of.y),
    text: games.map((game) => (named.has(game) ? escaped(shorten(gameName(game), 20)) : "")),
    textposition: "top center", textfont: { color: theme.fg, size: 11 },
    marker: {
      color: SERIES[0], opacity: 0.6, line: { color: theme.fg, width: 1 },
      sizemode: "area", sizemin: 3, sizeref: (2 * of.most) / (width > 800 ? 48 : 32) ** 2,
      size: games.map(of.size),
    },
    customdata: games.map((game) => [escaped(gameName(game)), ...of.words(game)].join("<br>")),
    hovertemplate: "%{customdata}<extra></extra>",
  };
}

/** A click on a circle opens the game's page. */
function followClicks(place, games, range) {
  place.removeAllListeners("plotly_click");
  place.on("plotly_click", ({ points }) => location.assign(gameUrl(games[points[0].pointIndex].game_key, range)));
}

function showScatter(games, range) {
  const shown = games.filter((g) => g.avg_viewers > 0 && g.gini !== null);
  const most = Math.max(1, ...shown.map((g) => g.nb_channels));
  const even = shown.length ? shown.reduce((a, b) => (b.gini < a.gini ? b : a)) : null;
  const label = shown.length
    ? `Circles: ${plural(shown.length, "game")} by average viewers and Gini. Most viewer hours: ${gameName(shown[0])} ` +
      `with ${count(shown[0].avg_viewers)} viewers on average and a Gini of ${gini(shown[0].gini)}. Most even: ` +
      `${gameName(even)} with a Gini of ${gini(even.gini)}.`
    : "No game to show.";
  const place = byId("scatter-chart");
  const drawn = chart("scatter-chart", label, (theme, width) => {
    const named = labelled(shown, width, (g) => [Math.log10(g.avg_viewers), g.gini]);
    const isWide = width > 500;
    return {
      traces: [circles(shown, named, theme, width, {
        x: (g) => g.avg_viewers, y: (g) => g.gini, size: (g) => g.nb_channels, most,
        words: (g) => [
          `${count(g.avg_viewers)} viewers on average`,
          `Gini ${gini(g.gini)}, top channel ${percent(g.top_1_share)}`,
          `${plural(g.nb_channels, "channel")} on the busiest day`,
        ],
      })],
      layout: {
        hovermode: "closest",
        xaxis: { type: "log", dtick: 1, tickformat: "~s", title: { text: isWide ? WIDE.x : NARROW.x, standoff: 8 } },
        yaxis: { tickformat: ".2~f", title: { text: isWide ? WIDE.y : NARROW.y, standoff: 8 } },
      },
    };
  });
  drawn.then(() => followClicks(place, shown, range));
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
  const days = Math.round((utc(range.end) - utc(range.start)) / HOUR / 24) + 1;
  const cut = all > found.length ? ` The ${count(found.length)} most watched are shown.` : "";
  byId("places-summary").textContent = found.length
    ? `${plural(all, "category", "categories")}, from ${count(found[0].nb_hours)} of ${plural(days * 24, "hour")}.${cut}`
    : "No hour of this range has such streams; days before this measure was made have none.";
  document.querySelector("[data-name=places]").dataset.query = new URLSearchParams(asked);
  showDownloads(range);
  const shown = found.filter((place) => place.viewers_per_stream > 0);
  const most = Math.max(1, ...shown.map((place) => place.avg_viewers));
  const best = shown.filter((place) => place.seen_share > 0.5).slice(0, 3).map(gameName);
  const label =
    `Circles: ${plural(shown.length, "category", "categories")} by the share of hours in which the channel is seen and by ` +
    `viewers per stream. ${best.length ? `Most watched of those that show it in most hours: ${best.join(", ")}.` : ""}`;
  const place = byId("places-chart");
  place.hidden = !shown.length;
  if (shown.length) {
    const drawn = chart("places-chart", label, (theme, width) => {
      const named = labelled(shown, width, (p) => [p.seen_share * 4, Math.log10(p.viewers_per_stream) / 4]);
      return {
        traces: [circles(shown, named, theme, width, {
          x: (p) => p.seen_share, y: (p) => p.viewers_per_stream, size: (p) => p.avg_viewers, most,
          words: (p) => [
            `among the first 30 in ${percent(p.seen_share)} of the hours`,
            `${count(p.viewers_per_stream)} viewers per stream, ${count(p.avg_viewers)} in all`,
            `${percent(p.small_stream_share)} of them on small streams`,
          ],
        })],
        layout: {
          hovermode: "closest",
          xaxis: { range: [-0.04, 1.04], tickformat: ".0%", title: { text: "hours in which it is seen", standoff: 8 } },
          yaxis: { type: "log", dtick: 1, tickformat: "~s", title: { text: "viewers per stream", standoff: 8 } },
        },
      };
    });
    drawn.then(() => followClicks(place, shown, range));
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

/** Links to what is found, by any part of the name; arrow keys go from one to the next. */
function search(range) {
  let newest = 0;
  const [field, list] = [byId("q"), byId("found")];
  const show = async () => {
    const asked = (newest += 1);
    const q = field.value.trim();
    const found = q ? rows((await get("search", { q })).search) : [];
    if (asked !== newest) return; // more has been typed since
    byId("found-summary").textContent = q && !found.length ? `Nothing has “${plain(q)}” in its name.` : "";
    list.replaceChildren(
      ...found.map(({ kind, key, name, viewer_hours: watched }) => {
        const label = kind === "game" ? gameName({ game_key: key, game_id: key, game_name: name }) : channelName({ user_id: key, user_name: name });
        const link = element("a", element("bdi", label), { href: kind === "game" ? gameUrl(key, range) : channelUrl(key, range) });
        const what = kind === "game" ? "category" : "channel";
        const words = watched ? `${what}, ${compact(watched)} viewer-hours on the newest day` : what;
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

async function showGames(range, status) {
  const least = byId("min-channels");
  if (!least.reportValidity()) return;
  const { games } = await get("games", { ...range, min_channels: least.value });
  const found = rows(games);
  const all = found[0]?.nb_games ?? 0;
  const cut = all > found.length ? ` The ${count(found.length)} with most viewer hours are shown.` : "";
  const without = found.filter((game) => game.gini === null).length;
  const undrawn = without
    ? ` ${plural(without, "game has", "games have")} no circle: no day with viewers and at least ` +
      `${plural(status.concentration_min_channels, "channel")}.`
    : "";
  byId("scatter-summary").textContent =
    `${plural(all, "game has", "games have")} at least ${plural(Number(least.value), "channel")}.${cut}${undrawn}`;
  showScatter(found, range);
  const options = { sort: "viewer_hours", first: 50, caption: "Games, sortable" };
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
  showRange(status, range, "./");
  search(range);
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
