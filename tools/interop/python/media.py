"""Synthetic media: a moving pattern that compresses like a camera picture, and a tone that no silence detector takes for quiet."""

import asyncio
import math

import numpy
from livekit import rtc

PATTERN_FRAMES = 30
SAMPLE_RATE = 48_000
TONE_HZ = 440
AUDIO_FRAME_SAMPLES = SAMPLE_RATE // 100


def pattern(width, height, phase):
    """One I420 picture: a gradient that drifts, and a bright bar that runs across it."""
    x = numpy.arange(width, dtype=numpy.float32)[None, :] / width
    y = numpy.arange(height, dtype=numpy.float32)[:, None] / height
    luma = 110 + 70 * numpy.sin(2 * math.pi * (x * 2 + y + phase))
    bar = int(phase * width)
    luma[:, bar : bar + width // 16] = 230
    chroma_x, chroma_y = x[:, ::2], y[::2, :]
    u = 128 + 60 * numpy.sin(2 * math.pi * (chroma_x + phase)) * numpy.ones_like(chroma_y)
    v = 128 + 60 * numpy.cos(2 * math.pi * (chroma_y + phase)) * numpy.ones_like(chroma_x)
    planes = [numpy.ascontiguousarray(each, dtype=numpy.uint8).tobytes() for each in (luma, u, v)]
    return b"".join(planes)


class Camera:
    def __init__(self, width, height, fps):
        self.source = rtc.VideoSource(width, height)
        self._fps = fps
        pictures = (pattern(width, height, index / PATTERN_FRAMES) for index in range(PATTERN_FRAMES))
        self._frames = [rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, each) for each in pictures]
        self._task = None

    def start(self):
        self._task = asyncio.ensure_future(self._run())

    async def _run(self):
        loop = asyncio.get_running_loop()
        start = loop.time()
        index = 0
        while True:
            due = start + index / self._fps
            await asyncio.sleep(max(0, due - loop.time()))
            moment_us = int((loop.time() - start) * 1_000_000)
            self.source.capture_frame(self._frames[index % PATTERN_FRAMES], timestamp_us=moment_us)
            index += 1

    async def stop(self):
        await stop(self._task)


class Microphone:
    def __init__(self):
        self.source = rtc.AudioSource(SAMPLE_RATE, 1)
        self._task = None

    def start(self):
        self._task = asyncio.ensure_future(self._run())

    async def _run(self):
        time = numpy.arange(SAMPLE_RATE) / SAMPLE_RATE
        tone = (8000 * numpy.sin(2 * math.pi * TONE_HZ * time)).astype(numpy.int16)
        position = 0
        while True:
            chunk = tone[position : position + AUDIO_FRAME_SAMPLES]
            frame = rtc.AudioFrame(chunk.tobytes(), SAMPLE_RATE, 1, AUDIO_FRAME_SAMPLES)
            await self.source.capture_frame(frame)
            position = (position + AUDIO_FRAME_SAMPLES) % SAMPLE_RATE

    async def stop(self):
        await stop(self._task)


async def stop(task):
    if task is None:
        return
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
