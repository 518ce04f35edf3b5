"""Networks that hear: synthesized speech, of other speakers and words in either split."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from models import fetch
from models.networks.network import Split, network
from models.speech import RATE, utterance
from models.subject import Feed, Predict, predictor

Spectrum = NDArray[np.float64]

_WAKE, _QUALITY = "openwakeword", "speechmos"


def dnsmos(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """9.01 seconds of waveform."""
    return {"input_1": utterance(rng, 9.01)[None]}


def aecmos(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """Far end, microphone and the canceller's output, as mel spectra in dB; the hidden state starts at 0."""
    far, near = utterance(rng, 4.0), utterance(rng, 4.0)
    echo = rng.uniform(0.05, 0.5) * np.roll(far, int(rng.integers(200, 3000)))
    signals = far, near + echo, near + rng.uniform(0, 0.3) * echo
    spectra = [_decibels(_spectra(one, 512, np.hanning(513)) ** 2 @ _mel(160, 513).T) for one in signals]
    return {"input": np.stack(spectra).astype(np.float32)[None], "h0": np.zeros((4, 1, 64), np.float32)}


def plcmos(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """Log power spectra of speech in which packets of 20 ms are lost, and one of its random raters."""
    speech = utterance(rng, 4.0).reshape(-1, RATE // 50)
    speech[rng.random(len(speech)) < rng.uniform(0, 0.2)] = 0
    power = _spectra(speech.ravel(), 512, np.hamming(513)[:-1]) ** 2
    features = np.log(np.maximum(power, power[power > 0].min() * np.exp(-12))) / 20
    return {
        "degraded_audio": features.astype(np.float32)[None, None],
        "rater_embed": rng.standard_normal((1, 64)).astype(np.float32),
    }


def swift_f0(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """Two seconds of waveform, and the range of pitch to look in."""
    pitch = {"fmin": np.array(46.875, np.float32), "fmax": np.array(2093.75, np.float32)}
    return {"audio": utterance(rng, 2.0)[None], **pitch}


def embedding(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A window (76, 32, 1) of the package's own mel spectra of 16-bit samples."""
    spectra = _mel_spectra()({"input": np.round(utterance(rng, 1.0)[None] * 32767)})[0].squeeze()
    return {"input_1": np.asarray(spectra, np.float32)[None, :76, :, None] / 10 + 2}


@cache
def _mel_spectra() -> Predict:
    return predictor(fetch.member(_WAKE, "openwakeword/resources/models/melspectrogram.onnx"))


def _spectra(speech: NDArray[np.float32], size: int, window: NDArray[np.float64]) -> Spectrum:
    """Magnitudes (frames, bins) of frames that overlap by half."""
    frames = np.lib.stride_tricks.sliding_window_view(speech, len(window))[:: size // 2]
    return np.abs(np.fft.rfft(frames * window))


@cache
def _mel(bands: int, size: int) -> Spectrum:
    """Triangles (bands, bins) at equal distances on the mel scale."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    centres = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / RATE)
    rising = (bins - centres[:-2, None]) / np.diff(centres)[:-1, None]
    falling = (centres[2:, None] - bins) / np.diff(centres)[1:, None]
    triangles: Spectrum = np.maximum(0, np.minimum(rising, falling)) * 2 / (centres[2:] - centres[:-2])[:, None]
    return triangles


def _decibels(power: Spectrum) -> Spectrum:
    """80 dB below the loudest as -1 to 1."""
    decibels = 10 * np.log10(np.maximum(power / power.max(), 1e-10))
    scaled: Spectrum = (np.maximum(decibels, decibels.max() - 80) + 40) / 40
    return scaled


SOUNDS = (
    network("speech quality, DNSMOS", _QUALITY, "speechmos/dnsmos_models/sig_bak_ovr.onnx", dnsmos, 24, 40),
    network(
        "echo, CNN with SiLU and GRU", _QUALITY, "speechmos/aecmos_models/Run_1663829550_Stage_0.onnx", aecmos, 32, 96
    ),
    network("lost packets, CNN and GRU", _QUALITY, "speechmos/plcmos_models/plcmos_v2.onnx", plcmos, 32, 96),
    network("pitch, SwiftF0", "swift-f0", "swift_f0/model.onnx", swift_f0),
    network("speech embedding", _WAKE, "openwakeword/resources/models/embedding_model.onnx", embedding, 64, 48),
)
