// One participant: joins, publishes, subscribes, counts. Everything the page can do, without the page;
// `window.demo` is an instance of it, so a test drives exactly what a person drives.

import {
  Room,
  RoomEvent,
  Track,
  VideoQuality,
  createLocalAudioTrack,
  createLocalVideoTrack,
} from "./livekit-client.esm.min.mjs";
import { Rates, inbound, outbound, transports } from "./stats.js";

const EVENTS_MAX = 2000;

export class Session {
  room = null;
  events = [];
  #listeners = new Set();
  #rates = new Rates();
  #frames = new Map();
  #sequence = 0;

  /** Calls `listener` with every event that is logged from now on. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  log(event, details = {}) {
    const record = { sequence: this.#sequence++, at: Date.now(), event, ...details };
    this.events.push(record);
    if (this.events.length > EVENTS_MAX) this.events.shift();
    for (const listener of this.#listeners) listener(record);
    return record;
  }

  /** Connects. `singlePeerConnection: false` asks for the layout with two peer connections. */
  async join({
    url,
    token,
    singlePeerConnection = true,
    autoSubscribe = true,
    adaptiveStream = false,
    dynacast = false,
    maxRetries = 1,
  }) {
    if (this.room) await this.leave();
    const room = new Room({ singlePeerConnection, adaptiveStream, dynacast });
    this.room = room;
    this.#listen(room);
    const started = performance.now();
    this.log("joining", { url, singlePeerConnection });
    try {
      await room.connect(url, token, { autoSubscribe, maxRetries });
    } catch (error) {
      if (this.room === room) this.room = null;
      this.log("join_failed", { message: error.message, reason: error.reasonName ?? error.name, status: error.status });
      throw error;
    }
    const connectedMs = performance.now() - started;
    this.log("joined", { connectedMs, sid: room.localParticipant.sid });
    return { sid: room.localParticipant.sid, identity: room.localParticipant.identity, room: room.name, connectedMs };
  }

  async leave() {
    const room = this.room;
    if (!room) return;
    await room.disconnect(true);
    this.room = null;
    this.#frames.clear();
  }

