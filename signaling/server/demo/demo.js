// The page: lobby, tiles, chat. It shows what a Session does and tells it what a person wants; it holds no call state of its own.

import { Session } from "./session.js";

const STATS_EVERY_MS = 1000;
const EVENTS_SHOWN = 200;

/** Smaller tiles would hide the picture behind its numbers; the grid scrolls instead. */
const TILE_PIXELS_MIN = 340;

const $ = (id) => document.getElementById(id);
const session = new Session();
const tiles = new Map();

const query = new URLSearchParams(location.search);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- Joining -----------------------------------------------------------------------------------------------------

const defaultUrl = () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;

/** The token of the page's address, or a fresh one from the node (development mode only). */
async function credentials(room, identity) {
  const token = query.get("token");
  if (token) return { token, url: query.get("url") ?? defaultUrl() };
  const answer = await fetch(`/demo/token?${new URLSearchParams({ room, identity })}`);
  if (!answer.ok) {
    throw new Error(`This node gives no tokens here (${answer.status} ${answer.statusText}). Add the parameter token=… to the address.`);
  }
  const { token: fresh, url } = await answer.json();
  return { token: fresh, url: url ?? defaultUrl() };
}

function explain(error) {
  const text = error?.message || String(error);
  if (error?.name === "NotAllowedError") return "The browser refused the camera or microphone. Allow them and join again.";
  if (error?.name === "NotFoundError") return "No camera or microphone found. Untick them to join without.";
  if (error?.name === "NotReadableError") return "The camera or microphone is in use by another program.";
  return text;
}

/** Joins as the lobby's form says; camera and microphone failures leave one in the room with a message. */
async function joinFromForm(form) {
  const { token, url } = await credentials(form.get("room"), form.get("identity"));
  await session.join({ url, token, singlePeerConnection: form.get("layout") === "single" });
  const [width, height, fps] = form.get("size").split("x").map(Number);
  const wanted = [];
  if (form.has("audio")) wanted.push(session.publishAudio());
  if (form.has("video")) {
    const maxBitrate = width > 640 ? 2_500_000 : 800_000;
    const codec = form.get("codec");
    const simulcast = form.has("simulcast");
    wanted.push(session.publishVideo({ codec, simulcast, width, height, fps, maxBitrate, scalability: simulcast ? undefined : "L1T1" }));
  }
  for (const outcome of await Promise.allSettled(wanted)) {
    if (outcome.status === "rejected") showBanner(explain(outcome.reason));
  }
}

$("lobby").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  const problem = $("lobby-problem");
  button.disabled = true;
  button.textContent = "Joining…";
  problem.hidden = true;
  try {
    await joinFromForm(new FormData(event.target));
  } catch (error) {
    problem.textContent = explain(error);
    problem.hidden = false;
  } finally {
    button.disabled = false;
    button.textContent = "Join";
  }
});

function showBanner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

// --- Tiles -------------------------------------------------------------------------------------------------------

function tileOf(participant) {
  let tile = tiles.get(participant.identity);
  if (tile) return tile;
  const root = $("tile").content.firstElementChild.cloneNode(true);
  root.querySelector(".initial").textContent = participant.identity.slice(0, 1);
  tile = { root, identity: participant.identity, media: new Map(), videoSid: null };
  root.querySelector(".quality").addEventListener("click", (event) => {
    const quality = event.target.dataset.quality;
    if (quality && tile.videoSid) session.setQuality(tile.videoSid, quality);
  });
  tiles.set(participant.identity, tile);
  $("grid").append(root);
  return tile;
}

function markQuality(sid, quality) {
  for (const tile of tiles.values()) {
    if (tile.videoSid !== sid) continue;
    for (const button of tile.root.querySelectorAll("[data-quality]")) {
      button.setAttribute("aria-pressed", String(button.dataset.quality === quality));
    }
  }
}

function attach(tile, publication, isLocal) {
  const { track, trackSid: sid } = publication;
  if (!track || tile.media.get(sid)?.track === track) return;
  detach(tile, sid);
  if (track.kind === "audio" && isLocal) return;
  const media = track.attach();
  media.playsInline = true;
  tile.media.set(sid, { track, media });
  if (track.kind === "video") {
    tile.videoSid = sid;
    tile.root.querySelector(".initial").after(media);
    tile.root.querySelector(".quality").hidden = isLocal;
    if (isLocal) tile.root.classList.add("mirrored");
    else session.watchFrames(sid, media);
  } else {
    tile.root.append(media);
  }
}

