// JSON lines between the Rust harness and a driver: requests in, answers and unsolicited events out.
// Request {"id","command","arguments"} → {"id","result"} or {"id","error"}; event {"event",…}. Standard output carries nothing else.

import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Loads an npm package from the folder that `cargo xtask` installed, wherever the sources lie. */
export const load = createRequire(join(process.env.MILLRACE_INTEROP_DIR, "package.json"));

export function send(message) {
  process.stdout.write(JSON.stringify(message, (key, value) => (typeof value === "bigint" ? Number(value) : value)) + "\n");
}

export function emit(event, details = {}) {
  send({ event, at: Date.now(), ...details });
}

/** Serves `commands` until standard input ends, then calls `close`. Commands run side by side. */
export function serve(commands, close) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const { id, command, arguments: given } = JSON.parse(line);
    try {
      const run = commands[command];
      if (!run) throw new Error(`unknown command ${command}`);
      send({ id, result: (await run(given ?? {})) ?? null });
    } catch (error) {
      send({ id, error: error?.message ?? String(error), details: { name: error?.name, code: error?.code, status: error?.status } });
    }
  });
  const end = () => close().finally(() => process.exit(0));
  lines.on("close", end);
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, end);
  emit("hello");
}