  /** Publishes the camera; `codec` is vp8, h264, vp9 or av1; `scalability` only means something for vp9 and av1. */
  async publishVideo({
    codec = "vp8",
    simulcast = false,
    width = 640,
    height = 360,
    fps = 15,
    maxBitrate = 800_000,
    scalability,
    backupCodec = false,
    backupCodecPolicy,
    stream,
  } = {}) {
    const track = await createLocalVideoTrack({ resolution: { width, height, frameRate: fps } });
    const svc = !simulcast && (codec === "vp9" || codec === "av1");
    const publication = await this.#local.publishTrack(track, {
      source: Track.Source.Camera,
      videoCodec: codec,
      simulcast,
      backupCodec,
      backupCodecPolicy,
      stream,
      scalabilityMode: svc ? (scalability ?? "L1T1") : undefined,
      videoEncoding: { maxBitrate, maxFramerate: fps },
    });
    return this.#published(publication);
  }

  /** Publishes the microphone. `red` and `dtx` are asked for by default, as the client library does. */
  async publishAudio({ red = true, dtx = true } = {}) {
    const track = await createLocalAudioTrack();
    const publication = await this.#local.publishTrack(track, { source: Track.Source.Microphone, red, dtx });
    return this.#published(publication);
  }

  async unpublish(sid) {
    const publication = this.#local.getTrackPublications().find((each) => each.trackSid === sid);
    if (!publication) throw new Error(`no own track ${sid}`);
    await this.#local.unpublishTrack(publication.track, true);
  }

  async setMuted(sid, muted) {
    const publication = this.#local.getTrackPublications().find((each) => each.trackSid === sid);
    if (!publication) throw new Error(`no own track ${sid}`);
    await (muted ? publication.mute() : publication.unmute());
  }

  /** `quality` is LOW, MEDIUM or HIGH. */
  setQuality(sid, quality) {
    const value = VideoQuality[quality];
    if (value === undefined) throw new Error(`quality is LOW, MEDIUM or HIGH, not ${quality}`);
    this.#remote(sid).setVideoQuality(value);
    this.log("quality_asked", { sid, quality });
  }

  setSubscribed(sid, subscribed) {
    this.#remote(sid).setSubscribed(subscribed);
  }

  setEnabled(sid, enabled) {
    this.#remote(sid).setEnabled(enabled);
  }

  async sendData(text, { reliable = true, topic, destinations } = {}) {
    await this.#local.publishData(new TextEncoder().encode(text), {
      reliable,
      topic,
      destinationIdentities: destinations,
    });
  }

  setMetadata(metadata) {
    return this.#local.setMetadata(metadata);
  }

  setName(name) {
    return this.#local.setName(name);
  }

  setAttributes(attributes) {
    return this.#local.setAttributes(attributes);
  }

  setSubscriptionPermissions(everyone, permissions = []) {
    this.#local.setTrackSubscriptionPermissions(everyone, permissions);
  }

  simulate(scenario) {
    return this.room.simulateScenario(scenario);
  }

  /** Everybody in the room, oneself first, as this client sees them. */
  participants() {
    if (!this.room) return [];
    const all = [this.room.localParticipant, ...this.room.remoteParticipants.values()];
    return all.map((participant) => describeParticipant(participant));
  }

  /** Counters and rates of every track that is sent or received now. */
  async stats() {
    const room = this.room;
    if (!room) return { published: [], received: [], transports: [] };
    const published = [];
    for (const publication of room.localParticipant.getTrackPublications()) {
      const report = await publication.track?.getRTCStatsReport();
      const numbers = report && outbound(report, this.#rates, publication.trackSid);
      if (numbers) published.push({ sid: publication.trackSid, source: publication.source, ...numbers });
    }
    const received = [];
    for (const participant of room.remoteParticipants.values()) {
      for (const publication of participant.getTrackPublications()) {
        const report = await publication.track?.getRTCStatsReport();
        const numbers = report && inbound(report, this.#rates, publication.trackSid);
        if (!numbers) continue;
        const { sid: participantSid, identity } = participant;
        const shown = this.#frames.get(publication.trackSid);
        received.push({ sid: publication.trackSid, participantSid, identity, ...numbers, shown: shown ? { ...shown } : null });
      }
    }
    return { published, received, transports: await this.#transports(room) };
  }

  /** Starts a new measurement of the longest time without a new picture on every received video. */
  resetGaps() {
    for (const frames of this.#frames.values()) frames.gapMsMax = 0;
  }

  async #transports(room) {
    const pcs = room.engine.pcManager;
    const found = [];
    for (const [name, pc] of [["publisher", pcs?.publisher], ["subscriber", pcs?.subscriber]]) {
      const report = await pc?.getStats();
      if (report) found.push(...transports(report).map((each) => ({ name, ...each })));
    }
    return found;
  }

  get #local() {
    if (!this.room) throw new Error("not in a room");
    return this.room.localParticipant;
  }

  #remote(sid) {
    for (const participant of this.room?.remoteParticipants.values() ?? []) {
      const publication = participant.getTrackPublications().find((each) => each.trackSid === sid);
      if (publication) return publication;
    }
    throw new Error(`no remote track ${sid}`);
  }

  #published(publication) {
    return { sid: publication.trackSid, kind: publication.kind, mime: publication.trackInfo?.mimeType ?? "" };
  }

  /** Counts the pictures that an element really shows, and the longest time between two of them. */
  watchFrames(sid, element) {
    const frames = { count: 0, gapMsMax: 0, firstAt: 0, lastAt: 0, width: 0, height: 0 };
    this.#frames.set(sid, frames);
    const onFrame = (now, metadata) => {
      if (this.#frames.get(sid) !== frames) return;
      if (frames.count === 0) {
        frames.firstAt = Date.now();
        this.log("first_frame", { sid, width: metadata.width, height: metadata.height });
      } else {
        frames.gapMsMax = Math.max(frames.gapMsMax, now - frames.lastAt);
      }
      if (frames.width !== metadata.width || frames.height !== metadata.height) {
        Object.assign(frames, { width: metadata.width, height: metadata.height });
        this.log("resolution", { sid, width: metadata.width, height: metadata.height });
      }
      frames.count += 1;
      frames.lastAt = now;
      element.requestVideoFrameCallback(onFrame);
    };
    element.requestVideoFrameCallback(onFrame);
  }

  #listen(room) {
    const track = (publication, participant) => ({
      sid: publication.trackSid,
      kind: publication.kind,
      source: publication.source,
      identity: participant?.identity,
    });
    const person = (participant) => ({ identity: participant.identity, sid: participant.sid });
    const table = {
      [RoomEvent.SignalConnected]: () => ["signal_connected"],
      [RoomEvent.SignalReconnecting]: () => ["signal_reconnecting"],
      [RoomEvent.Reconnecting]: () => ["reconnecting"],
      [RoomEvent.Reconnected]: () => ["reconnected"],
      [RoomEvent.ConnectionStateChanged]: (state) => ["connection_state", { state }],
      [RoomEvent.Disconnected]: (reason) => ["disconnected", { reason }],
      [RoomEvent.ParticipantConnected]: (p) => ["participant_connected", person(p)],
      [RoomEvent.ParticipantDisconnected]: (p) => ["participant_disconnected", person(p)],
      [RoomEvent.ParticipantMetadataChanged]: (old, p) => ["metadata", { identity: p.identity, old, metadata: p.metadata }],
      [RoomEvent.ParticipantNameChanged]: (name, p) => ["name", { identity: p.identity, name }],
      [RoomEvent.ParticipantAttributesChanged]: (changed, p) => ["attributes", { identity: p.identity, changed }],
      [RoomEvent.ParticipantPermissionsChanged]: (old, p) => ["permissions", { identity: p.identity, permissions: plain(p.permissions) }],
      [RoomEvent.RoomMetadataChanged]: (metadata) => ["room_metadata", { metadata }],
      [RoomEvent.TrackPublished]: (pub, p) => ["track_published", track(pub, p)],
      [RoomEvent.TrackUnpublished]: (pub, p) => ["track_unpublished", track(pub, p)],
      [RoomEvent.TrackSubscribed]: (t, pub, p) => ["track_subscribed", track(pub, p)],
      [RoomEvent.TrackUnsubscribed]: (t, pub, p) => ["track_unsubscribed", track(pub, p)],
      [RoomEvent.TrackSubscriptionFailed]: (sid, p) => ["subscription_failed", { sid, identity: p.identity }],
      [RoomEvent.TrackSubscriptionPermissionChanged]: (pub, status, p) => ["subscription_permission", { ...track(pub, p), status }],
      [RoomEvent.TrackMuted]: (pub, p) => ["track_muted", track(pub, p)],
      [RoomEvent.TrackUnmuted]: (pub, p) => ["track_unmuted", track(pub, p)],
      [RoomEvent.TrackStreamStateChanged]: (pub, state, p) => ["stream_state", { ...track(pub, p), state }],
      [RoomEvent.LocalTrackPublished]: (pub, p) => ["local_track_published", track(pub, p)],
      [RoomEvent.LocalTrackUnpublished]: (pub, p) => ["local_track_unpublished", track(pub, p)],
      [RoomEvent.LocalTrackSubscribed]: (pub, p) => ["local_track_subscribed", track(pub, p)],
      [RoomEvent.ActiveSpeakersChanged]: (speakers) => ["speakers", { identities: speakers.map((p) => p.identity) }],
      [RoomEvent.ConnectionQualityChanged]: (quality, p) => ["connection_quality", { identity: p.identity, quality }],
      [RoomEvent.MediaDevicesError]: (error) => ["devices_failed", { message: error.message }],
      [RoomEvent.DataReceived]: (payload, p, kind, topic) => [
        "data",
        { text: new TextDecoder().decode(payload), identity: p?.identity ?? null, reliable: kind === 0, topic },
      ],
    };
    for (const [name, describe] of Object.entries(table)) {
      room.on(name, (...details) => {
        if (this.room === room || name === RoomEvent.Disconnected) this.log(...describe(...details));
      });
    }
  }
}

const plain = (message) => (message ? JSON.parse(JSON.stringify(message, (key, value) => (typeof value === "bigint" ? Number(value) : value))) : null);

function describeParticipant(participant) {
  return {
    sid: participant.sid,
    identity: participant.identity,
    name: participant.name ?? "",
    metadata: participant.metadata ?? "",
    attributes: { ...participant.attributes },
    permissions: plain(participant.permissions),
    isLocal: participant.isLocal,
    isSpeaking: participant.isSpeaking,
    connectionQuality: participant.connectionQuality,
    tracks: participant.getTrackPublications().map((publication) => ({
      sid: publication.trackSid,
      kind: publication.kind,
      source: publication.source,
      muted: publication.isMuted,
      subscribed: publication.isSubscribed ?? true,
      allowed: publication.isDesired === undefined ? null : publication.permissionStatus,
      mime: publication.mimeType ?? publication.trackInfo?.mimeType ?? "",
      width: publication.dimensions?.width ?? 0,
      height: publication.dimensions?.height ?? 0,
      simulcasted: publication.simulcasted ?? false,
    })),
  };
}