function detach(tile, sid) {
  const held = tile.media.get(sid);
  if (!held) return;
  held.track.detach(held.media);
  held.media.remove();
  tile.media.delete(sid);
  if (tile.videoSid === sid) {
    tile.videoSid = null;
    tile.root.querySelector(".quality").hidden = true;
    tile.root.querySelector(".numbers").replaceChildren();
  }
}

function renderTile(participant) {
  const tile = tileOf(participant);
  const publications = participant.getTrackPublications();
  const present = new Set();
  for (const publication of publications) {
    if (!publication.track) continue;
    present.add(publication.trackSid);
    attach(tile, publication, participant.isLocal);
  }
  for (const sid of [...tile.media.keys()]) if (!present.has(sid)) detach(tile, sid);
  const microphone = publications.find((each) => each.kind === "audio");
  const camera = publications.find((each) => each.kind === "video");
  tile.root.querySelector(".who").textContent = (participant.name || participant.identity) + (participant.isLocal ? " (you)" : "");
  tile.root.querySelector(".muted").toggleAttribute("hidden", Boolean(microphone && !microphone.isMuted));
  tile.root.classList.toggle("speaking", participant.isSpeaking);
  const video = tile.media.get(tile.videoSid)?.media;
  if (video) video.hidden = Boolean(camera?.isMuted);
}

function arrange() {
  const count = Math.max(1, tiles.size);
  const grid = $("grid");
  const { clientWidth: width, clientHeight: height } = grid;
  let best = { columns: 1, tile: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const tile = Math.min((width - 32) / columns - 13, (((height - 32) / rows - 13) * 16) / 9);
    if (tile > best.tile) best = { columns, tile };
  }
  const smallest = Math.min(TILE_PIXELS_MIN, width - 32);
  if (best.tile < smallest) best = { columns: Math.max(1, Math.floor((width - 32) / (smallest + 13))), tile: smallest };
  grid.style.setProperty("--columns", best.columns);
  grid.style.setProperty("--tile", `${Math.floor(best.tile)}px`);
}

function render() {
  const room = session.room;
  document.body.dataset.state = room ? "room" : "lobby";
  const everyone = room ? [room.localParticipant, ...room.remoteParticipants.values()] : [];
  const identities = new Set(everyone.map((each) => each.identity));
  for (const [identity, tile] of tiles) {
    if (identities.has(identity)) continue;
    for (const sid of [...tile.media.keys()]) detach(tile, sid);
    tile.root.remove();
    tiles.delete(identity);
  }
  for (const participant of everyone) renderTile(participant);
  if (!room) return;
  arrange();
  $("room-name").textContent = room.name;
  const tones = { connected: "good", disconnected: "bad" };
  $("state").textContent = room.state;
  $("state").dataset.tone = tones[room.state] ?? "warn";
  renderButtons(room);
}

function renderButtons(room) {
  for (const [id, kind] of [["toggle-mic", "audio"], ["toggle-cam", "video"]]) {
    const publication = room.localParticipant.getTrackPublications().find((each) => each.kind === kind);
    $(id).setAttribute("aria-pressed", String(Boolean(publication && !publication.isMuted)));
  }
}

// --- Numbers -----------------------------------------------------------------------------------------------------

function bitrate(bitsPerSecond) {
  return bitsPerSecond >= 1e6 ? `${(bitsPerSecond / 1e6).toFixed(2)} Mbit/s` : `${Math.round(bitsPerSecond / 1000)} kbit/s`;
}

const milliseconds = (value) => (value === null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

function fill(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: value })]));
}

function receivedRows(numbers) {
  const lost = numbers.packetsLost + numbers.packetsReceived;
  return [
    ["codec", numbers.codec.toUpperCase() || "–"],
    ["layer", `${numbers.width} × ${numbers.height}`],
    ["rate", bitrate(numbers.bitsPerSecond)],
    ["frames", `${Math.round(numbers.framesPerSecond)} fps`],
    ["rtt", milliseconds(numbers.roundTripMs)],
    ["lost", lost > 0 ? `${((100 * numbers.packetsLost) / lost).toFixed(2)} %` : "–"],
  ];
}

function publishedRows(numbers) {
  const layers = numbers.layers.filter((each) => each.active && each.framesPerSecond > 0);
  return [
    ["codec", numbers.codec.toUpperCase() || "–"],
    ...layers.map((each) => [each.rid || "sent", `${each.width} × ${each.height} ${Math.round(each.framesPerSecond)} fps ${bitrate(each.bitsPerSecond)}`]),
    ["rtt", milliseconds(numbers.roundTripMs)],
  ];
}

