"""Drives LiveKit's Python SDK for the Rust harness. Knows nothing about what is being tested.

Speaks JSON lines: request {"id","command","arguments"}, answer {"id","result"} or {"id","error"}, event {"event",...}.
`open` makes a client (one Room each); `call` runs one of its methods, named as in the demo page's Session where both have it.
`service` calls RoomService through livekit-api, `token` signs tokens with it.
"""

import asyncio
import datetime
import json
import logging
import os
import re
import sys
import time

import jwt
from google.protobuf import json_format
from livekit import api, rtc

from media import Microphone, Camera
from statistics_of import describe_published, describe_received, describe_transports

CODECS = {
    "vp8": rtc.VideoCodec.VP8,
    "h264": rtc.VideoCodec.H264,
    "vp9": rtc.VideoCodec.VP9,
    "av1": rtc.VideoCodec.AV1,
}
QUALITIES = {"LOW": 0, "MEDIUM": 1, "HIGH": 2}
KINDS = {rtc.TrackKind.KIND_AUDIO: "audio", rtc.TrackKind.KIND_VIDEO: "video"}


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def now_ms():
    return int(time.time() * 1000)


def emit(event, **details):
    send({"event": event, "at": now_ms(), **details})


def describe_publication(publication):
    return {
        "sid": publication.sid,
        "kind": KINDS.get(publication.kind, "unknown"),
        "muted": publication.muted,
        "mime": publication.mime_type,
        "width": publication.width,
        "height": publication.height,
        "simulcasted": publication.simulcasted,
        "subscribed": getattr(publication, "subscribed", True),
    }


def describe_participant(participant, is_local):
    permissions = participant.permissions
    return {
        "sid": participant.sid,
        "identity": participant.identity,
        "name": participant.name,
        "metadata": participant.metadata,
        "attributes": dict(participant.attributes),
        "permissions": json_format.MessageToDict(permissions) if permissions is not None else None,
        "isLocal": is_local,
        "tracks": [describe_publication(each) for each in participant.track_publications.values()],
    }


