// Turns WebRTC statistics reports into the few numbers the page shows and the tests judge.
// Not a history: a rate is the difference to the sample before, kept by the caller's `Rates`.

/** Bits per second and frames per second from growing counters, per key. */
export class Rates {
  #last = new Map();

  /** `counter` grows with time; `at` is the sample's own time in milliseconds. */
  perSecond(key, counter, at) {
    const last = this.#last.get(key);
    this.#last.set(key, { counter, at });
    if (!last || at <= last.at || counter < last.counter) return 0;
    return ((counter - last.counter) * 1000) / (at - last.at);
  }
}

const byType = (report, type) => [...report.values()].filter((entry) => entry.type === type);

const codecName = (report, entry) => {
  const mime = report.get(entry.codecId)?.mimeType ?? "";
  return mime.split("/")[1]?.toLowerCase() ?? "";
};

const selectedPair = (report, entry) => {
  const transport = report.get(entry?.transportId);
  const pair = report.get(transport?.selectedCandidatePairId);
  return { transport, pair };
};

const roundTripMs = (report, entry) => {
  const seconds = selectedPair(report, entry).pair?.currentRoundTripTime;
  return seconds === undefined ? null : seconds * 1000;
};

/** One received track: counters as in getStats, plus codec, bitrate and round-trip time. */
export function inbound(report, rates, key) {
  const entry = byType(report, "inbound-rtp")[0];
  if (!entry) return null;
  return {
    ssrc: entry.ssrc,
    kind: entry.kind,
    codec: codecName(report, entry),
    width: entry.frameWidth ?? 0,
    height: entry.frameHeight ?? 0,
    framesPerSecond: entry.framesPerSecond ?? 0,
    framesDecoded: entry.framesDecoded ?? 0,
    framesReceived: entry.framesReceived ?? 0,
    framesDropped: entry.framesDropped ?? 0,
    keyFramesDecoded: entry.keyFramesDecoded ?? 0,
    freezeCount: entry.freezeCount ?? 0,
    freezesMs: (entry.totalFreezesDuration ?? 0) * 1000,
    packetsReceived: entry.packetsReceived ?? 0,
    packetsLost: entry.packetsLost ?? 0,
    packetsDiscarded: entry.packetsDiscarded ?? 0,
    retransmitted: entry.retransmittedPacketsReceived ?? 0,
    nackCount: entry.nackCount ?? 0,
    pliCount: entry.pliCount ?? 0,
    bytesReceived: entry.bytesReceived ?? 0,
    jitterMs: (entry.jitter ?? 0) * 1000,
    audioLevel: entry.audioLevel ?? 0,
    audioEnergy: entry.totalAudioEnergy ?? 0,
    samplesReceived: entry.totalSamplesReceived ?? 0,
    samplesConcealed: (entry.concealedSamples ?? 0) - (entry.silentConcealedSamples ?? 0),
    bitsPerSecond: rates.perSecond(`${key}/in`, (entry.bytesReceived ?? 0) * 8, entry.timestamp),
    roundTripMs: roundTripMs(report, entry),
  };
}

const layer = (report, rates, key, entry) => ({
  rid: entry.rid ?? "",
  ssrc: entry.ssrc,
  active: entry.active ?? true,
  width: entry.frameWidth ?? 0,
  height: entry.frameHeight ?? 0,
  framesPerSecond: entry.framesPerSecond ?? 0,
  framesEncoded: entry.framesEncoded ?? 0,
  framesSent: entry.framesSent ?? 0,
  keyFramesEncoded: entry.keyFramesEncoded ?? 0,
  packetsSent: entry.packetsSent ?? 0,
  retransmitted: entry.retransmittedPacketsSent ?? 0,
  nackCount: entry.nackCount ?? 0,
  pliCount: entry.pliCount ?? 0,
  bytesSent: entry.bytesSent ?? 0,
  targetBitsPerSecond: entry.targetBitrate ?? 0,
  scalability: entry.scalabilityMode ?? "",
  limitedBy: entry.qualityLimitationReason ?? "none",
  bitsPerSecond: rates.perSecond(`${key}/${entry.rid ?? ""}`, (entry.bytesSent ?? 0) * 8, entry.timestamp),
});

/** One sent track: its layers from the smallest to the largest, plus codec and round-trip time. */
export function outbound(report, rates, key) {
  const entries = byType(report, "outbound-rtp");
  if (entries.length === 0) return null;
  const layers = entries.map((entry) => layer(report, rates, key, entry));
  layers.sort((a, b) => "qhf".indexOf(a.rid) - "qhf".indexOf(b.rid));
  const remote = byType(report, "remote-inbound-rtp");
  return {
    kind: entries[0].kind,
    codec: codecName(report, entries[0]),
    layers,
    bitsPerSecond: layers.reduce((sum, each) => sum + each.bitsPerSecond, 0),
    packetsLost: remote.reduce((sum, each) => sum + (each.packetsLost ?? 0), 0),
    roundTripMs: roundTripMs(report, entries[0]),
  };
}

/** The transports of one peer connection: what tells a living DTLS session from a new one. */
export function transports(report) {
  return byType(report, "transport").map((entry) => {
    const pair = report.get(entry.selectedCandidatePairId);
    return {
      dtlsState: entry.dtlsState,
      dtlsRole: entry.dtlsRole,
      tlsVersion: entry.tlsVersion,
      srtpCipher: entry.srtpCipher,
      iceState: entry.iceState,
      iceUfrag: entry.iceLocalUsernameFragment,
      pairChanges: entry.selectedCandidatePairChanges,
      packetsReceived: entry.packetsReceived,
      remotePort: report.get(pair?.remoteCandidateId)?.port,
      roundTripMs: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      availableOutgoingBitsPerSecond: pair?.availableOutgoingBitrate ?? null,
    };
  });
}