async function refreshNumbers() {
  const room = session.room;
  if (!room) return;
  const stats = await session.stats();
  if (session.room !== room) return;
  for (const numbers of stats.received) {
    const tile = tiles.get(numbers.identity);
    if (tile && tile.videoSid === numbers.sid) fill(tile.root.querySelector(".numbers"), receivedRows(numbers));
  }
  const own = tiles.get(room.localParticipant.identity);
  const video = stats.published.find((each) => each.kind === "video");
  if (own && video) fill(own.root.querySelector(".numbers"), publishedRows(video));
  const up = stats.published.reduce((sum, each) => sum + each.bitsPerSecond, 0);
  const down = stats.received.reduce((sum, each) => sum + each.bitsPerSecond, 0);
  const transport = stats.transports.find((each) => each.dtlsState === "connected");
  const layout = stats.transports.length > 1 ? "two PCs" : "one PC";
  const cipher = transport?.srtpCipher ? ` · ${transport.srtpCipher}` : "";
  $("facts").textContent = `${layout}${cipher} · ↑ ${bitrate(up)} · ↓ ${bitrate(down)}`;
}

async function refreshForever() {
  for (;;) {
    await refreshNumbers().catch((error) => console.warn("statistics", error));
    await new Promise((resolve) => setTimeout(resolve, STATS_EVERY_MS));
  }
}

// --- Chat, events, buttons ---------------------------------------------------------------------------------------

function addMessage(who, text, own = false) {
  const line = element("li", { className: own ? "own" : "" }, element("b", { textContent: who }), text);
  $("chat").append(line);
  line.scrollIntoView({ block: "nearest" });
}

function addEvent({ sequence, at, event, ...details }) {
  const time = new Date(at).toLocaleTimeString([], { hour12: false });
  const about = Object.entries(details).filter(([, value]) => value !== undefined && typeof value !== "object");
  const line = element("li", {}, `${time} `, element("b", { textContent: event }), ` ${about.map(([name, value]) => `${name}=${value}`).join(" ")}`);
  $("events").append(line);
  while ($("events").children.length > EVENTS_SHOWN) $("events").firstChild.remove();
}

session.subscribe((record) => {
  addEvent(record);
  if (record.event === "data") addMessage(record.identity ?? "server", record.text);
  if (record.event === "quality_asked") markQuality(record.sid, record.quality);
  if (record.event === "joined" || record.event === "reconnected") showBanner("");
  if (record.event === "signal_reconnecting" || record.event === "reconnecting") showBanner("The connection to the node was lost; resuming…");
  if (record.event === "disconnected" && session.room) showBanner("The node ended this session. Leave and join again.");
  if (record.event === "subscription_failed") showBanner(`A track of ${record.identity} cannot be received here.`);
  render();
});

$("chat-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = event.target.elements.text;
  const text = input.value.trim();
  if (!text) return;
  try {
    await session.sendData(text);
    addMessage("you", text, true);
    input.value = "";
  } catch (error) {
    showBanner(`Not sent: ${explain(error)}`);
  }
});

async function toggle(kind) {
  const publication = session.room.localParticipant.getTrackPublications().find((each) => each.kind === kind);
  if (publication) await session.setMuted(publication.trackSid, !publication.isMuted);
  else await (kind === "audio" ? session.publishAudio() : session.publishVideo());
  render();
}

for (const [id, kind] of [["toggle-mic", "audio"], ["toggle-cam", "video"]]) {
  $(id).addEventListener("click", () => toggle(kind).catch((error) => showBanner(explain(error))));
}
$("leave").addEventListener("click", async () => {
  await session.leave();
  $("chat").replaceChildren();
  render();
});
$("toggle-side").addEventListener("click", () => {
  document.querySelector(".stage").classList.toggle("wide");
  arrange();
});
for (const button of document.querySelectorAll("[data-tab]")) {
  button.addEventListener("click", () => {
    const tab = button.dataset.tab;
    for (const each of document.querySelectorAll("[data-tab]")) each.setAttribute("aria-pressed", String(each === button));
    $("chat").hidden = $("chat-form").hidden = tab !== "chat";
    $("events").hidden = tab !== "events";
  });
}

const lobby = $("lobby").elements;
lobby.room.value = query.get("room") ?? "demo";
lobby.identity.value = query.get("identity") ?? `guest-${Math.random().toString(36).slice(2, 6)}`;
if (query.has("token")) lobby.room.closest(".pair").hidden = true;
new ResizeObserver(() => session.room && arrange()).observe($("grid"));
addEventListener("pagehide", () => session.room?.disconnect(true));
window.demo = session;
render();
refreshForever();