class Client:
    """One participant."""

    def __init__(self, name):
        self.name = name
        self.room = rtc.Room()
        self.sources = {}
        self.shown = {}
        self.watchers = {}
        self._listen()

    def _emit(self, event, **details):
        emit(event, page=self.name, **details)

    def _listen(self):
        def person(participant):
            return {"identity": participant.identity, "sid": participant.sid}

        def track(publication, participant):
            kind = KINDS.get(publication.kind, "unknown")
            return {"sid": publication.sid, "kind": kind, "identity": participant.identity}

        table = {
            "participant_connected": person,
            "participant_disconnected": person,
            "participant_metadata_changed": lambda p, old, new: {**person(p), "metadata": new},
            "participant_name_changed": lambda p, old, new: {**person(p), "name": new},
            "participant_attributes_changed": lambda changed, p: {**person(p), "changed": dict(changed)},
            "participant_permissions_changed": lambda p, *_: person(p) if p else {},
            "room_metadata_changed": lambda old, new: {"metadata": new},
            "track_published": track,
            "track_unpublished": track,
            "track_subscribed": lambda t, publication, p: track(publication, p),
            "track_unsubscribed": lambda t, publication, p: track(publication, p),
            "track_subscription_failed": lambda p, sid, error: {"sid": sid, "message": str(error)},
            "track_muted": lambda p, publication: track(publication, p),
            "track_unmuted": lambda p, publication: track(publication, p),
            "local_track_published": lambda publication, t: {"sid": publication.sid},
            "local_track_unpublished": lambda publication: {"sid": publication.sid},
            "local_track_republished": lambda publication, previous: {"sid": publication.sid, "previous": previous},
            "active_speakers_changed": lambda speakers: {"identities": [each.identity for each in speakers]},
            "connection_state_changed": lambda state: {"state": rtc.ConnectionState.Name(state)},
            "reconnecting": lambda: {},
            "reconnected": lambda: {},
            "disconnected": lambda reason: {"reason": str(reason)},
            "token_refreshed": lambda: {},
            "data_received": lambda packet: {
                "text": bytes(packet.data).decode("utf-8", "replace"),
                "identity": packet.participant.identity if packet.participant else None,
                "reliable": packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
                "topic": packet.topic,
            },
        }
        names = {
            "data_received": "data",
            "participant_metadata_changed": "metadata",
            "participant_name_changed": "name",
            "participant_attributes_changed": "attributes",
            "participant_permissions_changed": "permissions",
            "room_metadata_changed": "room_metadata",
            "active_speakers_changed": "speakers",
            "connection_state_changed": "connection_state",
            "track_subscription_failed": "subscription_failed",
        }
        for event, describe in table.items():
            name = names.get(event, event)
            self.room.on(event, lambda *a, n=name, d=describe: self._emit(n, **d(*a)))
        self.room.on("track_subscribed", self._watch)
        self.room.on("track_unsubscribed", lambda t, publication, p: self._unwatch(publication.sid))

    def _watch(self, track, publication, participant):
        if publication.kind == rtc.TrackKind.KIND_VIDEO:
            self._unwatch(publication.sid)
            self.watchers[publication.sid] = asyncio.ensure_future(self._count_frames(track, publication.sid))

    def _unwatch(self, sid):
        task = self.watchers.pop(sid, None)
        if task:
            task.cancel()

    async def _count_frames(self, track, sid):
        stream = rtc.VideoStream(track)
        shown = self.shown[sid] = {"count": 0, "gapMsMax": 0.0, "firstAt": 0, "lastAt": 0.0, "width": 0, "height": 0}
        try:
            async for event in stream:
                moment = time.monotonic() * 1000
                size = (event.frame.width, event.frame.height)
                if shown["count"] == 0:
                    shown["firstAt"] = now_ms()
                    self._emit("first_frame", sid=sid, width=size[0], height=size[1])
                else:
                    shown["gapMsMax"] = max(shown["gapMsMax"], moment - shown["lastAt"])
                if size != (shown["width"], shown["height"]):
                    shown["width"], shown["height"] = size
                    self._emit("resolution", sid=sid, width=size[0], height=size[1])
                shown["count"] += 1
                shown["lastAt"] = moment
        finally:
            await stream.aclose()

    async def join(self, url, token, singlePeerConnection=True, autoSubscribe=True, dynacast=False):
        started = time.monotonic()
        options = rtc.RoomOptions(
            auto_subscribe=autoSubscribe, dynacast=dynacast, single_peer_connection=singlePeerConnection
        )
        self._emit("joining")
        await self.room.connect(url, token, options)
        me = self.room.local_participant
        connected_ms = (time.monotonic() - started) * 1000
        self._emit("joined", sid=me.sid, connectedMs=connected_ms)
        return {"sid": me.sid, "identity": me.identity, "room": self.room.name, "connectedMs": connected_ms}

    async def leave(self):
        for sid in list(self.watchers):
            self._unwatch(sid)
        await self._stop_sources()
        await self.room.disconnect()

    async def _stop_sources(self):
        sources, self.sources = self.sources, {}
        for source in sources.values():
            await source.stop()

    async def publishVideo(
        self, codec="vp8", simulcast=False, width=640, height=360, fps=15, maxBitrate=800_000, scalability=""
    ):
        camera = Camera(width, height, fps)
        track = rtc.LocalVideoTrack.create_video_track("camera", camera.source)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=CODECS[codec],
            simulcast=simulcast,
            video_encoding=rtc.VideoEncoding(max_framerate=fps, max_bitrate=maxBitrate),
        )
        if scalability:
            options.scalability_mode = scalability
        return await self._publish(camera, track, options, "video")

    async def publishAudio(self, red=True, dtx=True):
        microphone = Microphone()
        track = rtc.LocalAudioTrack.create_audio_track("microphone", microphone.source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, red=red, dtx=dtx)
        return await self._publish(microphone, track, options, "audio")

    async def _publish(self, source, track, options, kind):
        source.start()
        try:
            publication = await self.room.local_participant.publish_track(track, options)
        except BaseException:
            await source.stop()
            raise
        self.sources[publication.sid] = source
        return {"sid": publication.sid, "kind": kind, "mime": publication.mime_type}

    async def unpublish(self, sid):
        await self.room.local_participant.unpublish_track(sid)
        source = self.sources.pop(sid, None)
        if source:
            await source.stop()

    async def setMuted(self, sid, muted):
        track = self.room.local_participant.track_publications[sid].track
        track.mute() if muted else track.unmute()

    def _remote(self, sid):
        for participant in self.room.remote_participants.values():
            if sid in participant.track_publications:
                return participant.track_publications[sid]
        raise KeyError(f"no remote track {sid}")

    async def setQuality(self, sid, quality):
        self._remote(sid).set_video_quality(QUALITIES[quality])

    async def setSubscribed(self, sid, subscribed):
        self._remote(sid).set_subscribed(subscribed)

    async def sendData(self, text, reliable=True, topic="", destinations=()):
        await self.room.local_participant.publish_data(
            text, reliable=reliable, topic=topic or "", destination_identities=list(destinations)
        )

    async def setMetadata(self, metadata):
        await self.room.local_participant.set_metadata(metadata)

    async def setName(self, name):
        await self.room.local_participant.set_name(name)

    async def setAttributes(self, attributes):
        await self.room.local_participant.set_attributes(attributes)

    async def participants(self):
        room = self.room
        others = [describe_participant(each, False) for each in room.remote_participants.values()]
        return [describe_participant(room.local_participant, True), *others]

    async def stats(self):
        published, received = [], []
        for sid, publication in list(self.room.local_participant.track_publications.items()):
            if publication.track is not None:
                numbers = describe_published(await publication.track.get_stats())
                if numbers:
                    published.append({"sid": sid, **numbers})
        for participant in list(self.room.remote_participants.values()):
            for sid, publication in list(participant.track_publications.items()):
                if publication.track is None:
                    continue
                numbers = describe_received(await publication.track.get_stats())
                if numbers:
                    owner = {"sid": sid, "participantSid": participant.sid, "identity": participant.identity}
                    received.append({**owner, **numbers, "shown": self.shown.get(sid)})
        whole = await self.room.get_rtc_stats()
        sides = (("publisher", whole.publisher_stats), ("subscriber", whole.subscriber_stats))
        transports = [each for name, stats in sides for each in describe_transports(name, stats)]
        return {"published": published, "received": received, "transports": transports}

    async def resetGaps(self):
        for shown in self.shown.values():
            shown["gapMsMax"] = 0.0


