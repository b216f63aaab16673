// Calls RoomService through livekit-server-sdk for the Rust harness: `service` {method, request: positional arguments}.

import { load, serve } from "../browser/lines.mjs";

const { RoomServiceClient } = load("livekit-server-sdk");
const encoder = new TextEncoder();

/** The SDK wants bytes where JSON has text: the payload of sendData. */
const prepare = (method, given) => (method === "sendData" ? [given[0], encoder.encode(given[1]), ...given.slice(2)] : given);

const plain = (answer) => {
  if (Array.isArray(answer)) return answer.map(plain);
  return answer && typeof answer.toJson === "function" ? answer.toJson({ emitDefaultValues: true }) : (answer ?? null);
};

serve(
  {
    service: async ({ url, key, secret, method, request }) => {
      const client = new RoomServiceClient(url, key, secret);
      try {
        return { ok: plain(await client[method](...prepare(method, request))) };
      } catch (error) {
        if (error.status === undefined) throw error;
        return { error: { code: error.code ?? "", status: error.status, message: error.message } };
      }
    },
  },
  async () => {},
);
