/** The page of one game. */

import {
  SERIES, WEEK, byId, change, channelName, channelUrl, chart, compact, compareUrl, count, day, dayBars, element, gameName, get,
  gini, languageName, numbers, percent, plural, query, rows, say, showDownloads, showRange, table, utc, weekHour,
  weekMap,
} from "./common.js";

function showDays(daily) {
  const { day: days, avg_viewers, peak_viewers } = daily;
  const most = peak_viewers.indexOf(Math.max(...peak_viewers));
  const label =
    `Bars by day: average viewers from ${count(Math.min(...avg_viewers))} to ${count(Math.max(...avg_viewers))}; ` +
    `points: the peaks, the highest ${count(peak_viewers[most])} on ${day(days[most])}.`;
  dayBars("game-days-chart", label, daily);
}

function showSpread({ distribution, lorenz }, fewest) {
  const spread = rows(distribution)[0];
  numbers("distribution", [
    ["Gini", gini(spread.gini)],
    ["Channels in the range", count(spread.nb_channels)],
    ["Median channel", count(spread.channel_median)],
    ["90th percentile", count(spread.channel_p90)],
    ["99th percentile", count(spread.channel_p99)],
    ["Top channel's share", percent(spread.top_1_share)],
    ["Top 10's share", percent(spread.top_10_share)],
  ]);
  byId("lorenz-chart").hidden = spread.gini === null;
  if (spread.gini === null) {
    byId("lorenz-summary").textContent =
      spread.nb_channels < fewest
        ? `${plural(spread.nb_channels, "channel")} in this range: fewer than ${fewest} are too few to say how evenly they share.`
        : "Nobody watched in this range: there is nothing to spread.";
    return;
  }
  const { channel_share: x, viewer_share: y } = lorenz;
  const i = x.findIndex((share) => share >= 0.5);
  const half = y[i - 1] + ((y[i] - y[i - 1]) * (0.5 - x[i - 1])) / (x[i] - x[i - 1]);
  const sentence =
    `The smaller half of ${plural(spread.nb_channels, "channel")} has ${percent(half)} of the viewers, ` +
    `the largest channel ${percent(spread.top_1_share)}. Gini: ${gini(spread.gini)}.`;
  byId("lorenz-summary").textContent = sentence;
  const share = { range: [0, 1], tickformat: ".0%", tickvals: [0, 0.25, 0.5, 0.75, 1], fixedrange: true };
  chart("lorenz-chart", `Lorenz curve. ${sentence}`, (theme) => ({
    traces: [
      {
        type: "scatter", mode: "lines", x: [0, 1], y: [0, 1],
        line: { color: theme.muted, width: 1, dash: "dash" }, hoverinfo: "skip",
      },
      {
        type: "scatter", mode: "lines", x, y,
        line: { color: SERIES[0], width: 2 }, fill: "tozeroy", fillcolor: "rgba(124,77,255,0.15)",
        hovertemplate: "the smallest %{x:.1%} of the channels<br>have %{y:.1%} of the viewers<extra></extra>",
      },
    ],
    layout: {
      xaxis: { ...share, title: { text: "channels, from the smallest on", standoff: 8 } },
      yaxis: { ...share, title: { text: "viewers", standoff: 8 } },
      margin: { l: 8, r: 32, t: 12, b: 8 },
      annotations: [{ x: 0.5, y: 0.5, text: "all alike", showarrow: false, xanchor: "right", yanchor: "bottom", xshift: -4 }],
    },
  }));
}

