/** The page of one channel. */

import {
  HOUR, SERIES, WEEK, amountAxis, byId, channelName, chart, compact, compareUrl, count, day, dayBars, element, gameName, gameUrl,
  get, hour, languageName, numbers, plural, query, rows, say, showDownloads, showRange, table, timeAxis, utc, weekHour, weekMap,
} from "./common.js";

function showDays(daily) {
  const { day: days, avg_viewers, peak_viewers } = daily;
  const most = peak_viewers.indexOf(Math.max(...peak_viewers));
  const label =
    `Bars by day: average viewers while live, up to ${count(Math.max(...avg_viewers))}; points: the peaks, the highest ` +
    `${count(peak_viewers[most])} on ${day(days[most])}.`;
  dayBars("days-chart", label, daily);
}

function showHours(hours) {
  const values = Array(WEEK).fill(0);
  for (const { weekday, hour: at, nb_sessions } of hours) values[(weekday - 1) * 24 + at] = nb_sessions;
  const most = Math.max(...values);
  const sentence = most
    ? `On air most often on ${weekHour(values.indexOf(most))} (UTC): in ${plural(most, "session")}.`
    : "No session of a day that has ended.";
  byId("hours-summary").textContent = sentence;
  byId("hours-chart").hidden = !most;
  if (most) weekMap("hours-chart", `Heat map of weekdays and hours. ${sentence}`, values, "sessions");
}

/** A line for each session, as high as its viewers on average, with its peak in the middle. */
function showSessions(sessions, range) {
  byId("sessions-chart").hidden = !sessions.length;
  if (!sessions.length) return;
  const most = sessions.reduce((a, b) => (b.avg_viewers > a.avg_viewers ? b : a));
  const label =
    `Lines: ${plural(sessions.length, "session")} over time, at the height of their average viewers; the highest ` +
    `${count(most.avg_viewers)} from ${time(most.first_seen_at)}. Points: their peaks.`;
  const middle = ({ first_seen_at: from, last_seen_at: to }) => new Date((Number(utc(from)) + Number(utc(to))) / 2).toISOString();
  // A session of one snapshot is as long as its hour.
  const until = ({ first_seen_at: from, last_seen_at: to }) =>
    from === to ? new Date(Number(utc(from)) + HOUR).toISOString() : `${to}Z`;
  const words = (session) => [time(session.first_seen_at), time(session.last_seen_at), count(session.avg_viewers)];
  chart("sessions-chart", label, (theme, width) => ({
    traces: [
      {
        type: "scatter", mode: "lines", name: "average", line: { color: SERIES[0], width: 5 }, connectgaps: false,
        x: sessions.flatMap((one) => [`${one.first_seen_at}Z`, until(one), null]),
        y: sessions.flatMap((one) => [one.avg_viewers, one.avg_viewers, null]),
        customdata: sessions.flatMap((one) => [words(one), words(one), null]),
        hovertemplate: "%{customdata[2]} on average<br>%{customdata[0]} to %{customdata[1]}<extra></extra>",
      },
      {
        type: "scatter", mode: "markers", name: "peak", x: sessions.map(middle), y: sessions.map((one) => one.peak_viewers),
        marker: { color: SERIES[1], symbol: "diamond", size: 8 }, cliponaxis: false,
        hovertemplate: "%{y:,.0f} at the peak<extra></extra>",
      },
    ],
    layout: {
      xaxis: timeAxis(range, width),
      yaxis: amountAxis("viewers", sessions.map((one) => one.peak_viewers)),
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: theme.fg } },
      margin: { l: 8, r: 12, t: 36, b: 8 },
    },
  }));
}

const time = (text) => `${day(text.slice(0, 10))} ${hour(text)}`;

async function showPage() {
  say("Loading…");
  const status = await get("status");
  const channel = query.get("channel") ?? "";
  const range = { start: query.get("start") || status.start, end: query.get("end") || status.end };
  byId("channel").value = channel;
  byId("back").href = `./?${new URLSearchParams(range)}`;
  byId("compare").href = compareUrl("channels", [channel], range);
  if (status.last_day) showRange(status, range, "channel", [["channel", channel]]).catch(say);
  const asked = { ...range, channel };
  const { channel: found, ...about } = await get("channel", asked);
  const name = channelName({ ...about, user_id: channel });
  byId("name").replaceChildren(element("bdi", name));
  document.title = `${name} - Twitch`;
  // A login has no other characters; whatever else comes is no address.
  if (/^\w+$/.test(about.user_login ?? "")) byId("twitch").href += about.user_login;
  else byId("twitch").hidden = true;
  const [numbersOf] = rows(found);
  if (!numbersOf) {
    say(`${name} was not seen from ${range.start} to ${range.end}. There is data from ${status.first_day} to ${status.last_day}.`);
    return;
  }
  byId("content").hidden = false;
  showDownloads(asked);
  numbers("numbers", [
    ["Average viewers while live", count(numbersOf.avg_viewers)],
    ["Peak", count(numbersOf.peak_viewers)],
    ["Viewer hours", compact(numbersOf.viewer_hours)],
    ["Seen in snapshots", `${count(numbersOf.nb_observations)} of ${count(numbersOf.nb_snapshots)}`],
    ["Days on air", count(numbersOf.nb_days)],
    ["Language", about.channel_language === null ? "–" : languageName(about.channel_language)],
  ]);
  const parts = ["channel-days", "channel-hours", "channel-games", "sessions"];
  const [days, hours, games, { sessions }] = await Promise.all(parts.map((part) => get(part, asked)));
  showDays(days["channel-days"]);
  showHours(rows(hours["channel-hours"]));
  const link = (game) => element("a", element("bdi", gameName(game)), { href: gameUrl(game.game_key, range) });
  const showGames = (places) => {
    const placed = new Map(places.map((place) => [place.game_key, place]));
    const placeOf = ({ game_key: key }) => {
      const found = placed.get(key);
      if (!found) return "–";
      return `${count(found.place)} of ${count(found.nb_channels)}, by ${compact(found.viewer_hours)} viewer hours`;
    };
    table(
      "games-table",
      [
        { key: "rank", label: "Rank" },
        { key: "game_name", label: "Category", isText: true, cell: link },
        { key: "stream_hours", label: "Hours on air" },
        { key: "avg_viewers", label: "Average viewers" },
        { key: "viewer_hours", label: "Viewer hours", show: compact },
        { key: "place", label: "Place among its channels", cell: placeOf },
      ],
      rows(games["channel-games"]),
      { first: 10, caption: "Categories" },
    );
  };
  showGames([]);
  showSessions(rows(sessions), range);
  table(
    "sessions-table",
    [
      { key: "started_at", label: "Went live", isText: true, show: (text) => (text === null ? "–" : time(text)) },
      { key: "first_seen_at", label: "First seen", show: time },
      { key: "last_seen_at", label: "Last seen", show: time },
      { key: "stream_hours", label: "Hours on air" },
      { key: "avg_viewers", label: "Average viewers" },
      { key: "peak_viewers", label: "Peak" },
      { key: "viewer_hours", label: "Viewer hours", show: compact },
    ],
    rows(sessions),
    { first: 20, caption: "Sessions, the newest first" },
  );
  say();
  // It takes longest, and may be refused: all facts of the channel's categories are read.
  get("channel-places", asked).then((places) => showGames(rows(places["channel-places"]))).catch(say);
}

showPage().catch(say);