CLIENTS = {}


async def open_client(page):
    CLIENTS[page] = Client(page)


async def call(page, method, arguments=()):
    if method.startswith("_"):
        raise ValueError(method)
    given = list(arguments)
    named = given.pop() if given and isinstance(given[-1], dict) and method not in ("setAttributes",) else {}
    return await getattr(CLIENTS[page], method)(*given, **named)


async def close_client(page):
    client = CLIENTS.pop(page)
    await client.leave()


REQUESTS = {
    "create_room": api.CreateRoomRequest,
    "list_rooms": api.ListRoomsRequest,
    "delete_room": api.DeleteRoomRequest,
    "update_room_metadata": api.UpdateRoomMetadataRequest,
    "list_participants": api.ListParticipantsRequest,
    "get_participant": api.RoomParticipantIdentity,
    "remove_participant": api.RoomParticipantIdentity,
    "mute_published_track": api.MuteRoomTrackRequest,
    "update_participant": api.UpdateParticipantRequest,
    "update_subscriptions": api.UpdateSubscriptionsRequest,
    "send_data": api.SendDataRequest,
}


async def service(url, key, secret, method, request):
    """Calls RoomService through livekit-api; a Twirp error comes back as {"error": {code, status, message}}."""
    message = json_format.ParseDict(request, REQUESTS[method]())
    async with api.LiveKitAPI(url, key, secret) as client:
        try:
            answer = await getattr(client.room, method)(message)
        except api.TwirpError as error:
            return {"error": {"code": error.code, "status": error.status, "message": error.message}}
    fields = json_format.MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {"ok": fields}


async def token(key, secret, identity, grant, name="", ttlSeconds=3600, metadata="", attributes=None):
    grants = api.VideoGrants(**{re.sub("[A-Z]", lambda m: "_" + m[0].lower(), k): v for k, v in grant.items()})
    made = api.AccessToken(key, secret).with_identity(identity).with_grants(grants)
    made = made.with_ttl(datetime.timedelta(seconds=ttlSeconds)).with_name(name)
    if metadata:
        made = made.with_metadata(metadata)
    if attributes:
        made = made.with_attributes(attributes)
    return made.to_jwt()


async def claims(secret, claims):
    """Signs what no SDK would sign."""
    return jwt.encode(claims, secret, algorithm="HS256")


COMMANDS = {"claims": claims, "open": open_client, "call": call, "close": close_client, "service": service, "token": token}


async def answer(line):
    request = json.loads(line)
    number = request["id"]
    try:
        run = COMMANDS[request["command"]]
        send({"id": number, "result": await run(**(request.get("arguments") or {}))})
    except Exception as error:  # every failure is an answer; the harness decides what it means
        send({"id": number, "error": f"{type(error).__name__}: {error or getattr(error, 'message', '')}"})


async def main():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    emit("hello")
    running = set()
    while line := await reader.readline():
        task = asyncio.ensure_future(answer(line))
        running.add(task)
        task.add_done_callback(running.discard)
    for page in list(CLIENTS):
        try:
            await asyncio.wait_for(close_client(page), 3)
        except Exception as error:
            print(f"closing {page}: {error}", file=sys.stderr)
    # The SDK's native threads may abort while the interpreter takes itself apart.
    sys.stdout.flush()
    os._exit(0)


asyncio.run(main())