/** A row a weekday, a column an hour, in UTC or moved by whole hours to this browser's time on the range's last day. */
function showHeatmap({ heatmap }, range) {
  const draw = () => {
    const found = rows(heatmap);
    const [measure, name] = [byId("measure").value, byId("measure").selectedOptions[0].textContent];
    const isLocal = byId("zone").value === "local";
    const offset = isLocal ? Math.round(-new Date(`${range.end}T12:00Z`).getTimezoneOffset() / 60) : 0;
    const values = Array(WEEK).fill(null);
    for (const cell of found) values[((cell.weekday - 1) * 24 + cell.hour + offset + WEEK) % WEEK] = cell[measure];
    const known = values.filter((value) => value !== null);
    const hours = found.reduce((sum, cell) => sum + cell.nb_hours, 0);
    const days = Math.round((utc(range.end) - utc(range.start)) / 86_400_000) + 1;
    const zone = isLocal ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
    const most = Math.max(...known);
    const sentence = known.length
      ? `From ${count(Math.min(...known))} to ${count(most)} ${name}, most on ${weekHour(values.indexOf(most))} (${zone}). ` +
        `From ${plural(hours, "hour")} with a snapshot, of ${count(days * 24)}.`
      : "No hours of this range are known: days before this measure was made have none.";
    byId("heatmap-summary").textContent = sentence;
    byId("heatmap-chart").hidden = !known.length;
    if (known.length) weekMap("heatmap-chart", `Heat map of weekdays and hours. ${sentence}`, values, name);
  };
  byId("heatmap-form").addEventListener("change", draw);
  draw();
}

function showChannels(channels, range) {
  const named = (channel) =>
    element("a", element("bdi", channelName(channel)), { href: channelUrl(channel.user_id, range) });
  table(
    "channels-table",
    [
      { key: "rank", label: "Rank" },
      { key: "user_name", label: "Channel", isText: true, cell: named },
      { key: "avg_viewers", label: "Average viewers while live" },
      { key: "peak_viewers", label: "Peak" },
      { key: "viewer_hours", label: "Viewer hours", show: compact },
      { key: "nb_observations", label: "Seen in snapshots" },
    ],
    rows(channels),
    { first: 25, caption: "The hundred channels with most viewers" },
  );
}

async function showPage() {
  say("Loading…");
  const status = await get("status");
  const key = query.get("key") ?? "";
  const range = { start: query.get("start") || status.start, end: query.get("end") || status.end };
  byId("key").value = key;
  byId("back").href = `./?${new URLSearchParams(range)}`;
  byId("compare").href = compareUrl("games", [key], range);
  if (status.last_day) showRange(status, range, "game", [["key", key]]).catch(say);
  const asked = { ...range, key };
  const { game: found, ...about } = await get("game", asked);
  const name = gameName({ ...about, game_key: Number(key) });
  byId("name").replaceChildren(element("bdi", name));
  document.title = `${name} - Twitch`;
  const game = rows(found)[0];
  if (!game) {
    const data = `There is data from ${status.first_day} to ${status.last_day}.`;
    say(`${name} was not seen from ${range.start} to ${range.end}. ${data}`);
    return;
  }
  byId("content").hidden = false;
  showDownloads(asked);
  numbers("numbers", [
    ["Average viewers", count(game.avg_viewers)],
    ["Peak", count(game.peak_viewers)],
    ["Viewer hours", compact(game.viewer_hours)],
    ["Change against the days before", change(game.change)],
    ["Share of viewer hours", percent(game.viewer_share)],
    ["Channels (busiest day)", count(game.nb_channels)],
  ]);
  const parts = ["game-days", "heatmap", "languages", "spread"];
  const [days, hours, { languages }, spread] = await Promise.all(parts.map((part) => get(part, asked)));
  showDays(days["game-days"]);
  showHeatmap(hours, range);
  table(
    "languages-table",
    [
      { key: "rank", label: "Rank" },
      { key: "language", label: "Language", isText: true, cell: ({ language }) => languageName(language) },
      { key: "avg_viewers", label: "Average viewers" },
      { key: "avg_streams", label: "Average streams" },
      { key: "viewers_per_stream", label: "Viewers per stream" },
      { key: "viewer_hours", label: "Viewer hours", show: compact },
      { key: "viewer_share", label: "Share", show: percent },
    ],
    rows(languages),
    { first: 10, caption: "Languages" },
  );
  if (spread.channels.rank.length) showSpread(spread, status.concentration_min_channels);
  showChannels(spread.channels, range);
  const least = byId("min-snapshots");
  byId("channels-form").addEventListener("submit", (event) => event.preventDefault());
  least.addEventListener("change", async () => {
    if (!least.reportValidity()) return;
    const parameters = { ...asked, min_snapshots: least.value };
    showChannels((await get("channels", parameters).catch(say))?.channels ?? spread.channels, range);
    document.querySelector("[data-name=channels]").dataset.query = `min_snapshots=${least.value}`;
    showDownloads(asked);
  });
  say();
}

showPage().catch(say);
