"""Synthesized speech, and networks that listen to it chunk by chunk: the files of the wheel silero-vad."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from requant.ir.load import load
from requant.runtime.feeds import Feed, Run
from requant.runtime.session import runner

from .fetch import member

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Listener:
    """A voice-activity network, by its file in the wheel.

    ``layers`` counts its linear layers but for LSTMs; ``rates`` are those of the audio that it takes; ``loudness``
    names the layers that read the spectrum's magnitudes.
    """

    file: str
    layers: int
    rates: tuple[int, ...] = (16000,)
    loudness: tuple[str, ...] = ("*encoder/0/*",)

    def model(self) -> ir.Model:
        """Load the network."""
        return load(member("silero-vad", f"silero_vad/data/{self.file}"))


LISTENERS = {
    "two branches": Listener("silero_vad.onnx", 12, (16000, 8000)),
    "two branches, the cell unrolled": Listener(
        "silero_vad_op18_ifless.onnx", 16, (16000, 8000), ("node_conv1d_1", "node_conv1d_1_2")
    ),
    "opset 15": Listener("silero_vad_16k_op15.onnx", 6),
    "a sequence": Listener("silero_vad_16k_sequence.onnx", 6, loudness=("/encoder.0/*",)),
    "half the size": Listener("silero_vad_half.onnx", 6),
    "fixed shapes": Listener("silero_vad_openvino_16k.onnx", 6),
}


def speech(seed: int, seconds: float, rate: int) -> Samples:
    """Synthesize voiced syllables, chirps, hisses and pauses over noise."""
    rng, count = np.random.default_rng(seed), int(seconds * rate)
    audio = rng.standard_normal(count) * 3e-3
    start = 0
    while start < count:
        length = min(int(rng.uniform(0.1, 0.5) * rate), count - start)
        sound = _SOUNDS[rng.integers(len(_SOUNDS))](rng, np.arange(length) / rate)
        audio[start : start + length] += rng.uniform(0.1, 0.3) * np.sqrt(np.hanning(length)) * sound
        start += length
    return audio.astype(np.float32)


def _syllable(rng: np.random.Generator, time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up harmonics of a gliding pitch under three formants."""
    pitch = rng.uniform(90, 240) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(2, 5) * time))
    harmonics = np.arange(1, 16)[:, None]
    formants = rng.uniform([250, 800, 2000], [900, 2200, 3200])[:, None, None]
    gains = np.exp(-(((harmonics * pitch - formants) / (0.1 * formants + 60)) ** 2)).sum(axis=0) + 0.02
    phase = 2 * np.pi * np.cumsum(pitch) * (time[1] - time[0] if len(time) > 1 else 0)
    wave: NDArray[np.float64] = (gains * np.sin(harmonics * phase)).sum(axis=0)
    return wave / max(float(np.abs(wave).max(initial=0.0)), 1e-9)


def _chirp(rng: np.random.Generator, time: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sin(2 * np.pi * (rng.uniform(200, 800) * time + rng.uniform(0, 1500) * time**2)))


def _hiss(rng: np.random.Generator, time: NDArray[np.float64]) -> NDArray[np.float64]:
    return rng.standard_normal(len(time)) / 3


def _pause(rng: np.random.Generator, time: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.zeros(len(time))


_SOUNDS = (_syllable, _syllable, _chirp, _hiss, _pause)


def listen(
    run: Run, model: ir.Model, audio: Samples, rate: int
) -> Iterator[tuple[Feed, Sequence[NDArray[np.generic]]]]:
    """Run a network over ``audio``, with its state carried from chunk to chunk; yield what it takes and returns."""
    names = [value.name for value in model.graph.inputs]
    size, context = (512, 64) if rate == 16000 else (256, 32)
    padded = np.concatenate([np.zeros(context, np.float32), audio])
    chunks = [padded[start : start + context + size] for start in range(0, len(audio) - size + 1, size)]
    if "h" in names:
        state = np.zeros((1, 1, 128), np.float32)
        feed: Feed = {"input": np.stack(chunks), "h": state, "c": state}
        yield feed, run(feed)
        return
    state = np.zeros((2, 1, 128), np.float32)
    for chunk in chunks:
        feed = {"input": chunk[None], "state": state} | ({"sr": np.array(rate, np.int64)} if "sr" in names else {})
        outputs = run(feed)
        yield feed, outputs
        state = outputs[1].astype(np.float32)


def spoken(listener: Listener, seeds: Sequence[int], seconds: float) -> list[Feed]:
    """Return what the network takes over synthesized speech, in turns at each of its rates."""
    model = listener.model()
    run = runner(model, optimized=True)
    return [
        feed
        for seed in seeds
        for rate in listener.rates
        for feed, _ in listen(run, model, speech(seed, seconds, rate), rate)
    ]
