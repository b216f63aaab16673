// Drives the demo page in Chromium for the Rust harness. Knows nothing about what is being tested.
//
// Each `open` makes a page of its own; `call` runs a method of its `window.demo`. The page's own event log arrives as
// events {event, page, …}; every signalling message, decoded by LiveKit's schema, is kept and given out by `signals`.

import { createServer } from "node:http";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { emit, load, serve } from "./lines.mjs";

const { chromium } = load("playwright-core");
const { SignalResponse, SignalRequest, TrackSource } = load("@livekit/protocol");
const { AccessToken } = load("livekit-server-sdk");

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--allow-loopback-in-peer-connection",
  "--disable-features=WebRtcHideLocalIpsWithMdns",
];
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript" };

const profile = await mkdtemp(join(tmpdir(), "millrace-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.MILLRACE_CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: FLAGS,
  handleSIGINT: false,
  handleSIGTERM: false,
  handleSIGHUP: false,
  viewport: { width: 1280, height: 800 },
});
const pages = new Map();
let files = null;

/** Serves the demo folder itself, for a server under test that has no demo page. */
async function serveFolder(folder) {
  if (files) return `http://127.0.0.1:${files.address().port}/demo`;
  files = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://x").pathname).replace(/^\/demo\/?/, "") || "index.html";
    try {
      const body = await readFile(join(folder, path));
      response.setHeader("content-type", TYPES[path.slice(path.lastIndexOf("."))] ?? "text/plain");
      response.end(body);
    } catch {
      response.writeHead(404).end("no such file");
    }
  });
  await new Promise((resolve) => files.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${files.address().port}/demo`;
}

function record(page, socket, direction, payload) {
  if (typeof payload === "string") return;
  const schema = direction === "in" ? SignalResponse : SignalRequest;
  const { message } = schema.fromBinary(new Uint8Array(payload));
  const signal = { at: Date.now(), socket, direction, kind: message.case ?? "unknown", message: message.value };
  page.signals.push(signal);
  if (direction === "in" && !page.answered.has(socket)) {
    page.answered.add(socket);
    emit("signal_first", { page: page.id, socket, kind: signal.kind });
  }
}

function watchSockets(page) {
  let sockets = 0;
  page.tab.on("websocket", (socket) => {
    const number = sockets++;
    emit("socket_open", { page: page.id, socket: number, path: new URL(socket.url()).pathname });
    socket.on("framereceived", ({ payload }) => record(page, number, "in", payload));
    socket.on("framesent", ({ payload }) => record(page, number, "out", payload));
    socket.on("close", () => emit("socket_closed", { page: page.id, socket: number }));
  });
}

async function open({ page: id, demoUrl, folder }) {
  const tab = await browser.newPage();
  const page = { id, tab, signals: [], answered: new Set(), console: [] };
  pages.set(id, page);
  watchSockets(page);
  tab.on("console", (message) => page.console.push(`${message.type()}: ${message.text()}`));
  tab.on("pageerror", (error) => emit("page_error", { page: id, message: error.message }));
  tab.on("crash", () => emit("page_crashed", { page: id }));
  await tab.exposeBinding("millraceEvent", (source, entry) => emit(entry.event, { ...entry, page: id }));
  await tab.goto(folder ? await serveFolder(folder) : demoUrl, { waitUntil: "load" });
  await tab.waitForFunction(() => window.demo);
  await tab.evaluate(() => window.demo.subscribe((entry) => window.millraceEvent(entry)));
  return { version: browser.browser()?.version() ?? null };
}

function pageOf({ page }) {
  const found = pages.get(page);
  if (!found) throw new Error(`no page ${page}`);
  return found;
}

serve(
  {
    open,
    call: ({ page, method, arguments: given = [] }) =>
      pageOf({ page }).tab.evaluate(([name, list]) => window.demo[name](...list), [method, given]),
    evaluate: ({ page, script }) => pageOf({ page }).tab.evaluate(script),
    fill: ({ page, selector, value }) => pageOf({ page }).tab.fill(selector, value),
    select: ({ page, selector, value }) => pageOf({ page }).tab.selectOption(selector, value),
    click: ({ page, selector }) => pageOf({ page }).tab.click(selector),
    reload: async ({ page, query }) => {
      const { tab } = pageOf({ page });
      await tab.goto(`${tab.url().split("?")[0]}?${query}`, { waitUntil: "load" });
      await tab.waitForFunction(() => window.demo);
    },
    text: ({ page, selector }) => pageOf({ page }).tab.textContent(selector),
    signals: ({ page, direction, kind, since = 0 }) =>
      pageOf({ page }).signals.filter(
        (each) => each.at >= since && (!direction || each.direction === direction) && (!kind || each.kind === kind),
      ),
    console: ({ page }) => pageOf({ page }).console,
    offline: ({ offline }) => browser.setOffline(offline),
    screenshot: ({ page, path, width, height }) =>
      (width ? pageOf({ page }).tab.setViewportSize({ width, height }) : Promise.resolve()).then(() =>
        pageOf({ page }).tab.screenshot({ path }).then(() => null),
      ),
    close: async ({ page }) => {
      await pageOf({ page }).tab.close();
      pages.delete(page);
    },
    token: async ({ key, secret, identity, name, ttlSeconds = 3600, grant, ...claims }) => {
      const token = new AccessToken(key, secret, { identity, name, ttl: ttlSeconds, ...claims });
      const canPublishSources = grant.canPublishSources?.map((name) => TrackSource[name.toUpperCase()]);
      token.addGrant(canPublishSources ? { ...grant, canPublishSources } : grant);
      return token.toJwt();
    },
  },
  async () => {
    await browser.close().catch(() => {});
    files?.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  },
);
